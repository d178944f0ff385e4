"""image run: a program of an image in the foreground; its root's upper layer is gone with its last process."""

from __future__ import annotations

import posix

from capsule import verbs
from capsule._ext import json
from capsule.bundle import confinement, host, image as images
from capsule.cli import quantities
from capsule.cli.paths import absolute, runtime_root, storage_root
from capsule.cli.refusals import refuse_cgroup_choices
from capsule.cli.scanner import Invocation
from capsule.cli.time_limits import milliseconds
from capsule.errors import CapsuleError, Unsupported
from capsule.image import lookup
from capsule.spec.load import build_config, read_file

BUILT_IN = "host"
_UNBUILT = ("detach", "restart", "health_cmd")
_KILL_AFTER_MS = 10_000


def run(invocation: Invocation) -> int:
    """Become the container's relay; returns only where that fails."""
    refuse_cgroup_choices("image run", invocation)
    options, root, store = invocation.options, runtime_root(invocation), storage_root(invocation)
    for key in _UNBUILT:
        if options[key]:
            raise Unsupported("image run", f"--{key.replace('_', '-')}", "is not built yet")
    id = options["name"] or posix.urandom(6).hex()
    wish = _wish(invocation, id)
    network = _network(invocation, id)
    timeout_ms = milliseconds("image run", "--timeout", options["timeout"]) if options["timeout"] else 0
    if wish["image"] == BUILT_IN:
        tree, overlay, _ = host.draw(host.Wish(wish["command"] or ["/bin/sh"], "/"))
        tree["process"]["user"] = images.user_of(wish["user"], ["/"])
        images.change(tree, images.host_config(), wish)
        held = ""
    else:
        found = lookup.find(store, wish["image"])
        tree, overlay = images.compile(found.config.get("config") or {}, found.layers, wish)
        held = found.id
    config = build_config(tree, json.dumps(tree))
    if not options["interactive"]:
        _close_input()
    if held:
        lookup.hold(store, held, id)
    try:
        return verbs.run(root, id, bundle="/", config=config, overlay=overlay, network=network, timeout_ms=timeout_ms,
                         kill_after_ms=_KILL_AFTER_MS,
                         finish=lambda plan, container: _let_go(plan, root, id, store, held))
    except BaseException:
        if held:
            lookup.release(store, held, id)
        raise


def _let_go(plan, root: str, id: str, store: str, held: str) -> None:
    """Have the relay let go of the image when the container has gone."""
    if held:
        plan.fallback_always = True
        plan.fallback_argv = verbs.launcher_argv(root, "_ended", id, store, held)


_NETWORK_OPTIONS = ("network", "publish", "link", "ip", "ip6", "mac_address", "network_alias", "add_host", "dns")


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
        from capsule.network.attachment import check_host_name

        check_host_name("host name", options["hostname"])
    return {
        "image": words[0], "command": words[1:], "user": options["user"], "cwd": options["cwd"],
        "entrypoint": _entrypoint(options["entrypoint"]),
        "env": _env(options), "terminal": options["tty"], "hostname": options["hostname"] or id[:63],
        "readonly": options["readonly"], "labels": dict([_pair("--label", text) for text in options["label"]]),
        "mounts": _mounts(options), "resources": _resources(options), "cap_add": options["cap_add"],
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


def _mounts(options: dict) -> list[dict]:
    found = []
    for text in options["volume"]:
        parts = text.split(":")
        if len(parts) not in (2, 3) or not parts[0].startswith(("/", ".")):
            raise Unsupported("image run", f"--volume {text}", "only HOST:DIR[:ro] with a path of the host is built")
        found.append(_bind(parts[0], parts[1], parts[2].split(",") if len(parts) == 3 else []))
    for text in options["mount"]:
        found.append(_long_mount(text))
    for text in options["tmpfs"]:
        path, _, words = text.partition(":")
        found.append(_tmpfs(path, words.split(",") if words else []))
    return found


def _tmpfs(path: str, words: list[str]) -> dict:
    return {"destination": _inside(path), "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "tmpcopyup", *words]}


def _bind(source: str, target: str, words: list[str]) -> dict:
    for word in words:
        if word not in ("ro", "rw", "z", "Z", "rprivate", "private", "rslave", "slave", "rshared", "shared"):
            raise Unsupported("image run", f"volume option {word}", "is not known")
    if "ro" in words and "rw" in words:
        raise CapsuleError("image run", f"volume {source}", "both ro and rw are asked for")
    words = [word for word in words if word not in ("z", "Z")]
    path = absolute(source)
    try:
        posix.stat(path)
    except OSError as err:
        raise CapsuleError("image run", f"volume {source}", errno=err.errno or 0) from err
    return {"destination": _inside(target), "type": "bind", "source": path,
            "options": ["rbind", *words, *(["rro"] if "ro" in words else [])]}


def _inside(path: str) -> str:
    if not path.startswith("/"):
        raise CapsuleError("image run", f"mount at {path!r}", "expected an absolute path in the container")
    return path


def _long_mount(text: str) -> dict:
    fields = dict([(word.partition("=")[0], word.partition("=")[2]) for word in text.split(",")])
    kind = fields.pop("type", "bind")
    target = fields.pop("target", "") or fields.pop("destination", "") or fields.pop("dst", "")
    source = fields.pop("source", "") or fields.pop("src", "")
    readonly = _is_true(text, fields, "readonly") | _is_true(text, fields, "ro")
    size = fields.pop("tmpfs-size", "") if kind == "tmpfs" else ""
    if fields or kind not in ("bind", "tmpfs") or kind == "tmpfs" and source:
        strange = next(iter(fields), "source of a tmpfs" if source else kind)
        raise Unsupported("image run", f"--mount {text}", f"{strange} is not known here, or not built")
    if kind == "tmpfs":
        return _tmpfs(target, [*([f"size={size}"] if size else []), *(["ro"] if readonly else [])])
    return _bind(source, target, ["ro"] if readonly else [])


def _is_true(text: str, fields: dict[str, str], name: str) -> bool:
    """Take a key that is a flag out of a mount's; what is no truth value must not become a writable mount."""
    value = fields.pop(name, "false")
    if value not in ("", "true", "1", "false", "0"):
        raise CapsuleError("image run", f"--mount {text}", f"expected {name}=true or {name}=false")
    return value in ("", "true", "1")
