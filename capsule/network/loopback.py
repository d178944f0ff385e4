"""Ports published at ::1: an attendant of the endpoint carries them (csrc/attend_proxy.c).

Rules cannot: the kernel drops what comes back to ::1 over another link than lo (docs/decisions/0005-firewall.md).
"""

from __future__ import annotations

import errno
import posix

from capsule.errors import NetworkError
from capsule.network import address as addresses, attendant, ports as published
from capsule.network.store import Networks

_NAME = "capsule-proxy"
#: Ports that one attendant carries (csrc/attendstart.h, ATTEND_SOCKETS_MAX).
MOST = 128
_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a host without IPv6


def path_of(networks: Networks, id: str) -> str:
    """Return the data file of an endpoint's proxy."""
    return f"{networks.directory}/{id}.proxy"


def ports_of(endpoint: dict) -> list[dict]:
    """Return the ports of an endpoint that are published at ::1: those asked for there, then as many as one carries."""
    possible = [port for port in endpoint["ports"] if port["proto"] != "sctp"]
    asked = [port for port in possible if port["host_ip"] == published.LOOPBACK]
    others = [port for port in possible if port["host_ip"] in ("", "::")]
    return asked + others[:max(MOST - len(asked), 0)]


def up(networks: Networks, endpoint: dict) -> None:
    """Carry the ports of an endpoint that are published at ::1; fine when that is done already. Raises NetworkError."""
    ports = ports_of(endpoint)
    if not ports:
        return
    if len(ports) > MOST:
        raise NetworkError("publish ports", "at ::1", f"{len(ports)} are asked for, and a container has {MOST} there")
    path = path_of(networks, endpoint["id"])
    own = [text.partition("/")[0] for text in endpoint["addresses"]]
    target = ([text for text in own if ":" in text] or own)[0]
    raw = addresses.to_bytes(*addresses.parse(target)).hex()
    with networks.lock():
        if attendant.holder(path):
            return
        attendant.write(path, "")
        try:
            _start(path, endpoint, ports, raw)
        except BaseException:
            attendant.stop(path)
            raise


def _start(path: str, endpoint: dict, ports: list[dict], target: str) -> None:
    argv = [_NAME, endpoint["container"]]
    for port in ports:
        argv += [target, str(port["container_port"])]
    host = addresses.to_bytes(*addresses.parse(published.LOOPBACK))
    try:
        attendant.start(path, argv, [(6, port["proto"], host, port["host_port"]) for port in ports])
    except OSError as err:
        if err.errno not in _ABSENT:
            raise NetworkError("publish ports", "at ::1", errno=err.errno) from err
        wanted = [port for port in ports if port["host_ip"] == published.LOOPBACK]
        if wanted:
            raise NetworkError("publish port", published.describe(wanted[0]), "the host has no IPv6") from err
        attendant.stop(path)


def down(networks: Networks, endpoint: dict) -> None:
    """End what `up` started; fine when there is nothing. Raises NetworkError."""
    if ports_of(endpoint):
        attendant.stop(path_of(networks, endpoint["id"]))


def is_lacking(networks: Networks, endpoint: dict) -> bool:
    """Tell whether an endpoint should have a proxy and has none. Raises NetworkError."""
    path = path_of(networks, endpoint["id"])
    return bool(ports_of(endpoint)) and posix.access("/proc/net/if_inet6", posix.F_OK) and not attendant.holder(path)


def strays(networks: Networks) -> list[str]:
    """Return the data files of proxies whose endpoint has gone."""
    try:
        files = posix.listdir(networks.directory)
    except FileNotFoundError:
        return []
    used = {endpoint["id"] for endpoint in networks.endpoints()}
    return [f"{networks.directory}/{name}" for name in files if name.endswith(".proxy") and name[:-6] not in used]
