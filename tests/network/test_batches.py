"""The batches that we send ourselves say to the kernel what nft would have said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.requires import requires

from capsule.network import ruleset

from .kit_firewall import Space, port

pytestmark = requires("root", "nft", "ip")

RECORD = {"name": "a", "id": "a", "bridge": "br1",
          "subnets": [{"subnet": "10.89.1.0/24"}, {"subnet": "fd00:89:1::/64"}],
          "internal": False, "icc": False, "isolate": False, "masquerade": True}
ENDPOINT = {"host_interface": "vethabcdefghijk", "mac": "02:42:0a:59:01:02",
            "addresses": ["10.89.1.2/24", "fd00:89:1::2/64", "fd00:89:1::3/64"],
            "ports": [port(8080, 80), port(5353, 53, "udp", "192.0.2.1"), port(9, 65535, "sctp", "2001:db8:1::1")]}


@pytest.fixture
def host(leaks) -> Iterator[Space]:
    made = Space("host")
    try:
        made.ip("link add br1 type bridge")
        assert made.call("capsule.network.firewall", "network_up", RECORD) is None
        yield made
    finally:
        made.close()


def listed(host: Space) -> str:
    status, output, _ = host.run("nft", "list", "ruleset")
    assert status == 0
    return output


def without_nft(host: Space) -> None:
    assert host.run("mount", "--bind", "/dev/null", "/usr/sbin/nft")[0] == 0


def with_nft(host: Space) -> None:
    assert host.run("umount", "/usr/sbin/nft")[0] == 0


def test_they_are_what_nft_makes_of_the_rules(host: Space) -> None:
    empty = listed(host)
    commands = ruleset.endpoint_chains(ENDPOINT) + ruleset.change("add", ruleset.endpoint_elements(RECORD, ENDPOINT))
    assert host.call("capsule.network.nft", "apply", "connect", "veth", commands) is None
    by_nft = listed(host)
    for element in ruleset.endpoint_elements(RECORD, ENDPOINT):
        assert element[1] in by_nft

    assert host.call("capsule.network.firewall", "endpoint_down", RECORD, ENDPOINT) is None
    assert listed(host) == empty
    without_nft(host)
    for _ in range(2):
        assert host.call("capsule.network.firewall", "endpoint_up", RECORD, ENDPOINT) is None
    with_nft(host)
    assert listed(host) == by_nft


def test_a_batch_that_is_refused_changes_nothing(host: Space) -> None:
    """Another's port in the way of an endpoint that comes; elements that are not there, of one that goes."""
    assert host.call("capsule.network.firewall", "endpoint_up", RECORD, ENDPOINT) is None
    before = listed(host)
    other = ENDPOINT | {"host_interface": "vethother", "mac": "02:42:0a:59:01:04", "addresses": ["10.89.1.4/24"]}
    without_nft(host)
    for name in ("endpoint_up", "endpoint_down"):
        refused = host.call("capsule.network.firewall", name, RECORD, other)
        assert isinstance(refused, dict) and refused["class"] == "Unsupported", refused
    with_nft(host)
    assert listed(host) == before
    # nft takes the port over, and takes out what is left.
    assert host.call("capsule.network.firewall", "endpoint_up", RECORD, other) is None
    assert "tcp . 8080 : 10.89.1.4" in listed(host)
    assert host.call("capsule.network.firewall", "endpoint_down", RECORD, other) is None
    left = listed(host)
    assert "vethother" not in left and "10.89.1.4" not in left


def test_ranges_of_ports_are_one_batch(host: Space) -> None:
    many = ENDPOINT | {"ports": [port(number, number) for number in range(1000, 1700)]}
    empty = listed(host)
    without_nft(host)
    assert host.call("capsule.network.firewall", "endpoint_up", RECORD, many) is None
    with_nft(host)
    found = listed(host)
    assert all(f"tcp . {number} : {target}" in found for number in (1000, 1599, 1600, 1699)
               for target in ("10.89.1.2", "fd00:89:1::2", number))
    assert host.call("capsule.network.firewall", "endpoint_down", RECORD, many) is None
    assert listed(host) == empty
