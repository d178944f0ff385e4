"""The host as a router for our networks: what is turned on for them, noted in their records, and turned off again.

The note is `closed` of a record: {"boot_id", "families" that this host forwarded nothing of before us, "links" that
learned routes from router advertisements}. The rules drop what strangers would have forwarded in these families
(ruleset.py, `closed`), also when they have to be made anew.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule.errors import CapsuleError
from capsule.network import address as addresses, sysctl
from capsule.network.ruleset import Element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.network.store import Networks

_SWITCHES = {"ipv4": "ipv4/ip_forward", "ipv6": "ipv6/conf/all/forwarding"}
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def note(networks: Networks, record: dict) -> None:
    """Write into a network's record what is about to be turned on for it, or has been for another one.

    The lock of the networks is held. Raises NetworkError.
    """
    before = record.get("closed")
    known = _known(networks)
    families = {*known["families"], *[family for family in _families(record) if sysctl.get(_SWITCHES[family]) == "0"]}
    links = {*known["links"], *(_listening() if "ipv6" in families - {*known["families"]} else ())}
    record["closed"] = {"boot_id": known["boot_id"], "families": sorted(families), "links": sorted(links)}
    if record["closed"] != before:
        networks.save(record)


def _known(networks: Networks) -> dict:
    """Return what the records say was turned on since the machine was booted."""
    boot_id = _boot_id()
    families: set[str] = set()
    links: set[str] = set()
    for name in networks.names():
        try:
            closed = networks.load(name).get("closed") or {}
        except CapsuleError as err:
            log.warning(str(err))
            continue
        if closed.get("boot_id") == boot_id:
            families.update(closed["families"])
            links.update(closed["links"])
    return {"boot_id": boot_id, "families": families, "links": links}


def _boot_id() -> str:
    fd = posix.open(_BOOT_ID, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 64).decode().strip()
    finally:
        posix.close(fd)


def _families(record: dict) -> list[str]:
    """Return the families that are forwarded for a network."""
    if record.get("internal"):
        return []
    return sorted({f"ipv{addresses.parse_subnet(entry['subnet']).family}" for entry in record["subnets"]})


def _listening() -> list[str]:
    """Return the links that learn routes from router advertisements as long as the host forwards no IPv6.

    The words for links that come later stay as they are: containers' links would have them too.
    """
    return [name for name in posix.listdir("/proc/sys/net/ipv6/conf")
            if name not in ("all", "default") and sysctl.get(f"ipv6/conf/{name}/accept_ra") == "1"]


def elements(record: dict) -> list[Element]:
    """Return what the rules need to know of a network's note."""
    closed = record.get("closed")
    if not closed or closed["boot_id"] != _boot_id():
        return []
    return [("inet", "closed", (family,), ()) for family in closed["families"]]


def let_through(record: dict, close) -> None:
    """Let the kernel forward for a network's families; `close(family)` is called before one is turned on.

    An IPv6 host that forwards no longer listens to router advertisements unless it is told to (accept_ra 2). Raises
    NetworkError, Unsupported.
    """
    for family in _families(record):
        if sysctl.get(_SWITCHES[family]) != "0":
            continue
        # The host was no router before: it shall not become one for anybody else.
        close(family)
        for name in _listening() if family == "ipv6" else ():
            sysctl.put(f"ipv6/conf/{name}/accept_ra", "2")
        sysctl.put(_SWITCHES[family], "1")


def restore(record: dict, families: set[str]) -> None:
    """Turn off what was turned on for networks: `families`, and those of the last one's note. Raises NetworkError."""
    for family in sorted({*families, *[key[0] for _, _, key, _ in elements(record)]}):
        sysctl.put(_SWITCHES[family], "0")
        for name in record["closed"]["links"] if family == "ipv6" and record.get("closed") else ():
            if sysctl.get(f"ipv6/conf/{name}/accept_ra") == "2":
                sysctl.put(f"ipv6/conf/{name}/accept_ra", "1")
