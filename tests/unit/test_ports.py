"""What --publish may say, and which host ports are free (capsule/network/ports.py)."""

from __future__ import annotations

import socket

import pytest

from capsule.errors import NetworkError
from capsule.network import ports


def dicts(*texts: str) -> list[tuple]:
    return [(one["proto"], one["host_ip"], one["host_port"], one["container_port"]) for one in ports.parse(list(texts))]


@pytest.mark.parametrize(("text", "found"), [
    ("80", [("tcp", "", 0, 80)]),
    ("8080:80", [("tcp", "", 8080, 80)]),
    ("8080:80/udp", [("udp", "", 8080, 80)]),
    ("8080:80/SCTP", [("sctp", "", 8080, 80)]),
    (":80", [("tcp", "", 0, 80)]),
    ("127.0.0.1:8080:80", [("tcp", "127.0.0.1", 8080, 80)]),
    ("127.0.0.1::80", [("tcp", "127.0.0.1", 0, 80)]),
    ("::80", [("tcp", "", 0, 80)]),
    ("[fd00::1]:8080:80", [("tcp", "fd00::1", 8080, 80)]),
    ("[FD00:0::1]::80", [("tcp", "fd00::1", 0, 80)]),
    ("0.0.0.0:8080:80", [("tcp", "0.0.0.0", 8080, 80)]),
    ("8080-8082:80-82", [("tcp", "", 8080, 80), ("tcp", "", 8081, 81), ("tcp", "", 8082, 82)]),
    ("80-81", [("tcp", "", 0, 80), ("tcp", "", 0, 81)]),
])
def test_publish_is_read(text: str, found: list[tuple]) -> None:
    assert dicts(text) == found


@pytest.mark.parametrize(("text", "cause"), [
    ("", "'' is no port from 1 to 65535"),
    ("8080:", "'' is no port"),
    ("0", "'0' is no port"),
    ("65536", "'65536' is no port"),
    ("8080:eighty", "'eighty' is no port"),
    ("-1:80", "'-1' is no port"),
    ("80\n:80", r"'80\n' is no port"),
    ("٣:80", "is no port"),
    ("8080-8082:80-81", "3 host ports do not match 2 container ports"),
    ("8080:80-81", "1 host ports do not match 2 container ports"),
    ("82-80:80-82", "the range 82-80 ends before it begins"),
    ("1-65535:1-65535", "has more than 4096 ports"),
    ("8080:80/icmp", "'icmp' is no protocol; known are tcp, udp, sctp"),
    ("8080:80/", "'' is no protocol"),
    ("host:8080:80", "'host' is not an IP address"),
    ("1.2.3:8080:80", "'1.2.3' is not an IP address"),
    ("fd00::1:8080:80", "IPv6 addresses in brackets"),
    ("[fd00::1]8080:80", "an IPv6 address stands in brackets"),
    ("[127.0.0.1]:8080:80", "an IPv6 address stands in brackets"),
    ("1:2:3:4", "expected [ADDRESS:]"),
])
def test_what_cannot_be_meant_is_refused(text: str, cause: str) -> None:
    with pytest.raises(NetworkError) as caught:
        ports.parse([text])
    assert str(caught.value).startswith(f"publish port {text!r}: ")
    assert cause in str(caught.value)


def test_one_port_is_not_published_twice_at_one_place() -> None:
    for texts in (["80:80", "80:81"], ["127.0.0.1:80:80", "80:81"], ["0.0.0.0:80:80", "127.0.0.1:80:81"],
                  ["79-81:79-81", "80:9"]):
        with pytest.raises(NetworkError, match="asked for twice"):
            ports.parse(texts)
    assert len(ports.parse(["80:80", "80:80/udp", "81:80"])) == 3
    assert len(ports.parse(["127.0.0.1:80:80", "127.0.0.2:80:80", "[fd00::1]:80:80"])) == 3


def test_a_port_of_a_range_is_any_that_is_free() -> None:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        used = made.getsockname()[1]
        wanted = ports.parse([f"127.0.0.1:{used}-{used + 3}:80"])
        (found,) = ports.allocate(wanted, [], {4, 6})
    assert found["host_port"] in range(used + 1, used + 4)
    assert "host_range" not in found


def test_a_port_that_a_program_has_is_refused() -> None:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        used = made.getsockname()[1]
        for text in (f"{used}:80", f"127.0.0.1:{used}:80", f"0.0.0.0:{used}:80"):
            with pytest.raises(NetworkError, match="a program of the host listens there"):
                ports.allocate(ports.parse([text]), [], {4, 6})
        assert ports.allocate(ports.parse([f"127.0.0.2:{used}:80"]), [], {4, 6})[0]["host_port"] == used
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        with pytest.raises(NetworkError, match="a program of the host listens there"):
            ports.allocate(ports.parse([f"{made.getsockname()[1]}:80/udp"]), [], {4, 6})


def test_a_port_of_another_container_is_refused() -> None:
    taken = ports.parse(["127.0.0.1:18080:80", "18081:80/udp"])
    with pytest.raises(NetworkError, match="publish port :*18080:80/tcp: another container publishes it"):
        ports.allocate(ports.parse(["18080:80"]), taken, {4, 6})
    assert ports.allocate(ports.parse(["127.0.0.2:18080:80", "18081:80"]), taken, {4, 6})


def test_an_address_needs_one_of_its_family_behind_it() -> None:
    for text, family in (("[::]:18082:80", 6), ("127.0.0.1:18082:80", 4)):
        with pytest.raises(NetworkError, match=f"the container has no IPv{family} address"):
            ports.allocate(ports.parse([text]), [], {10 - family})


def test_an_address_that_the_host_has_not_is_refused() -> None:
    with pytest.raises(NetworkError, match="the host has no such address"):
        ports.allocate(ports.parse(["192.0.2.77:8080:80"]), [], {4, 6})


def test_the_loopback_of_ipv6_is_served_in_front_of_any_family_but_not_for_sctp() -> None:
    assert ports.allocate(ports.parse(["[::1]:18083:80", "[::1]:18083:80/udp"]), [], {4})
    with pytest.raises(NetworkError, match="for tcp and udp alone"):
        ports.allocate(ports.parse(["[::1]:18083:80/sctp"]), [], {4, 6})


def test_random_ports_differ_and_are_free() -> None:
    found = ports.allocate(ports.parse(["80", "81", "82/udp", "127.0.0.1::83"]), [], {4, 6})
    numbers = [one["host_port"] for one in found]
    assert len(set(numbers)) == 4 and all(number >= 1024 for number in numbers)
    with socket.socket() as made:
        made.bind(("127.0.0.1", numbers[0]))


def test_exposed_ports_are_read() -> None:
    assert [(one["proto"], one["container_port"], one["host_port"]) for one in
            ports.parse_exposed(["80", "53/udp", "90-91/tcp"])] == [("tcp", 80, 0), ("udp", 53, 0), ("tcp", 90, 0),
                                                                   ("tcp", 91, 0)]
    with pytest.raises(NetworkError):
        ports.parse_exposed(["80:80"])


def test_the_listing_names_every_port() -> None:
    assert ports.listing(ports.parse(["8080:80", "[fd00::1]:53:53/udp"])) == ["80/tcp -> 0.0.0.0:8080",
                                                                             "53/udp -> [fd00::1]:53"]
