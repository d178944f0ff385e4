"""`linux.netDevices`: devices of the runtime's network namespace that become the container's.

runtime-spec config-linux.md#network-devices; net/core/dev.c, dev_valid_name.
"""

from __future__ import annotations

from capsule.spec.check import problem, quote
from capsule.spec.model import Config

_NAME_MAX = 15  # IFNAMSIZ less the NUL


def take_net_devices(config: Config, tree: dict, kinds: dict[str, str | None]) -> None:
    """Fill `net_devices`: the runtime's name to the container's, which may be a template that ends in %d."""
    if "network" not in kinds:
        raise problem("linux.netDevices", "needs a network namespace in linux.namespaces")
    taken: dict[str, str] = {}
    for host, item in tree.items():
        where = f"linux.netDevices[{quote(host)}]"
        if not _is_name(host) or "%" in host:
            raise problem(where, "expected the name of a network device")
        name = item.get("name") or host
        if not _is_name(name) or "%" in name.removesuffix("%d"):
            cause = f"expected the name of a network device, or a template such as eth%d, got {quote(name)}"
            raise problem(f"{where}.name", cause)
        if name in taken and not name.endswith("%d"):
            raise problem(f"{where}.name", f"{quote(name)} is the name of {quote(taken[name])} already")
        taken[name] = host
        config.net_devices[host] = name


def _is_name(name: str) -> bool:
    length = len(name.encode("utf-8", "surrogateescape"))
    wrong = [character for character in name if character in "/:" or character.isspace()]
    return 0 < length <= _NAME_MAX and name not in (".", "..") and not wrong
