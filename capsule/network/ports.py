"""Published ports: what `--publish` says, which host ports are free, and the port that nobody asked for by number.

    [ADDRESS:][HOST[-LAST]]:CONTAINER[-LAST][/tcp|udp|sctp]      [::1]:8080:80   127.0.0.1::80   80   8080-8082:80-82

A port is a dict: "proto", "host_ip" ("" for every address of the host), "host_port" (0: any that is free),
"container_port". A lone number is the container's. (original: `host:container`.)
"""

from __future__ import annotations

import errno
import posix
import sys

from capsule._ext import sockets
from capsule.errors import NetworkError
from capsule.network import address as addresses

LOOPBACK = "::1"  # served by a proxy (loopback.py), in front of a container of any family
PROTOCOLS = ("tcp", "udp", "sctp")
NAMES = 53  # at the gateways' addresses it is the responders' (dns.py)
_DIGITS = "0123456789"
_LAST = 65535
_LONGEST_RANGE = 4096  # each port is an element of four maps
#: Where a port that was not named is sought when the kernel does not say (ip_local_port_range).
_EPHEMERAL = (32768, 60999)
_TRIES = 512


def parse(texts: list[str]) -> list[dict]:
    """Return what the values of --publish ask for, one dict a port. Raises NetworkError for what cannot be meant."""
    found: list[dict] = []
    for text in texts:
        found += _parse(text)
    taken: dict[tuple, list[dict]] = {}
    for port in found:
        for other in taken.get(_number(port), ()):
            if _collide(port, other):
                raise NetworkError("publish port", describe(port), f"it is asked for twice ({describe(other)})")
        taken.setdefault(_number(port), []).append(port)
    return found


def parse_exposed(texts: list[str]) -> list[dict]:
    """Return the ports for -P: an image's exposed ones, `80`, `53/udp`, `8000-8010/tcp`, each to any host port.

    Raises NetworkError.
    """
    found = []
    for text in texts:
        if ":" in text:
            raise NetworkError("publish port", repr(text), "expected PORT[-LAST][/tcp|udp|sctp]")
        found += _parse(text)
    return found


def with_exposed(ports: list[dict], texts: list[str]) -> list[dict]:
    """Return the ports with the exposed ones that are not among them (-P). Raises NetworkError."""
    given = {(port["proto"], port["container_port"]) for port in ports}
    exposed = {(port["proto"], port["container_port"]): port for port in parse_exposed(texts)}
    return ports + [port for key, port in exposed.items() if key not in given]


def _parse(text: str) -> list[dict]:
    body, slash, proto = text.partition("/")
    proto = proto.lower() if slash else "tcp"
    if proto not in PROTOCOLS:
        raise _wrong(text, f"{proto!r} is no protocol; known are {', '.join(PROTOCOLS)}")
    host_ip = ""
    if body.startswith("["):
        host_ip, closed, body = body[1:].partition("]:")
        if not closed or ":" not in host_ip:
            raise _wrong(text, "an IPv6 address stands in brackets, then a colon: [::1]:8080:80")
        host_ip = _address(text, host_ip)
        parts = body.split(":")
    else:
        parts = body.split(":")
        if len(parts) == 3:
            host_ip = _address(text, parts.pop(0)) if parts[0] else parts.pop(0)
    if len(parts) > 2:
        raise _wrong(text, "expected [ADDRESS:][HOST[-LAST]]:CONTAINER[-LAST][/PROTOCOL]; IPv6 addresses in brackets")
    inside = _range(text, parts[-1])
    outside = _range(text, parts[0]) if len(parts) == 2 and parts[0] else (0, 0)
    count = inside[1] - inside[0] + 1
    if outside[0] and outside[1] - outside[0] + 1 != count:
        if count != 1:
            raise _wrong(text, f"{outside[1] - outside[0] + 1} host ports do not match {count} container ports")
        # One port inside, several outside: any one of these, as with other engines.
        return [{"proto": proto, "host_ip": host_ip, "host_port": 0, "container_port": inside[0],
                 "host_range": list(outside)}]
    return [{"proto": proto, "host_ip": host_ip, "host_port": outside[0] + index if outside[0] else 0,
             "container_port": inside[0] + index} for index in range(count)]


def _wrong(text: str, cause: str) -> NetworkError:
    return NetworkError("publish port", repr(text), cause)


def _address(text: str, host_ip: str) -> str:
    try:
        family, number = addresses.parse(host_ip)
    except ValueError as err:
        raise _wrong(text, str(err)) from err
    if number >> 28 >= 14 if family == 4 else number >> 120 == 0xFF:
        raise _wrong(text, f"{host_ip} is no address that a host can have")
    return addresses.to_text(family, number)


def _range(text: str, words: str) -> tuple[int, int]:
    first, dash, last = words.partition("-")
    if not dash:
        last = first
    for word in (first, last):
        if not word or word.strip(_DIGITS) or len(word) > 5 or not 0 < int(word) <= _LAST:
            raise _wrong(text, f"{words!r} is no port from 1 to {_LAST}")
    if int(first) > int(last):
        raise _wrong(text, f"the range {words} ends before it begins")
    if int(last) - int(first) >= _LONGEST_RANGE:
        raise _wrong(text, f"the range {words} has more than {_LONGEST_RANGE} ports")
    return int(first), int(last)


def describe(port: dict) -> str:
    """Return a port as --publish would say it: `127.0.0.1:8080:80/tcp`."""
    host_ip = port["host_ip"]
    head = f"[{host_ip}]:" if ":" in host_ip else f"{host_ip}:" if host_ip else ""
    return f"{head}{port['host_port'] or ''}:{port['container_port']}/{port['proto']}"


def _collide(one: dict, other: dict) -> bool:
    """Tell whether two ports would be the same place of the host."""
    if one["proto"] != other["proto"] or one["host_port"] != other["host_port"] or not one["host_port"]:
        return False
    both = places(one), places(other)
    return any([left == right or "" in (left[1], right[1]) for left in both[0] for right in both[1]
                if left[0] == right[0]])


def is_loopback(port: dict) -> bool:
    """Tell whether a port is published at an address of the host's loopback."""
    return bool(port["host_ip"]) and addresses.is_loopback(*addresses.parse(port["host_ip"]))


def places(port: dict) -> list[tuple[int, str]]:
    """Return (family, address) of where a port is published; "" is every address of the family."""
    if not port["host_ip"]:
        return [(4, ""), (6, "")]
    family, number = addresses.parse(port["host_ip"])
    return [(family, addresses.to_text(family, number) if number else "")]


def allocate(ports: list[dict], reserved: list[dict], families: set[int],
             responders: set[str] | frozenset[str] = frozenset()) -> list[dict]:
    """Return the ports with every host port chosen; `reserved` are those of all other containers.

    `families` are the container's (4, 6): an address of the host needs one of its own family behind it. `responders`
    are the addresses of the host at which networks have port 53 to themselves.

    To be called under the lock of the networks, before anything is made. A port is free when no other container has it
    and nothing of the host listens there. Raises NetworkError.
    """
    taken: dict[tuple, list[dict]] = {}
    for other in reserved:
        taken.setdefault(_number(other), []).append(other)
    for port in ports:
        family = addresses.parse(port["host_ip"])[0] if port["host_ip"] else 0
        if family and family not in families and port["host_ip"] != LOOPBACK:
            raise NetworkError("publish port", describe(port), f"the container has no IPv{family} address")
        refusal = _refusal(port, taken, responders) if port["host_port"] else ""
        if refusal:
            raise NetworkError("publish port", describe(port), refusal)
    for port in ports:
        if port["host_port"]:
            taken.setdefault(_number(port), []).append(port)
    return [port if port["host_port"] else _choose(port, taken, responders) for port in ports]


def _number(port: dict) -> tuple:
    return port["proto"], port["host_port"]


def _refusal(port: dict, taken: dict[tuple, list[dict]], responders: set[str] | frozenset[str]) -> str:
    """Say why a host port cannot be had; "" when it is free."""
    if any([_collide(port, other) for other in taken.get(_number(port), ())]):
        return "another container publishes it"
    if port["host_port"] == NAMES and port["host_ip"] in responders:
        return "a network answers for names there"
    return _taken(port, responders)


def _choose(port: dict, taken: dict[tuple, list[dict]], responders: set[str] | frozenset[str]) -> dict:
    """Return a port with a free host port, and note it as taken."""
    wanted = {key: value for key, value in port.items() if key != "host_range"}
    candidates = range(port["host_range"][0], port["host_range"][1] + 1) if "host_range" in port else _candidates()
    for number in candidates:
        wanted["host_port"] = number
        if not _refusal(wanted, taken, responders):
            taken.setdefault(_number(wanted), []).append(wanted)
            return wanted
    wanted["host_port"] = 0
    raise NetworkError("publish port", describe(wanted), "no host port is free")


def _candidates() -> list[int]:
    """Return ports of the range in which the kernel itself chooses, each once, in an order that nobody knows."""
    first, last = _EPHEMERAL
    try:
        fd = posix.open("/proc/sys/net/ipv4/ip_local_port_range", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            words = posix.read(fd, 64).split()
        finally:
            posix.close(fd)
        first, last = int(words[0]), int(words[1])
    except (OSError, ValueError, IndexError):
        pass
    size = last - first + 1
    start = int.from_bytes(posix.urandom(4), "big") % size
    return [first + (start + index) % size for index in range(min(size, _TRIES))]


def _taken(port: dict, responders: set[str] | frozenset[str]) -> str:
    """Say why the host's own sockets leave no room for a port; "" when they do. man 2 bind."""
    if port["proto"] == "sctp" and is_loopback(port):
        return "the loopback is served for tcp and udp alone"
    for family, text in places(port):
        number = addresses.parse(text)[1] if text else 0
        try:
            posix.close(sockets.bind(family, port["proto"], addresses.to_bytes(family, number), port["host_port"]))
        except OSError as err:
            if err.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
                continue  # this kernel has no such sockets: nobody listens there
            if err.errno == errno.EADDRINUSE and port["host_port"] == NAMES and not text:
                others = _listeners(family, port["proto"], NAMES) - responders
                if not others:
                    continue
                return f"a program of the host listens there ({', '.join(sorted(others))})"
            if err.errno == errno.EADDRINUSE:
                return "a program of the host listens there"
            if err.errno == errno.EADDRNOTAVAIL:
                return "the host has no such address"
            if err.errno == errno.EACCES:
                return (f"ports below {_first_unprivileged()} are for root only (sysctl "
                        f"net.ipv4.ip_unprivileged_port_start={port['host_port']} opens it)")
            return str(err.strerror)
    return ""


def _listeners(family: int, proto: str, number: int) -> set[str]:
    """Return the addresses at which sockets of the host have a port (man 5 proc, /proc/net/tcp)."""
    found: set[str] = set()
    try:
        fd = posix.open(f"/proc/net/{proto}{'6' if family == 6 else ''}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return found
    text = b""
    try:
        while data := posix.read(fd, 1 << 16):
            text += data
    finally:
        posix.close(fd)
    for line in text.decode().split("\n")[1:]:
        words = line.split()
        where, _, port = words[1].partition(":") if len(words) > 3 else ("", "", "0")
        # A listening socket of TCP, any of UDP but for what is connected.
        if int(port, 16) == number and words[3] in ("0A", "07"):
            raw = b"".join([int(where[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(where), 8)])
            found.add(addresses.to_text(family, int.from_bytes(raw, "big")))
    return found


def _first_unprivileged() -> str:
    try:
        fd = posix.open("/proc/sys/net/ipv4/ip_unprivileged_port_start", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return "1024"
    try:
        return posix.read(fd, 16).decode().strip()
    finally:
        posix.close(fd)


def listing(ports: list[dict]) -> list[str]:
    """Return the lines of `capsule port ID`: `80/tcp -> 0.0.0.0:8080`."""
    lines = []
    for port in ports:
        host_ip = port["host_ip"] or "0.0.0.0"
        shown = f"[{host_ip}]" if ":" in host_ip else host_ip
        lines.append(f"{port['container_port']}/{port['proto']} -> {shown}:{port['host_port']}")
    return lines
