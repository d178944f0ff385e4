"""Which published ports an attendant carries at ::1."""

from __future__ import annotations

import pytest

from capsule.errors import NetworkError
from capsule.network import loopback


def endpoint(*places: tuple[str, int, str]) -> dict:
    return {"ports": [{"host_ip": ip, "host_port": port, "container_port": port, "proto": proto}
                      for ip, port, proto in places]}


def test_those_of_every_address_and_of_loopback_but_no_sctp():
    made = endpoint(("", 1, "tcp"), ("::", 2, "udp"), ("::1", 3, "tcp"), ("127.0.0.1", 4, "tcp"), ("", 5, "sctp"))
    assert [port["host_port"] for port in loopback.ports_of(made)] == [3, 1, 2]


def test_of_a_long_range_as_many_as_one_process_carries():
    made = endpoint(*(("", port, "tcp") for port in range(1000, 2000)), ("::1", 80, "tcp"))
    found = loopback.ports_of(made)
    assert len(found) == loopback.MOST and found[0]["host_port"] == 80


def test_more_than_that_asked_for_are_refused():
    made = endpoint(*(("::1", port, "tcp") for port in range(1000, 1000 + loopback.MOST + 1)))
    with pytest.raises(NetworkError, match="129 are asked for, and a container has 128 there"):
        loopback.up(None, made)
