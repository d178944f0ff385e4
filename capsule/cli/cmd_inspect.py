"""inspect: containers, images, networks and volumes, under the keys that Docker's and podman's have."""

from __future__ import annotations

from collections.abc import Callable

from capsule import verbs
from capsule._ext import json
from capsule.bundle import containers, health, life
from capsule.bundle.containers import Containers
from capsule.cli import listing, output, templates
from capsule.cli.paths import containers_root, runtime_root, storage_root, volume_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, ImageError, NetworkError, NotFound


def run(invocation: Invocation) -> int:
    """Print an array of what was named. Raises CapsuleError for what is not there."""
    kind, text = invocation.options["type"], invocation.options["format"]
    if kind and kind not in _FINDERS:
        raise CapsuleError("inspect", f"--type {kind}", f"expected one of {', '.join(_FINDERS)}")
    templates.documents("inspect", text, [])
    found = [_find(invocation, word, [kind] if kind else list(_FINDERS)) for word in invocation.positionals]
    output.print_out(templates.documents("inspect", text, found))
    return 0


def _find(invocation: Invocation, word: str, kinds: list[str]) -> dict:
    for kind in kinds:
        document = _FINDERS[kind](invocation, word)
        if document is not None:
            return document
    raise NotFound(f'no {" and no ".join(kinds)} is called "{word}"')


def _container(invocation: Invocation, word: str) -> dict | None:
    root = runtime_root(invocation)
    found = Containers(containers_root(invocation))
    try:
        id = found.find(word)
    except NotFound:
        return _of_runtime(root, word)
    with found.open(id) as entry:
        record = containers.read(entry)
        seen, known = life.observe(root, entry, record), health.read(entry, record)
        config: dict = json.loads(entry.marked(containers.CONFIG) or b"{}")  # type: ignore[assignment]
    endpoints = listing.endpoints_of(root, id)
    return {
        "Id": record.id, "Name": record.name, "Created": record.create_time, "Path": record.command[0],
        "Args": record.command[1:], "State": _state(record, seen, known), "Image": record.image_id,
        "ImageName": record.image, "RestartCount": record.restarts, "LogPath": _log_path(found.root, record),
        "Mounts": _mounts(config, record),
        "Config": _config(config, record), "HostConfig": _host_config(config, record),
        "NetworkSettings": _network(endpoints), "OCIConfigPath": f"{found.root}/{id}/{containers.CONFIG}",
    }


def _of_runtime(root: str, word: str) -> dict | None:
    """Return a container that the engine does not know: its state and its whole record."""
    try:
        state = verbs.state(root, word)
    except NotFound:
        return None
    return {"Id": state["id"], "Name": state["id"], "Created": state["created"],
            "State": {"Status": state["status"], "Running": state["status"] == "running", "Pid": state["pid"]},
            "Bundle": state["bundle"], "NetworkSettings": _network(listing.endpoints_of(root, state["id"])),
            "Detail": verbs.detail(root, word)}


def _state(record: containers.Record, seen: life.Life, known: dict) -> dict:
    end = seen.end or {}
    state = {"Status": seen.status, "Running": seen.is_up, "Paused": seen.status == life.PAUSED,
             "Restarting": seen.status == life.RESTARTING, "OOMKilled": end.get("reason") == "oom", "Pid": seen.pid,
             "ExitCode": end.get("status", 0), "Reason": end.get("reason", ""), "Error": record.error,
             "StartedAt": record.start_time, "FinishedAt": end.get("time", "")}
    if known:
        looks = [{"Start": look["start"], "End": look["end"], "ExitCode": look["exit_code"], "Output": look["output"]}
                 for look in known["looks"]]
        state["Health"] = {"Status": known["status"], "FailingStreak": known["failing"], "Log": looks,
                           "Command": record.health["command"]}
    return state


def _log_path(root: str, record: containers.Record) -> str:
    if record.log.get("driver", "none") == "none":
        return ""
    return record.log.get("path") or f"{root}/{record.id}/ctr.log"


def _mounts(config: dict, record: containers.Record) -> list[dict]:
    """Return what is mounted of the host's and of volumes; what every container has is left out."""
    volumes = {one.get("destination"): one for one in record.volumes}
    found = []
    for mount in config.get("mounts", []):
        volume = volumes.get(mount["destination"])
        if mount.get("type") == "bind" or volume is not None:
            options = mount.get("options") or []
            found.append({"Type": "volume" if volume is not None else "bind",
                          **({"Name": volume.get("name", "")} if volume is not None else {}),
                          "Source": mount.get("source", ""), "Destination": mount["destination"],
                          "Options": options, "RW": "ro" not in options})
    return found


def _config(config: dict, record: containers.Record) -> dict:
    process = config.get("process", {})
    user = process.get("user", {})
    return {"Hostname": config.get("hostname", ""), "User": f"{user.get('uid', 0)}:{user.get('gid', 0)}",
            "Env": process.get("env", []), "Cmd": record.command, "Image": record.image,
            "WorkingDir": process.get("cwd", "/"), "Labels": record.labels, "StopSignal": record.stop_signal,
            "StopTimeout": record.stop_timeout, "Tty": record.tty, "OpenStdin": record.interactive}


def _host_config(config: dict, record: containers.Record) -> dict:
    resources = config.get("linux", {}).get("resources", {})
    cpu = resources.get("cpu", {})
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 100_000
    policy = record.restart or {"policy": "no"}
    return {"Memory": resources.get("memory", {}).get("limit", 0), "NanoCpus": max(quota, 0) * 1_000_000_000 // period,
            "CpuShares": cpu.get("shares", 0), "PidsLimit": resources.get("pids", {}).get("limit", 0),
            "RestartPolicy": {"Name": policy.get("policy", "no"), "MaximumRetryCount": policy.get("max", 0)},
            "AutoRemove": record.remove, "ReadonlyRootfs": config.get("root", {}).get("readonly", False),
            "CapAdd": config.get("process", {}).get("capabilities", {}).get("bounding", []),
            "LogConfig": {"Type": record.log.get("driver", "none"), "Config": record.log}}


def _network(endpoints: list[dict]) -> dict:
    networks: dict[str, dict] = {}
    ports: dict[str, list[dict]] = {}
    for endpoint in endpoints:
        addresses = [text.partition("/") for text in endpoint["addresses"]]
        four = next(((address, prefix) for address, _, prefix in addresses if ":" not in address), ("", "0"))
        networks[endpoint["network"]] = {
            "IPAddress": four[0], "IPPrefixLen": int(four[1]), "Addresses": endpoint["addresses"],
            "Gateway": (endpoint["gateways"] or [""])[0], "MacAddress": endpoint["mac"],
            "Aliases": endpoint["aliases"], "EndpointID": endpoint["id"]}
        for port in endpoint["ports"]:
            ports.setdefault(f"{port['container_port']}/{port['proto']}", []).append(
                {"HostIp": port["host_ip"] or "0.0.0.0", "HostPort": str(port["host_port"])})
    first = next(iter(networks.values()), {})
    return {"IPAddress": first.get("IPAddress", ""), "MacAddress": first.get("MacAddress", ""), "Networks": networks,
            "Ports": ports}


def _image(invocation: Invocation, word: str) -> dict | None:
    from capsule.image import views
    from capsule.image.store import Store

    store = Store(storage_root(invocation))
    try:
        return views.details(store, store.find(word))
    except ImageError:
        return None


def _network_record(invocation: Invocation, word: str) -> dict | None:
    from capsule.network.store import Networks

    networks = Networks(runtime_root(invocation))
    try:
        if word not in networks.names():
            return None
        return {**networks.load(word), "endpoints": [*networks.state(word).endpoints.values()]}
    except NetworkError:
        return None


def _volume(invocation: Invocation, word: str) -> dict | None:
    from capsule.volume import views
    from capsule.volume.store import Volumes

    volumes = Volumes(volume_root(invocation))
    return views.details(volumes, volumes.load(word)) if word in volumes.names() else None


_FINDERS: dict[str, Callable[[Invocation, str], dict | None]] = {
    "container": _container, "image": _image, "network": _network_record,
    "volume": _volume}
