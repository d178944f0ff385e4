"""The host as a router for our networks: sysctls below /proc/sys/net."""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule.errors import NetworkError
from capsule.network import address as addresses, nft, ruleset as tables


def let_through(record: dict) -> None:
    """Let the kernel forward for a network's families.

    An IPv6 host that forwards no longer listens to router advertisements unless it is told to (accept_ra 2). The word
    for links that come later stays as it is: containers' links would have it too. Raises NetworkError, Unsupported.
    """
    families = {addresses.parse_subnet(entry["subnet"]).family for entry in record["subnets"]}
    if record.get("internal"):
        return
    if 4 in families:
        _forward("ipv4/ip_forward", "ipv4")
    if 6 in families:
        if _get("ipv6/conf/all/forwarding") == "0":
            for name in posix.listdir("/proc/sys/net/ipv6/conf"):
                if name not in ("all", "default") and _get(f"ipv6/conf/{name}/accept_ra") == "1":
                    _set(f"ipv6/conf/{name}/accept_ra", "2")
        _forward("ipv6/conf/all/forwarding", "ipv6")


def _forward(path: str, family: str) -> None:
    if _get(path) != "0":
        return
    # The host was no router before: it shall not become one for anybody else.
    nft.apply("close", family, tables.change("add", [("inet", "closed", (family,), ())]))
    _set(path, "1")


def _get(path: str) -> str:
    try:
        fd = posix.open(f"/proc/sys/net/{path}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return posix.read(fd, 64).decode().strip()
    finally:
        posix.close(fd)


def _set(path: str, value: str) -> None:
    try:
        fd = posix.open(f"/proc/sys/net/{path}", posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError as err:
        if err.errno in (errno.EROFS, errno.EACCES):
            log.warning(f"network: /proc/sys/net/{path} is not {value} and cannot be written here")
            return
        raise NetworkError("set sysctl", path.replace("/", "."), errno=err.errno) from err
    try:
        posix.write(fd, value.encode())
    except OSError as err:
        raise NetworkError("set sysctl", path.replace("/", "."), errno=err.errno) from err
    finally:
        posix.close(fd)
