"""/etc/hosts, /etc/hostname and /etc/resolv.conf of containers, and how they follow who comes and goes."""

from __future__ import annotations

import pytest
from helpers.requires import requires

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip")


@pytest.fixture
def start(world, bundle):
    def run(*flags: str):
        box = bundle(["/payload", "pause"])
        world.start_container(box, *flags)
        return box
    return run


def hosts(world, box) -> dict[str, list[str]]:
    """Return what a container's /etc/hosts says: names by address."""
    found: dict[str, list[str]] = {}
    for line in world.exec(box, "cat", "/etc/hosts").out.splitlines():
        words = line.partition("#")[0].split()
        if words:
            found.setdefault(words[0], []).extend(words[1:])
    return found


def test_a_container_knows_its_own_name(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64")
    box = start("--network", "blue", "--hostname", "db.example", "--add-host", "gate:host-gateway",
                "--add-host", "far:192.0.2.7", "--dns", "192.0.2.53")
    found = hosts(world, box)
    assert found["10.5.0.2"] == found["fd05::2"] == ["db.example", "db"]
    assert found["127.0.0.1"] == ["localhost"] and "localhost" in found["::1"]
    assert (found["10.5.0.1"], found["192.0.2.7"]) == (["gate"], ["far"])
    assert world.exec(box, "hostname").out == "db.example\n"
    assert world.exec(box, "cat", "/etc/hostname").out == "db.example\n"
    assert world.exec(box, "cat", "/etc/resolv.conf").out.splitlines()[0] == "nameserver 10.5.0.1"


def test_members_come_and_go(world, start):
    """The original wrote a file once; who was started later was not in it, and who had gone was."""
    for name, subnet in (("blue", "10.5.0.0/24"), ("red", "10.6.0.0/24")):
        world.network("create", name, "--subnet", subnet)
    one = start("--network", "blue")
    two = start("--network", "blue:alias=db")
    other = start("--network", "red")
    assert hosts(world, one)["10.5.0.3"] == hosts(world, one)["10.5.0.3"] == [two.id, "db"]
    assert hosts(world, two)["10.5.0.2"] == [one.id]
    assert "10.6.0.2" not in hosts(world, one)
    world.network("connect", "blue", other.id, "--alias", "late")
    assert hosts(world, one)["10.5.0.4"] == [other.id, "late"]
    world.network("disconnect", "blue", other.id)
    world.delete(two, "--force")
    assert not {"10.5.0.3", "10.5.0.4"} & set(hosts(world, one))


def test_a_network_without_names_tells_none(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--disable-dns")
    one, two = start("--network", "blue"), start("--network", "blue")
    assert "10.5.0.3" not in hosts(world, one) and "10.5.0.2" not in hosts(world, two)


def test_what_the_program_wrote_itself_stays(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    one = start("--network", "blue")
    world.exec(one, "sh", "-c", "echo 192.0.2.1 mine > /etc/hosts")
    start("--network", "blue")
    assert hosts(world, one) == {"192.0.2.1": ["mine"]}


def test_files_of_the_bundle_are_left(world, bundle, workdir):
    world.network("create", "blue")
    mine = workdir / "mine"
    mine.write_text("192.0.2.9 own\n")
    box = bundle(["/payload", "pause"]).bind(mine, "/etc/hosts", "rbind", "ro")
    world.start_container(box, "--network", "blue")
    assert world.exec(box, "cat", "/etc/hosts").out == "192.0.2.9 own\n"


def test_a_run_with_files_and_no_network_leaves_nothing(world, bundle):
    box = bundle().shell("cat /etc/hosts")
    assert "192.0.2.7\tfar" in world.run(box, "--add-host", "far:192.0.2.7").out
    assert not world.exists(box)


def test_a_line_that_would_say_something_else_is_refused(world, bundle):
    box = bundle(["/payload", "pause"])
    for flags in (("--add-host", "a b:192.0.2.1"), ("--add-host", "a\nb:192.0.2.1"), ("--add-host", "a"),
                  ("--add-host", "a:x"), ("--dns", "x"), ("--dns", "192.0.2.1\noptions x"),
                  ("--add-host", "a:host-gateway")):
        refused = world.create(box, *flags, rc=1)
        assert len(refused.err.splitlines()) == 1, flags
        assert not world.exists(box), flags
