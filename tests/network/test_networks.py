"""Networks and their containers: addresses, who reaches whom, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip")


@pytest.fixture
def start(world, bundle):
    """Start a container that waits, with options of run; returns its bundle."""
    def run(*flags: str):
        box = bundle(["/payload", "pause"])
        world.start_container(box, *flags)
        return box
    return run


def test_two_containers_reach_each_other_and_their_host(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64")
    one, two = start("--network", "blue"), start("--network", "blue")
    assert world.addresses(one) == ["10.5.0.2/24", "fd05::2/64"]
    assert world.addresses(two) == ["10.5.0.3/24", "fd05::3/64"]
    for kind in ("tcp", "udp"):
        assert world.talk(world.inside(one), world.inside(two), kind, "10.5.0.3") == "10.5.0.2"
        assert world.talk(world.inside(one), world.inside(two), kind, "fd05::3") == "fd05::2"
    for address in ("10.5.0.3", "fd05::3", "10.5.0.1", "fd05::1"):
        assert world.ping(world.inside(one), address)
    for address in ("10.5.0.2", "fd05::2"):
        assert world.ping(world.scene, address)


def test_an_interface_as_the_kernel_has_it(world, start):
    """eth0, a hardware address that goes with the IP address, a default route a family, and no tentative address."""
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "--mtu", "1400")
    box = start("--network", "blue")
    link = world.interfaces(box)["eth0"]
    assert (link["address"], link["mtu"]) == ("02:ca:0a:05:00:02", 1400)
    assert "UP" in link["flags"]
    assert [entry for entry in link["addr_info"] if entry.get("tentative") and entry["scope"] == "global"] == []
    assert [route["gateway"] for route in world.routes(box) if route["dst"] == "default"] == ["10.5.0.1"]
    assert [route["gateway"] for route in world.routes(box, "-6") if route["dst"] == "default"] == ["fd05::1"]
    endpoint = world.inspect("blue")["endpoints"][0]
    assert (endpoint["container"], endpoint["mac"]) == (box.id, link["address"])
    host = world.links()[endpoint["host_interface"]]
    assert (host["master"], host["mtu"]) == (world.inspect("blue")["bridge"], 1400)
    assert host["address"] == endpoint["host_mac"]
    assert world.state(box)["ip"] == "10.5.0.2"
    assert "10.5.0.2" in world.list("--wide").out


def test_a_network_without_ipv6_speaks_none(world, start):
    world.network("create", "blue")
    box = start("--network", "blue")
    assert [entry["family"] for entry in world.interfaces(box)["eth0"]["addr_info"]] == ["inet"]


def test_what_was_asked_for_is_had(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--gateway", "10.5.0.254", "--ip-range", "10.5.0.64/26",
                  "--reserve", "10.5.0.64")
    asked = start("--network", "blue", "--ip", "10.5.0.9", "--mac-address", "02:00:00:00:00:09")
    assert world.addresses(asked) == ["10.5.0.9/24"]
    assert world.interfaces(asked)["eth0"]["address"] == "02:00:00:00:00:09"
    given = start("--network", "blue:interface_name=net0,alias=db")
    assert world.addresses(given) == ["10.5.0.65/24"]
    assert "net0" in world.interfaces(given)
    assert [route["gateway"] for route in world.routes(given) if route["dst"] == "default"] == ["10.5.0.254"]
    assert world.inspect("blue")["endpoints"][1]["aliases"] == ["db"]


def test_two_networks_and_one_default_route(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    world.network("create", "red", "--subnet", "10.6.0.0/24", "--subnet", "fd06::/64")
    box = start("--network", "blue", "--network", "red")
    assert world.addresses(box) == ["10.5.0.2/24", "10.6.0.2/24", "fd06::2/64"]
    assert [route["gateway"] for route in world.routes(box) if route["dst"] == "default"] == ["10.5.0.1"]
    assert [route["gateway"] for route in world.routes(box, "-6") if route["dst"] == "default"] == ["fd06::1"]


def test_an_internal_network_has_no_way_out(world, start):
    world.network("create", "blue", "--internal")
    assert [route for route in world.routes(start("--network", "blue")) if route["dst"] == "default"] == []


def test_containers_that_must_not_reach_each_other_do_not(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "--no-icc")
    one, two = start("--network", "blue"), start("--network", "blue")
    for address in ("10.5.0.3", "fd05::3"):
        assert world.talk(world.inside(one), world.inside(two), "udp", address, timeout=0.5).startswith("nothing")
        assert not world.ping(world.inside(one), address)
    assert world.ping(world.inside(one), "10.5.0.1")


def test_the_default_network_is_made_when_it_is_asked_for(world, start):
    """The original made it at every start, and took a subnet that many homes have."""
    start()
    assert world.links() == {}
    box = start("--network", "bridge")
    assert world.addresses(box) == ["10.89.0.2/24"]
    assert "capsule_bridge0" in world.links()
    assert world.addresses(start("--net", "capsule_bridge0")) == ["10.89.0.3/24"]


def test_no_network_the_hosts_and_anothers(world, start):
    assert set(world.interfaces(start("--network", "none"))) == {"lo"}
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    owner = start("--network", "blue")
    sharer = start("--network", f"container:{owner.id}")
    assert world.addresses(sharer) == ["10.5.0.2/24"]
    assert world.inspect("blue")["endpoints"][0]["container"] == owner.id
    by_path = start("--network", f"ns:/proc/{world.pid(owner)}/ns/net")
    assert world.addresses(by_path) == ["10.5.0.2/24"]
    assert "cbr-" in str(world.interfaces(start("--network", "host")))


def test_a_container_that_runs_is_connected_and_disconnected(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    world.network("create", "red", "--subnet", "10.6.0.0/24")
    box = start("--network", "none")
    world.network("connect", "blue", box.id, "--alias", "db")
    world.network("connect", "red", box.id, "--ip", "10.6.0.7")
    assert world.addresses(box) == ["10.5.0.2/24", "10.6.0.7/24"]
    assert [route["gateway"] for route in world.routes(box) if route["dst"] == "default"] == ["10.5.0.1"]
    assert "is connected to it" in world.network("connect", "red", box.id, rc=1).err
    world.network("disconnect", "blue", box.id)
    assert world.addresses(box) == ["10.6.0.7/24"]
    assert world.leases("blue") == {}
    assert "is not connected" in world.network("disconnect", "blue", box.id, rc=1).err
    assert world.state(box)["ip"] == "10.6.0.7"
    world.delete(box, "--force")
    assert world.leases("red") == {}


def test_macvlan_puts_containers_beside_the_host(world, start):
    world.on_host("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    for name in ("lan0", "lan1"):
        world.on_host("ip", "link", "set", name, "up")
    world.on_host("ip", "address", "add", "10.7.0.1/24", "dev", "lan1")
    try:
        world.network("create", "lan", "--driver", "macvlan", "--parent", "lan0", "--subnet", "10.7.0.0/24",
                      "--reserve", "10.7.0.1")
        one, two = start("--network", "lan"), start("--network", "lan")
        assert world.addresses(one) == ["10.7.0.2/24"]
        assert world.ping(world.inside(one), "10.7.0.3")
        assert world.talk(world.inside(one), world.scene, "tcp", "10.7.0.1") == "10.7.0.2"
        world.network("disconnect", "lan", two.id)
        assert set(world.interfaces(two)) == {"lo"}
        world.delete(one, "--force")
    finally:
        world.on_host("ip", "link", "delete", "lan0")


def test_the_automatic_subnet_meets_no_route_and_no_network(world, start):
    world.on_host("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink1")
    try:
        world.on_host("ip", "link", "set", "uplink", "up")
        world.on_host("ip", "address", "add", "10.89.0.9/24", "dev", "uplink")
        world.on_host("ip", "route", "add", "10.89.2.0/23", "dev", "uplink")
        for name in ("a", "b"):
            world.network("create", name)
        assert [world.inspect(name)["subnets"][0]["subnet"] for name in ("a", "b")] == ["10.89.1.0/24", "10.89.4.0/24"]
        refused = world.network("create", "c", "--subnet", "10.89.3.0/24", rc=1)
        assert "overlaps the route of this host to 10.89.2.0/23" in refused.err
        assert world.network("list", "--quiet").out.split() == ["a", "b"]
    finally:
        world.on_host("ip", "link", "delete", "uplink")


REFUSED_NETWORKS = [
    (("x", "--subnet", "10.1.0.0/32"), "has no room"),
    (("x", "--subnet", "fd01::/128"), "has no room"),
    (("x", "--subnet", "10.1.0.7/24"), "inside the subnet 10.1.0.0/24"),
    (("x", "--subnet", "10.1.0/24"), "is not an IP address"),
    (("x", "--subnet", "0.0.0.0/0"), "every address"),
    (("x", "--subnet", "10.1.0.0/24", "--subnet", "10.1.0.128/25"), "overlap"),
    (("x", "--subnet", "10.5.0.128/25"), "overlaps 10.5.0.0/24 of network blue"),
    (("x", "--subnet", "10.1.0.0/24", "--gateway", "10.2.0.1"), "lies in no --subnet"),
    (("x", "--subnet", "10.1.0.0/24", "--gateway", "10.1.0.255"), "no host of 10.1.0.0/24"),
    (("x", "--subnet", "10.1.0.0/24", "--gateway", "10.1.0.1", "--reserve", "10.1.0.1"), "is reserved"),
    (("x", "--subnet", "10.1.0.0/24", "--ip-range", "10.1.1.0/28"), "lies in no --subnet"),
    (("blue",), "exists already"), (("lo",), "an interface of this host has that name"), (("host",), "something else"),
    (("a/b",), "invalid network name"), (("../x",), "invalid network name"), (("x" * 64,), "invalid network name"),
    (("x\ny",), "invalid network name"), (("x", "--mtu", "60"), "its MTU 60 is not between 68"),
    (("x", "--ipv6", "--mtu", "1000"), "not between 1280"), (("x", "--driver", "none"), "makes no networks"),
    (("x", "--driver", "vxlan"), "there is none of that name"), (("x", "--interface-name", "lo"), "exists already"),
    (("x", "--interface-name", "sixteen-letters-"), "invalid interface name"),
    (("x", "--label", "novalue"), "NAME=VALUE"),
    (("x", "--mode", "private"), "needs the macvlan driver"),
    (("x", "--subnet", "10.1.0.0/24", "--gateway", "10.1.0.2", "--gateway", "10.1.0.3"), "more than one gateway"),
    (("x", "--subnet", "10.1.0.0/24", "--ip-range", "10.1.0.0/28", "--ip-range", "10.1.0.16/28"), "more than one"),
    (("x", "--driver", "macvlan", "--subnet", "10.1.0.0/24", "--parent", "lo", "--interface-name", "y"), "bridge"),
    (("x", "--driver", "macvlan", "--subnet", "10.1.0.0/24", "--parent", "lo", "--ipv6"), "--subnet of IPv6"),
    (("x", "--driver", "macvlan", "--subnet", "10.1.0.0/24"), "needs --parent"),
    (("x", "--driver", "macvlan", "--parent", "none0", "--subnet", "10.1.0.0/24"), "no interface of that name"),
]


def test_a_network_that_cannot_be_is_refused_in_one_line_and_leaves_nothing(world):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    before = (os.listdir(f"{world.root}/.networks/records"), set(world.links()))
    for words, cause in REFUSED_NETWORKS:
        refused = world.network("create", *words, rc=1)
        assert cause in refused.err and len(refused.err.splitlines()) == 1, (words, refused)
        assert (os.listdir(f"{world.root}/.networks/records"), set(world.links())) == before, words
    assert world.network("list", "--quiet").out.split() == ["blue"]


REFUSED_CONNECTIONS = [
    (("--network", "green"), 'network \\"green\\" does not exist'), (("--network", "lo"), "does not exist"),
    (("--network", "blue", "--network", "blue"), "it is named twice"),
    (("--network", "blue", "--network", "none"), "no second network"),
    (("--network", "blue", "--ip", "10.6.0.2"), "in no subnet of network blue"),
    (("--network", "blue", "--ip", "10.5.0.1"), "it is the gateway's"),
    (("--network", "blue", "--ip", "10.5.0.255"), "broadcast"),
    (("--network", "blue", "--ip", "x"), "is not an IP address"),
    (("--network", "blue", "--mac-address", "01:00:00:00:00:01"), "use MAC address"),
    (("--network", "blue", "--mac-address", "zz"), "use MAC address"),
    (("--network", "blue", "--network-alias", "a\nb"), "invalid network alias"),
    (("--network", "blue", "--network-alias", "a b"), "invalid network alias"),
    (("--network", "blue", "--hostname", "a\nb"), "invalid host name"),
    (("--network", "blue:ipp=1"), "is no option"),
    (("--network", "blue:interface_name=lo"), "the container has it already"),
    (("--network", "container:nobody"), "does not exist"), (("--network", "container:"), "expected container:ID"),
    (("--network", "ns:relative"), "absolute path"), (("--network", "ns:/nowhere"), "no such file"),
    (("--network", "ns:/etc/hostname"), "it is no namespace"), (("--network", "..",), "invalid network name"),
]


def test_a_container_that_cannot_be_connected_is_refused_in_one_line_and_leaves_nothing(world, bundle):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    before = set(world.links())
    box = bundle(["/payload", "pause"])
    for flags, cause in REFUSED_CONNECTIONS:
        refused = world.create(box, *flags, rc=1)
        assert cause in refused.err and len(refused.err.splitlines()) == 1, (flags, refused)
        assert not world.exists(box), flags
        assert (world.leases("blue"), set(world.links())) == ({}, before), flags


def test_an_exhausted_network_refuses_and_serves_again(world, start, bundle):
    world.network("create", "blue", "--subnet", "10.5.0.0/30")
    first = start("--network", "blue")
    refused = world.run(bundle(["/payload", "pause"]), "--detach", "--network", "blue", rc=1)
    assert "no address of 10.5.0.0/30 is free" in refused.err
    world.delete(first, "--force")
    assert world.addresses(start("--network", "blue")) == ["10.5.0.2/30"]


def test_a_network_in_use_is_kept(world, start):
    world.network("create", "blue")
    box = start("--network", "blue")
    assert f"it is in use by {box.id}" in world.network("delete", "blue", rc=1).err
    assert world.ping(world.inside(box), "10.89.0.1")
    world.network("create", "unused")
    assert world.network("prune").out.split() == ["unused"]
    world.network("delete", "--force", "blue")
    assert world.links() == {}
    world.delete(box, "--force")
    assert world.network("delete", "blue", rc=FAILS).err.count("does not exist") == 1
    world.network("delete", "--force", "blue")


def test_a_failed_connection_costs_no_address(world, bundle):
    """The original lost one with each."""
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    box = bundle(["/nowhere"])
    world.run(box, "--network", "blue", rc=FAILS)
    assert world.leases("blue") == {}
    hooked = bundle(["/payload", "exit", "0"]).hook("prestart", "/bin/false")
    world.run(hooked, "--network", "blue", rc=FAILS)
    assert world.leases("blue") == {}
    assert set(world.links()) == {world.inspect("blue")["bridge"]}


def test_hooks_find_the_endpoint(world, bundle, workdir):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    pid = "$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"
    script = f"nsenter --net=/proc/{pid}/ns/net ip address show eth0 > {workdir}/seen"
    box = bundle(["/payload", "exit", "0"]).hook("prestart", "/bin/sh", "-c", script,
                                                env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    world.run(box, "--network", "blue")
    assert "10.5.0.2/24" in (workdir / "seen").read_text()
    assert world.leases("blue") == {}


def test_a_deleted_bridge_hides_and_holds_no_container(world, start):
    """The original could neither list nor stop nor delete such a container, and listed no other one either."""
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    box, other = start("--network", "blue"), start("--network", "none")
    bridge = world.inspect("blue")["bridge"]
    world.on_host("ip", "link", "delete", bridge)
    assert {box.id, other.id} <= set(world.list("--quiet").out.split())
    assert world.status(box) == "running"
    assert "the bridge is missing" in world.network("check", rc=1).out
    world.delete(box, "--force")
    assert world.leases("blue") == {}
    # The next container makes it again.
    again = start("--network", "blue")
    assert world.ping(world.inside(again), "10.5.0.1")


def test_check_and_reload_bring_a_network_back(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    one, two = start("--network", "blue"), start("--network", "blue")
    assert world.network("check").out == ""
    world.on_host("ip", "link", "delete", world.inspect("blue")["bridge"])
    assert not world.ping(world.inside(one), "10.5.0.3")
    found = json.loads(world.network("check", "--format", "json", rc=1).out)
    assert {one.id, two.id} < {finding["subject"] for finding in found}
    assert "the bridge is missing" in {finding["problem"] for finding in found}
    world.network("reload")
    assert world.ping(world.inside(one), "10.5.0.3")
    assert world.ping(world.inside(one), "10.5.0.1")
    assert world.network("check").out == ""


def test_after_a_reboot(world, start):
    """Records are there; links, rules and processes are not, and the runtime's directory may be on a disk or not."""
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    bridge = world.inspect("blue")["bridge"]
    box = start("--network", "blue", "--publish", "8080:80")
    os.kill(world.pid(box), signal.SIGKILL)
    world.on_host("ip", "link", "delete", bridge)
    world.on_host("nft", "flush", "ruleset")
    assert box.id in world.list("--quiet").out.split()
    assert world.status(box) == "stopped"
    assert "the bridge is missing" in world.network("check", rc=1).out
    world.network("reload")
    assert bridge in world.links()
    assert bridge in world.on_host("nft", "list", "set", "inet", "capsule", "bridges")
    world.delete(box)
    assert world.leases("blue") == {}
    # Without the runtime's directory there is no lease either.
    world.on_host("ip", "link", "delete", bridge)
    world.on_host("nft", "flush", "ruleset")
    (Path(world.root) / ".networks" / "blue.json").unlink()
    world.network("reload")
    assert world.network("check").out == ""
    again = start("--network", "blue")
    assert world.addresses(again) == ["10.5.0.2/24"]
    assert world.ping(world.inside(again), "10.5.0.1")


def test_check_repairs_what_nobody_owns(world, start):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    bridge = world.inspect("blue")["bridge"]
    stray = "veth0123456789"
    world.on_host("ip", "link", "add", stray, "address", "06:00:00:00:00:01", "master", bridge, "type", "veth", "peer",
                  "name", "stray1")
    # Somebody else's, made otherwise than ours: it is left alone.
    world.on_host("ip", "link", "add", "mine0", "master", bridge, "type", "veth", "peer", "name", "mine1")
    world.on_host("ip", "address", "delete", "10.5.0.1/24", "dev", bridge)
    found = world.network("check", rc=1).out
    assert f"{stray}: a link on the bridge that is no container's" in found
    assert "the bridge lacks the address 10.5.0.1/24" in found
    assert world.network("check", "--fix").out.count("(repaired)") == 2
    assert world.network("check").out == ""
    assert set(world.links()) == {bridge, "mine0", "mine1"}
    world.on_host("ip", "link", "delete", "mine0")


def test_leases_of_containers_that_are_no_more_are_taken_back(world, start, bundle):
    """As when a container's directory was removed by hand: the network still names it."""
    world.network("create", "blue", "--subnet", "10.5.0.0/30")
    box = start("--network", "blue")
    path = Path(world.root) / ".networks" / "blue.json"
    state = path.read_text()
    world.delete(box, "--force")
    path.write_text(state)
    assert "the container is no more" in world.network("check", rc=1).out
    world.run(bundle(["/payload", "exit", "0"]), "--network", "blue")
    assert world.leases("blue") == {}


def test_another_interface_with_the_name_of_a_link_is_left_alone(world, start):
    world.network("create", "blue")
    box = start("--network", "blue")
    name = world.inspect("blue")["endpoints"][0]["host_interface"]
    world.on_host("ip", "link", "delete", name)
    world.on_host("ip", "link", "add", name, "type", "veth", "peer", "name", "other")
    world.delete(box, "--force")
    assert name in world.links()
    world.on_host("ip", "link", "delete", name)


def test_an_unreadable_record_hides_no_other(world, start):
    for name in ("blue", "red"):
        world.network("create", name)
    path = f"{world.root}/.networks/records/blue.json"
    with open(path) as file:
        good = file.read()
    with open(path, "w") as file:
        file.write(good[:40])
    listing = world.network("list", "--quiet")
    assert listing.out.split() == ["red"]
    assert "load record of network blue" in listing.err
    start("--network", "red")
    with open(path, "w") as file:
        file.write(good)


def test_the_originals_words(world):
    assert world.network("create", "blue", "--driver", "bridge", "--subnet", "192.168.1.0/24").out == "blue\n"
    assert world.network("show", "blue").out == "[bridge]blue(ip:192.168.1.1,range:192.168.1.0/24)\n"
    rows = [line.split() for line in world.network("list").out.splitlines()]
    assert rows == [["NAME", "GATEWAY_IP", "SUBNET", "DRIVER"], ["blue", "192.168.1.1", "192.168.1.0/24", "bridge"]]
    assert "does not exist" in world.network("show", "lo", rc=1).err
    assert "its driver is bridge" in world.network("delete", "blue", "--driver", "macvlan", rc=1).err
    world.network("delete", "blue", "--driver", "bridge")
    assert world.links() == {}
