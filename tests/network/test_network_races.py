"""Two commands about one network at once, held at stop points: no container speaks unguarded, no rule outlives it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers import stops
from helpers.requires import ROOT, requires

pytestmark = requires("root", "stop", "busybox", "gcc", "ip", "nft")

# In the host's namespace, so that nothing but the command on stdin comes between the comparison and the repair.
CHECK = """
import subprocess, sys
from capsule.network import check
from capsule.network.store import Networks
networks = Networks(sys.argv[1])
with networks.lock():
    found = check._compare(networks, lambda id: True)
subprocess.run(sys.argv[2:], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
check._repair(found)
print(*(finding.problem for finding in found if finding.fixed), sep="\\n")
"""


@pytest.fixture
def blue(stopping):
    stopping.network("create", "blue", "--subnet", "10.5.0.0/24")
    return stopping


def waiting(world, bundle, network: str):
    box = bundle(["/payload", "pause"])
    world.create(box, "--network", network)
    return box


def elements(world) -> str:
    return world.on_host("sh", "-c", "nft list table inet capsule; nft list table bridge capsule", check=False)


def host_links(world) -> dict[str, str]:
    """Return the state of each container's link on the host."""
    return {name: "up" if "UP" in link["flags"] else "down" for name, link in world.links().items()
            if link["linkinfo"]["info_kind"] == "veth"}


@pytest.mark.parametrize("verb", ["create", "connect"])
def test_nothing_passes_a_link_before_its_rules_are_there(blue, bundle, verb):
    if verb == "create":
        box = bundle(["/payload", "pause"])
        stopped = stops.stop_at(blue, "net-connected", *blue.words_for("create", box, ["--network", "blue"]))
    else:
        box = waiting(blue, bundle, "none")
        stopped = stops.stop_at(blue, "net-connected", "network", "connect", "blue", box.id)
    (name, state), = host_links(blue).items()
    assert state == "down"
    assert name not in elements(blue)
    stopped.proceed()
    assert stopped.running.wait().rc == 0
    assert host_links(blue) == {name: "up"}
    assert name in elements(blue)


@pytest.mark.parametrize("point", ["net-leased", "net-linked", "net-connected", "net-ruled"])
@pytest.mark.parametrize("verb", ["connect", "disconnect"])
def test_after_a_killed_connect_both_verbs_do_their_work(blue, bundle, point, verb):
    box = waiting(blue, bundle, "none")
    stopped = stops.stop_at(blue, point, "network", "connect", "blue", box.id)
    stopped.kill()
    stopped.running.wait()
    blue.network(verb, "blue", box.id)
    if verb == "connect":
        assert blue.addresses(box)[0].startswith("10.5.0.")
        assert list(host_links(blue).values()) == ["up"]
        blue.network("disconnect", "blue", box.id)
    assert (blue.addresses(box), host_links(blue), blue.leases("blue")) == ([], {}, {})


@pytest.mark.parametrize("point", ["net-unrule", "net-unlink", "net-release"])
def test_a_reload_beside_a_delete_brings_nothing_back(blue, bundle, point):
    box = bundle(["/payload", "pause"])
    blue.create(box, "--network", "blue", "--publish", "127.0.0.1:8082:80")
    name, = host_links(blue)
    stopped = stops.stop_at(blue, point, "delete", "--force", box.id)
    blue.network("reload", "blue")
    stopped.proceed()
    assert stopped.running.wait().rc == 0
    assert name not in elements(blue)
    assert "8082" not in elements(blue)


def test_a_repair_takes_nothing_from_who_came_since_the_comparison(blue, bundle):
    waiting(blue, bundle, "blue")
    blue.on_host("nft", "add", "element", "bridge", "capsule", "ends", "{ veth0123456789 }")
    late = bundle(["/payload", "pause"])
    create = [*blue.argv[3:], "--root", blue.root,
              *blue.words_for("create", late, ["--network", "blue", "--publish", "9191:80"])]
    done = subprocess.run([*blue.scene, sys.executable, "-c", CHECK, blue.root, *create], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    assert "veth0123456789" in done.stdout
    held = elements(blue)
    assert "veth0123456789" not in held
    assert all(name in held for name in host_links(blue))
    assert "9191" in held
    assert blue.network("check").out == ""


def test_a_connect_to_a_network_that_is_removed_by_force_fails_and_leaves_nothing(blue, bundle):
    box = waiting(blue, bundle, "none")
    stopped = stops.stop_at(blue, "net-connected", "network", "connect", "blue", box.id)
    blue.network("rm", "--force", "blue")
    stopped.proceed()
    result = stopped.running.wait()
    assert (result.rc, "removed meanwhile" in result.err) == (1, True), result
    assert (blue.addresses(box), host_links(blue)) == ([], {})
    assert "veth" not in elements(blue)


def test_a_network_of_the_same_name_is_another_one(blue, bundle):
    box = waiting(blue, bundle, "blue")
    blue.network("rm", "--force", "blue")
    blue.network("create", "blue", "--subnet", "10.7.0.0/24")
    blue.network("connect", "blue", box.id)
    assert blue.addresses(box) == ["10.7.0.2/24"]


def test_a_container_that_leaves_its_first_network_lives_on_by_the_next(blue, bundle):
    """Route, name servers and its own name: all went with the first network."""
    blue.network("create", "red", "--subnet", "10.6.0.0/24")
    box = bundle(["/payload", "pause"])
    blue.start_container(box, "--network", "blue", "--network", "red", "--hostname", "db")
    blue.network("disconnect", "blue", box.id)
    assert [route["gateway"] for route in blue.routes(box) if route["dst"] == "default"] == ["10.6.0.1"]
    assert blue.exec(box, "cat", "/etc/resolv.conf").out.splitlines()[0] == "nameserver 10.6.0.1"
    hosts = blue.exec(box, "cat", "/etc/hosts").out
    assert "10.5.0." not in hosts
    assert "10.6.0.2\tdb\n" in hosts
    assert json.loads((blue.root / box.id / "state.json").read_text())["endpoint"]["ip_address"] == "10.6.0.2"
    blue.network("connect", "blue", box.id)
    assert "10.5.0.2\tdb\n" in blue.exec(box, "cat", "/etc/hosts").out


def test_what_is_left_without_a_network_is_found_and_removed(blue):
    blue.on_host("nft", "add", "element", "inet", "capsule", "published4", "{ tcp . 4444 : 10.81.0.9 }")
    blue.network("rm", "blue")
    assert "4444" in blue.network("check", rc=1).out
    assert "(repaired)" in blue.network("check", "--fix").out
    assert "4444" not in elements(blue)
    assert blue.network("check").out == ""
