"""image run: a container of an image, in the foreground or with a monitor of its own."""

from __future__ import annotations

import posix

from capsule import log
from capsule._ext import json
from capsule.bundle import confinement, containers, image as images, layers, removal, running
from capsule.bundle.containers import Containers, Record
from capsule.cli import life_options, output, quantities
from capsule.cli.paths import absolute, containers_root, runtime_root, storage_root
from capsule.cli.refusals import refuse_cgroup_choices
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, NotFound
from capsule.image import lookup
from capsule.spec.load import build_config, read_file


def run(invocation: Invocation) -> int:
    """Make a container and run it: in the foreground become its relay, which returns only where that fails."""
    refuse_cgroup_choices("image run", invocation)
    options = invocation.options
    places = running.Places(runtime_root(invocation), storage_root(invocation), containers_root(invocation))
    record = Record(containers.new_id(), options["name"])
    wish = _wish(invocation, record.id)
    record.network = _network(invocation, record.name) or {}
    wanted = _wanted(options)
    tree, drawn, of_image = _compile(places, record, wish, options)
    config = build_config(tree, json.dumps(tree))
    found = Containers(places.containers)
    given = None
    entry = found.reserve(record)
    try:
        if wanted or of_image.get("Volumes"):
            from capsule.bundle import volumes

            # Nothing of this machine is copied into a volume: its secrets are veiled in the container only.
            given = volumes.give(volumes.beside(places.containers), record.id, wanted, of_image,
                                 record.overlay["lower"] if record.image_id else [])
            tree["mounts"] += given.mounts
            record.volumes = given.used
            config = build_config(tree, json.dumps(tree))
        found.fill(entry, record, config.raw)
    except BaseException:
        try:
            if given is not None:
                given.undo()
        finally:
            entry.remove()
            entry.close()
        raise
    try:
        if record.detached:
            entry.unlock()
            running.in_background(places, record.id)
            output.print_out(record.id + "\n")
            return 0
        if not record.interactive:
            _close_input()
        return running.run(places, entry, record, config=config, drawn=drawn)
    except BaseException:
        entry.close()  # its lock: the removal takes it anew
        _undo(places, found, record)
        raise


def _compile(places: running.Places, record: Record, wish: dict, options: dict) -> tuple:
    """Fill a record; returns the configuration, the overlay if it is drawn over this machine, the image's "config"."""
    record.image, record.labels = wish["image"], wish["labels"]
    drawn = None
    if record.image == layers.BUILT_IN:
        of_image = images.host_config()
        life_options.fill(record, options, of_image)
        record.command = wish["command"] or of_image["Cmd"]
        tree, drawn = layers.draw_host(f"{places.containers}/{record.id}", record)
        tree["process"]["user"] = images.user_of(wish["user"], ["/"])
        images.change(tree, of_image, wish)
    else:
        image = lookup.find(places.store, record.image)
        of_image = image.config.get("config") or {}
        life_options.fill(record, options, of_image)
        tree, record.overlay = images.compile(of_image, image.layers, wish)
        record.image_id = image.id
    record.command, record.labels = tree["process"]["args"], tree["annotations"]
    return tree, drawn, of_image


def _wanted(options: dict) -> list:
    """Read the mounts that are asked for."""
    if not (options["volume"] or options["mount"] or options["tmpfs"]):
        return []
    from capsule.cli import mount_options

    return mount_options.read(options)


def _undo(places: running.Places, found: Containers, record: Record) -> None:
    """Remove a container that did not come to run: the failure is what counts."""
    try:
        entry = found.open(record.id, lock=True)
    except NotFound:
        return
    try:
        removal.remove(places, found, entry, record, volumes=True)
    except CapsuleError as err:
        log.warning(f"remove container {record.name}: {err}")
    finally:
        entry.close()


_NETWORK_OPTIONS = ("network", "publish", "publish_all", "link", "ip", "ip6", "mac_address", "network_alias",
                    "add_host", "dns")


def _network(invocation: Invocation, name: str) -> dict | None:
    """Return what verbs.run takes as `network`, None where no option of it is used."""
    if not any([invocation.options[option] for option in _NETWORK_OPTIONS]):
        return None
    from capsule.cli import image_network

    return image_network.read(invocation, name)


def _close_input() -> None:
    fd = posix.open("/dev/null", posix.O_RDONLY)
    posix.dup2(fd, 0)
    posix.close(fd)


def _wish(invocation: Invocation, id: str) -> dict:
    """Read the options. Raises CapsuleError, Unsupported."""
    options, words = invocation.options, invocation.positionals
    if options["hostname"]:
        from capsule.network.names import check_name

        check_name("host name", options["hostname"])
    return {
        "image": words[0], "command": words[1:], "user": options["user"], "cwd": options["cwd"],
        "entrypoint": _entrypoint(options["entrypoint"]),
        "env": _env(options), "terminal": options["tty"], "hostname": options["hostname"] or id[: containers.SHORT],
        "readonly": options["readonly"], "labels": dict([_pair("--label", text) for text in options["label"]]),
        "mounts": [], "resources": _resources(options), "cap_add": options["cap_add"],
        "cap_drop": options["cap_drop"], "confinement": confinement.parse(options["security_opt"]),
        "devices": options["device"], "init": options["init"],
        "host_network": options["network"] == ["host"],
    }


def _entrypoint(text: str) -> list[str] | None:
    """Read --entrypoint: a program, or an array of words in JSON as podman takes it."""
    if not text:
        return None
    if not text.startswith("["):
        return [text]
    try:
        words = json.loads(text.encode("utf-8", "surrogateescape"))
    except ValueError as err:
        raise CapsuleError("image run", f"--entrypoint {text}", str(err)) from err
    if not isinstance(words, list) or not words or not all([isinstance(word, str) for word in words]):
        raise CapsuleError("image run", f"--entrypoint {text}", "expected an array of words")
    return words


def _pair(option: str, text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise CapsuleError("image run", f"{option} {text}", "expected KEY=VALUE")
    return key, value


def _env(options: dict) -> list[str]:
    entries = []
    for path in options["env_file"]:
        for line in read_file(absolute(path)).decode("utf-8", "surrogateescape").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                entries.append(line)
    found = []
    for entry in entries + options["env"]:
        if not entry.partition("=")[0]:
            raise CapsuleError("image run", f"variable {entry!r}", "expected NAME=VALUE, or NAME to pass one of ours")
        if "=" in entry:
            found.append(entry)
        elif (value := posix.environ.get(entry.encode("utf-8", "surrogateescape"))) is not None:
            found.append(f"{entry}={value.decode('utf-8', 'surrogateescape')}")
    return found


def _resources(options: dict) -> dict:
    found: dict = {}
    if options["memory"]:
        limit = quantities.limit("--memory", options["memory"])
        if limit:
            found["memory"] = {"limit": limit, "swap": limit}
    if options["cpus"] or options["cpushare"]:
        found["cpu"] = {}
    if options["cpus"]:
        found["cpu"] = {"period": 100_000, "quota": quantities.cpus("image run", options["cpus"])}
    if options["cpushare"]:
        found["cpu"]["shares"] = quantities.unsigned("--cpushare", options["cpushare"])
    if options["pids_limit"]:
        found["pids"] = {"limit": quantities.signed("--pids-limit", options["pids_limit"])}
    return found
