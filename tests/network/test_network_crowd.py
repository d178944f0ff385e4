"""Many containers of one network at once, and many one after the other."""

from __future__ import annotations

import pytest
from helpers.requires import requires

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip")


def test_64_containers_at_once_have_64_addresses_and_leave_nothing(world, bundle):
    """Of eight at once the original gave five the same address and three another."""
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64")
    boxes = [bundle(["/payload", "pause"]) for _ in range(64)]
    words = [world.words_for("run", box, ["--detach", "--network", "blue"]) for box in boxes]
    for running in [world.spawn(*argv) for argv in words]:
        result = running.wait(120)
        assert result.rc == 0, result
    endpoints = world.inspect("blue")["endpoints"]
    assert {endpoint["container"] for endpoint in endpoints} == {box.id for box in boxes}
    first = [endpoint["addresses"][0] for endpoint in endpoints]
    assert len(set(first)) == 64 and len(world.leases("blue")) == 128
    seen = [world.addresses(box) for box in boxes[::8]]
    assert all(pair in [endpoint["addresses"] for endpoint in endpoints] for pair in seen)
    assert all(world.ping(world.inside(box), "10.5.0.1") for box in boxes[::8])
    assert [line for line in world.flows() if "src=10.5.0." in line]
    for running in [world.spawn("delete", "--force", box.id) for box in boxes]:
        assert running.wait(120).rc == 0
    assert world.leases("blue") == {}
    assert set(world.links()) == {world.inspect("blue")["bridge"]}
    assert (world.ruled(), world.attendants(), world.flows()) == ([], [], [])
    assert world.network("check").out == ""


@pytest.mark.parametrize("cycles", [15, pytest.param(500, marks=pytest.mark.stress)])
def test_cycles_leave_nothing(world, bundle, cycles):
    world.network("create", "blue", "--subnet", "10.5.0.0/29")
    box = bundle(["/payload", "exit", "0"])
    for _ in range(cycles):
        world.run(box, "--network", "blue")
    assert world.leases("blue") == {}
    assert set(world.links()) == {world.inspect("blue")["bridge"]}
    assert (world.ruled(), world.attendants()) == ([], [])
    assert world.network("check").out == ""


def test_a_network_comes_and_goes(world):
    for _ in range(5):
        world.network("create", "blue")
        world.network("delete", "blue")
    assert world.links() == {}
