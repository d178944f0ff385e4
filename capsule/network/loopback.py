"""Published ports as the host itself reaches them: an attendant of the endpoint carries them (csrc/attend_proxy.c).

Rules cannot at the loopback: the kernel drops what comes back to ::1 over another link than lo, and to 127.0.0.1
unless route_localnet opens 127.0.0.0/8 to whoever is on that link (docs/decisions/0014-loopback.md). The attendant
listens where the port is published, for what comes over lo alone, so that no program of the host takes the port later.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import attendant as attendants, sockets
from capsule.errors import NetworkError
from capsule.network import address as addresses, attendant, ports as published
from capsule.network.store import Networks

_NAME = "capsule-proxy"
#: Sockets of one attendant: a port published at every address takes two.
MOST = attendants.SOCKETS_MAX
_EVERYWHERE = {4: "0.0.0.0", 6: "::"}
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a host without IPv6

Place = tuple[dict, int, str]


def path_of(networks: Networks, id: str) -> str:
    """Return the data file of an endpoint's proxy."""
    return f"{networks.directory}/{id}.proxy"


def places_of(endpoint: dict) -> list[Place]:
    """Return (port, family, address of the host) of each socket: those of the loopback, then as many as one has."""
    asked: list[Place] = []
    others: list[Place] = []
    for port in endpoint["ports"]:
        if port["proto"] == "sctp":
            continue
        if published.is_loopback(port):
            asked.append((port, addresses.parse(port["host_ip"])[0], port["host_ip"]))
            continue
        for family, text in published.places(port):
            everywhere = _LOOPBACK if port["host_port"] == published.NAMES else _EVERYWHERE
            others.append((port, family, text or everywhere[family]))
    return asked + others[:max(MOST - len(asked), 0)]


def up(networks: Networks, endpoint: dict) -> None:
    """Carry and hold the published ports of an endpoint; fine when that is done already. Raises NetworkError."""
    places = places_of(endpoint)
    if not places:
        return
    if len(places) > MOST:
        raise NetworkError("publish ports", "at the loopback",
                           f"{len(places)} are asked for, and a container has {MOST} there")
    path = path_of(networks, endpoint["id"])
    with networks.lock():
        there = networks.state(endpoint["network"]).endpoints.get(endpoint["id"])
        if there is None or there.get("leaving") or attendant.holder(path):
            return
        attendant.write(path, "")
        try:
            _start(path, endpoint, places)
        except BaseException:
            attendant.stop(path)
            raise


def _start(path: str, endpoint: dict, places: list[Place]) -> None:
    argv = [_NAME, endpoint["container"]]
    fds: list[int] = []
    try:
        for port, family, text in places:
            fd = _bind(port, family, text)
            if fd >= 0:
                fds.append(fd)
                argv += [_target(endpoint, family), str(port["container_port"])]
        if fds:
            attendant.run(path, argv, fds)
        else:
            attendant.stop(path)
    finally:
        for fd in fds:
            posix.close(fd)


def _bind(port: dict, family: int, text: str) -> int:
    """Return a socket at a place of the host; -1 where the host has no such family and nobody named it."""
    try:
        return sockets.bind(family, port["proto"], addresses.to_bytes(*addresses.parse(text)), port["host_port"],
                            absent=True, local=True)
    except OSError as err:
        if family == 6 and err.errno in _ABSENT:
            if port["host_ip"]:
                raise NetworkError("publish port", published.describe(port), "the host has no IPv6") from err
            return -1
        cause = "a program of the host listens there" if err.errno == errno.EADDRINUSE else ""
        raise NetworkError("publish port", published.describe(port), cause, errno=err.errno) from err


def _target(endpoint: dict, family: int) -> str:
    """Return the container's address behind a place, in hex: of the same family where it has one."""
    own = [text.partition("/")[0] for text in endpoint["addresses"]]
    same = [text for text in own if (":" in text) == (family == 6)]
    return addresses.to_bytes(*addresses.parse((same or own)[0])).hex()


def down(networks: Networks, endpoint: dict) -> None:
    """End what `up` started; fine when there is nothing. Raises NetworkError."""
    if places_of(endpoint):
        attendant.stop(path_of(networks, endpoint["id"]))


def is_lacking(networks: Networks, endpoint: dict) -> bool:
    """Tell whether an endpoint should have a proxy and has none. Raises NetworkError."""
    return bool(places_of(endpoint)) and not attendant.holder(path_of(networks, endpoint["id"]))


def strays(networks: Networks) -> list[str]:
    """Return the data files of proxies whose endpoint has gone."""
    try:
        files = posix.listdir(networks.directory)
    except FileNotFoundError:
        return []
    used = {endpoint["id"] for endpoint in networks.endpoints()}
    return [f"{networks.directory}/{name}" for name in files if name.endswith(".proxy") and name[:-6] not in used]
