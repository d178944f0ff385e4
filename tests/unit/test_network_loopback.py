"""Which published ports an attendant carries and holds, and where it listens for them."""

from __future__ import annotations

import pytest

from capsule.errors import NetworkError
from capsule.network import loopback


def endpoint(*places: tuple[str, int, str]) -> dict:
    return {"ports": [{"host_ip": ip, "host_port": port, "container_port": port, "proto": proto}
                      for ip, port, proto in places]}


def of(made: dict) -> list[tuple[int, str]]:
    return [(port["host_port"], text) for port, _, text in loopback.places_of(made)]


def test_each_where_it_is_published_those_of_the_loopback_first_but_no_sctp():
    made = endpoint(("", 1, "tcp"), ("::", 2, "udp"), ("::1", 3, "tcp"), ("127.0.0.1", 4, "tcp"), ("", 5, "sctp"),
                    ("192.0.2.1", 6, "tcp"))
    assert of(made) == [(3, "::1"), (4, "127.0.0.1"), (1, "0.0.0.0"), (1, "::"), (2, "::"), (6, "192.0.2.1")]


def test_the_port_of_names_is_held_at_the_loopback_alone():
    """Responders of networks have it at other addresses."""
    assert of(endpoint(("", 53, "udp"), ("192.0.2.1", 53, "tcp"))) == [(53, "127.0.0.1"), (53, "::1"),
                                                                      (53, "192.0.2.1")]


def test_of_a_long_range_as_many_as_one_process_carries():
    made = endpoint(*(("", port, "tcp") for port in range(1000, 2000)), ("::1", 80, "tcp"))
    found = loopback.places_of(made)
    assert len(found) == loopback.MOST and found[0][0]["host_port"] == 80


def test_more_than_that_asked_for_are_refused():
    made = endpoint(*(("::1", port, "tcp") for port in range(1000, 1000 + loopback.MOST + 1)))
    with pytest.raises(NetworkError, match="401 are asked for, and a container has 400 there"):
        loopback.up(None, made)
