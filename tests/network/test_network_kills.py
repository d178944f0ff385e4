"""kill -9 at every step of a container's way into a network and out of it: delete, and nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import process, stops
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = requires("root", "stop", "busybox", "gcc", "ip")

NAMES = [name for name in stops.names() if name.startswith("net-")]
VERBS = ["create", "delete", "connect", "disconnect"]


def prepare(world, bundle, verb):
    """Make a network and bring a container to where the verb begins; returns the bundle and the verb's words."""
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64")
    box = bundle(["/payload", "pause"])
    flags = ["--network", "none"] if verb == "connect" else ["--network", "blue", "--publish", "8080:80"]
    if verb == "create":
        # The bridge has gone: it is made again on the way.
        world.on_host("ip", "link", "delete", world.inspect("blue")["bridge"])
        return box, world.words_for("create", box, flags)
    world.create(box, *flags)
    if verb == "delete":
        return box, ["delete", "--force", box.id]
    return box, ["network", verb, "blue", box.id]


def test_there_are_stop_points():
    assert {"net-journal", "net-leased", "net-bridge", "net-linked", "net-connected", "net-unlink",
            "net-release"} <= set(NAMES)


@pytest.mark.parametrize("verb", VERBS)
def test_kill_9_at_each_step_and_delete(stopping, bundle, verb):
    world = stopping
    reached = []
    for name in NAMES:
        box, words = prepare(world, bundle, verb)
        stopped = stops.stop_at(world, name, *words)
        if stopped is not None:
            reached.append(name)
            below = process.descendants(stopped.running.pid)
            stopped.kill()
            stopped.running.wait()
            world.delete(box, "--force")
            wait_until(lambda below=below: process.reap_orphans() or not any(map(process.is_alive, below)), 10,
                       f"the end of {below}")
        else:
            world.delete(box, "--force")
        assert not world.exists(box), name
        assert world.leases("blue") == {}, name
        assert set(world.links()) <= {world.inspect("blue")["bridge"]}, name
        assert (world.ruled(), world.attendants()) == ([], []), name
        world.network("delete", "blue")
        assert world.links() == {}, name
    assert reached, f"{verb} passes no stop point"


@pytest.mark.parametrize("point", ["net-attend", "net-attended"])
@pytest.mark.parametrize("kind", ["dns", "proxy"])
def test_kill_9_around_the_start_of_an_attendant(stopping, bundle, kind, point):
    """Its file is written before it starts and its lock is its record: whoever comes next finds what there is."""
    world = stopping
    world.network("create", "blue", "--subnet", "10.5.0.0/24", *(["--disable-dns"] if kind == "proxy" else []))
    box, other = bundle(["/payload", "pause"]), bundle(["/payload", "pause"])
    stopped = stops.stop_at(world, point, *world.words_for("create", box, ["--network", "blue", "-p", "8080:80"]))
    assert stopped is not None
    below = process.descendants(stopped.running.pid)
    stopped.kill()
    stopped.running.wait()
    wait_until(lambda: process.reap_orphans() or not any(map(process.is_alive, below)), 10, f"the end of {below}")

    file, = Path(world.root, ".networks").glob(f"*.{kind}")
    assert bool(world.attendant(file.name)) == (point == "net-attended")
    if kind == "dns":
        world.start_container(other, "--network", "blue")
        assert world.attendant(file.name)
    world.delete(box, "--force")
    assert file.exists() == (kind == "dns")
    assert "missing" not in world.network("check", "--fix", rc=None).out
    if kind == "dns":
        world.delete(other, "--force")
    assert not [*Path(world.root, ".networks").glob("*.dns"), *Path(world.root, ".networks").glob("*.proxy")]
    assert world.network("check").out == ""
