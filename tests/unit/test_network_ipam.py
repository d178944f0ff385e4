"""Leases: exact, never double, and given back by their owner alone."""

from __future__ import annotations

import ipaddress
import multiprocessing

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from capsule.errors import NetworkError
from capsule.network.ipam import IPAM
from capsule.network.store import Networks, State


def subnet(text, gateway="", range_="", reserved=()):
    return {"subnet": text, "gateway": gateway, "range": range_, "reserved": list(reserved)}


def ipam(*subnets, leases=None):
    return IPAM("net", list(subnets), {} if leases is None else leases)


def all_of(made):
    """Lease until nothing is left."""
    found = []
    while True:
        try:
            found.append(made.allocate(f"owner-{len(found)}"))
        except NetworkError:
            return found


@given(st.integers(26, 31), st.integers(0, 2**32 - 1), st.integers(0, 8))
@settings(max_examples=40)
def test_every_address_of_a_subnet_is_leased_once_and_no_special_one(prefix, number, reserved):
    network = ipaddress.ip_network((number, prefix), strict=False)
    hosts = list(network.hosts())
    kept = hosts[1 : 1 + reserved]
    made = ipam(subnet(str(network), str(hosts[0]), reserved=[str(host) for host in kept]))
    expected = [host for host in hosts[1:] if host not in kept]
    assert made.allocatable() == len(expected)
    found = [ipaddress.ip_interface(texts[0]) for texts in all_of(made)]
    assert [interface.ip for interface in found] == expected
    assert {interface.network for interface in found} <= {network}
    assert made.allocatable() == 0


def test_what_the_original_gave_away_is_never_given():
    """Broadcast and network addresses; a byte that wraps in a /16; another subnet's at the end of a /26."""
    leases = {f"172.16.{number >> 8}.{number & 255}": "other" for number in range(2, 65535)}
    for text in ("172.16.0.254", "172.16.0.255", "172.16.1.0", "172.16.1.255", "172.16.2.0", "172.16.255.254"):
        del leases[text]
    made = ipam(subnet("172.16.0.0/16", "172.16.0.1"), leases=leases)
    assert [texts[0] for texts in all_of(made)] == [
        f"172.16.{text}/16" for text in ("0.254", "0.255", "1.0", "1.255", "2.0", "255.254")]
    last = [texts[0] for texts in all_of(ipam(subnet("10.0.0.64/26", "10.0.0.65")))]
    assert (last[0], last[-1], len(last)) == ("10.0.0.66/26", "10.0.0.126/26", 61)


def test_both_families_are_leased_together():
    made = ipam(subnet("10.0.0.0/24", "10.0.0.1"), subnet("fd00::/64", "fd00::1"))
    assert made.allocate("a") == ["10.0.0.2/24", "fd00::2/64"]
    assert made.allocate("b") == ["10.0.0.3/24", "fd00::3/64"]
    assert made.leases == {"10.0.0.2": "a", "fd00::2": "a", "10.0.0.3": "b", "fd00::3": "b"}


def test_one_family_that_is_full_leases_nothing_of_the_other():
    made = ipam(subnet("fd00::/64", "fd00::1"), subnet("10.0.0.0/30", "10.0.0.1"))
    made.allocate("a")
    before = dict(made.leases)
    with pytest.raises(NetworkError, match=r"no address of 10.0.0.0/30 is free"):
        made.allocate("b")
    assert made.leases == before


@pytest.mark.parametrize("wanted", ["10.0.0.9", "fd00::9", "fd00:0:0::0009"])
def test_a_static_address_is_leased_in_its_one_spelling(wanted):
    made = ipam(subnet("10.0.0.0/24", "10.0.0.1"), subnet("fd00::/64", "fd00::1"))
    found = made.allocate("a", [wanted])
    assert str(ipaddress.ip_address(wanted)) in [text.partition("/")[0] for text in found]
    with pytest.raises(NetworkError, match="it is in use"):
        made.allocate("b", [wanted])


@pytest.mark.parametrize(("wanted", "cause"), [
    ("10.0.0.0", "the network's own"), ("10.0.0.255", "broadcast"), ("10.0.0.1", "gateway's"), ("10.0.0.7", "reserved"),
    ("10.0.1.2", "in no subnet"), ("fd00::2", "in no subnet"), ("10.0.0.02", "not an IP address"), ("x", "not an IP"),
])
def test_a_static_address_that_cannot_be_had_is_refused(wanted, cause):
    made = ipam(subnet("10.0.0.0/24", "10.0.0.1", reserved=["10.0.0.7"]))
    with pytest.raises(NetworkError, match=cause):
        made.allocate("a", [wanted])
    assert made.leases == {}


def test_two_addresses_of_one_subnet_are_refused():
    with pytest.raises(NetworkError, match="two addresses"):
        ipam(subnet("10.0.0.0/24", "10.0.0.1")).allocate("a", ["10.0.0.2", "10.0.0.3"])


def test_a_range_bounds_what_is_given_and_not_what_is_asked_for():
    made = ipam(subnet("10.0.0.0/24", "10.0.0.1", "10.0.0.128/30"))
    assert made.allocate("s", ["10.0.0.5"]) == ["10.0.0.5/24"]
    assert [texts[0] for texts in all_of(made)] == [f"10.0.0.{number}/24" for number in (128, 129, 130, 131)]


def test_a_subnet_of_two_serves_one_container():
    assert all_of(ipam(subnet("10.0.0.2/31", "10.0.0.2"))) == [["10.0.0.3/31"]]


class Leases(RuleBasedStateMachine):
    """Whatever is asked for and given back in whatever order: one owner an address."""

    def __init__(self):
        super().__init__()
        self.made = ipam(subnet("10.0.0.0/28", "10.0.0.1"), subnet("fd00::/124", "fd00::1"))
        self.held: dict[str, list[str]] = {}

    @rule(owner=st.integers(0, 20), wanted=st.none() | st.integers(0, 15),
          family=st.sampled_from(["10.0.0.", "fd00::"]))
    def allocate(self, owner, wanted, family):
        name = f"o{owner}"
        if name in self.held:
            return
        text = [] if wanted is None else [f"{family}{wanted}" if family != "fd00::" else f"fd00::{wanted:x}"]
        before = dict(self.made.leases)
        try:
            self.held[name] = self.made.allocate(name, text)
        except NetworkError:
            assert self.made.leases == before

    @rule(owner=st.integers(0, 20))
    def release(self, owner):
        gone = self.made.release(f"o{owner}")
        assert sorted(gone) == sorted(text.partition("/")[0] for text in self.held.pop(f"o{owner}", []))

    @invariant()
    def nobody_shares(self):
        held = [text.partition("/")[0] for texts in self.held.values() for text in texts]
        assert len(held) == len(set(held)) == len(self.made.leases)
        assert not {"10.0.0.0", "10.0.0.1", "10.0.0.15", "fd00::", "fd00::1"} & set(held)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=25, stateful_step_count=40)


def test_a_release_touches_no_other_owner():
    made = ipam(subnet("10.0.0.0/24", "10.0.0.1"))
    made.allocate("a")
    made.allocate("b")
    assert made.release("c") == []
    assert made.release("a") == ["10.0.0.2"]
    assert made.leases == {"10.0.0.3": "b"}
    assert made.allocate("c") == ["10.0.0.2/24"]


def lease_some(root, number, queue):
    """Lease and release in a process of its own, as a container's create does."""
    networks = Networks(root)
    entry = subnet("10.0.0.0/24", "10.0.0.1")
    for turn in range(3):
        with networks.lock():
            state = networks.state("net")
            got = IPAM("net", [entry], state.leases).allocate(f"{number}.{turn}")
            state.endpoints[f"{number}.{turn}"] = {"container": str(number)}
            networks.save_state("net", state)
        queue.put(got[0])


def test_64_processes_at_once_lease_no_address_twice(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=lease_some, args=(str(tmp_path), number, queue)) for number in range(64)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=120) for _ in range(192)]
    for worker in workers:
        worker.join()
    assert len(set(found)) == 192
    state = Networks(str(tmp_path)).state("net")
    assert isinstance(state, State)
    assert len(state.leases) == len(set(state.leases.values())) == len(state.endpoints) == 192
