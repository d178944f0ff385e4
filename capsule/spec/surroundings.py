"""What a caller changes in a config around the process: its network namespace, host name and mounted files."""

from __future__ import annotations

from capsule._ext import json

#: Where a config says which ports its image exposes, `80/tcp,53/udp` (image-spec conversion.md).
EXPOSED_PORTS = "org.opencontainers.image.exposedPorts"


def change(raw: bytes, *, network: str | None = None, leave_network: bool = False, hostname: str = "",
           files: list[tuple[str, str]] | tuple = ()) -> bytes:
    """Return the text of a config with some of its surroundings replaced.

    network: the path of the network namespace to join, "" for a new one, None for the runtime's own; `leave_network`
    keeps the config's. files: (source, destination) of files to bind; a destination that the config mounts is left.
    """
    config = json.loads(raw)
    assert isinstance(config, dict)  # load_config has read it
    if not leave_network:
        linux = config[_key(config, "linux", {})]
        key = _key(linux, "namespaces", [])
        kept = [entry for entry in linux[key] if entry[_key(entry, "type", "")] != "network"]
        if network is not None:
            kept.append({"type": "network", "path": network} if network else {"type": "network"})
        linux[key] = kept
    if hostname:
        config[_key(config, "hostname", "")] = hostname
    if files:
        key = _key(config, "mounts", [])
        mounted = {entry[_key(entry, "destination", "")] for entry in config[key]}
        config[key] = config[key] + [
            {"destination": there, "type": "bind", "source": here, "options": ["rbind", "rprivate"]}
            for here, there in files if there not in mounted
        ]
    return json.dumps(config)


def _key(tree: dict, wanted: str, default) -> str:
    """Return the key as the config spells it: keys are matched regardless of case, as the reader matches them."""
    for key in tree:
        if key.lower() == wanted:
            return key
    tree[wanted] = default
    return wanted
