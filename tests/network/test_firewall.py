"""Packets on their way through the firewall of bridge networks: who reaches whom, and who must not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

from .kit_firewall import World, port

pytestmark = requires("root", "nft", "ip")


@pytest.fixture
def world(request: pytest.FixtureRequest, leaks) -> Iterator[World]:
    made = World()
    try:
        for name in ("iptables", "ip6tables"):
            made.host.write(f"/proc/sys/net/bridge/bridge-nf-call-{name}", getattr(request, "param", "1"))
        yield made
    finally:
        made.close()


#: With br_netfilter (the kernel's default once it is loaded, as Docker does) bridged frames pass the inet tables too.
BOTH = pytest.mark.parametrize("world", ["0", "1"], ids=["routed", "br_netfilter"], indirect=True)
FAMILIES = (4, 6)
HOST = {4: "192.0.2.1", 6: "2001:db8:1::1"}
OUTSIDE = {4: "192.0.2.2", 6: "2001:db8:1::2"}
ANY = {4: "0.0.0.0", 6: "::"}


def of(family: int, network: int, number: int) -> str:
    return f"10.89.{network}.{number}" if family == 4 else f"fd00:89:{network}::{number}"


def test_a_container_goes_out_by_the_hosts_address(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2)
    for family in FAMILIES:
        world.outside.listen("tcp", ANY[family], 7, "outside")
        assert box.ask("tcp", OUTSIDE[family], 7) == f"outside {HOST[family]}"
        assert box.ping(OUTSIDE[family])


@BOTH
def test_a_published_port_is_reached_from_everywhere(world: World) -> None:
    world.network("a", 1)
    world.network("b", 2)
    box, _ = world.container("a", 2, port(8080, 80), port(8080, 80, "udp"))
    neighbour, _ = world.container("a", 3)
    other, _ = world.container("b", 2)
    for family, kind in itertools.product(FAMILIES, ("tcp", "udp")):
        box.listen(kind, ANY[family], 80, "box")
        assert world.outside.ask(kind, HOST[family], 8080) == f"box {OUTSIDE[family]}"
        assert world.host.ask(kind, HOST[family], 8080).startswith("box ")
        assert neighbour.ask(kind, HOST[family], 8080).startswith("box ")
        assert neighbour.ask(kind, of(family, 1, 1), 8080).startswith("box ")
        assert box.ask(kind, HOST[family], 8080).startswith("box ")
        assert other.ask(kind, HOST[family], 8080) == f"box {of(family, 2, 2)}"


def test_a_port_at_one_address_is_published_there_alone(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2, *[port(8080, 80, host_ip=HOST[family]) for family in FAMILIES])
    for family in FAMILIES:
        box.listen("tcp", ANY[family], 80, "box")
        assert world.outside.ask("tcp", HOST[family], 8080).startswith("box ")
        assert box.ask("tcp", of(family, 1, 1), 8080) == "refused"


@BOTH
def test_a_port_of_the_loopback_is_not_reached_over_the_wire(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2, port(8080, 80, host_ip="127.0.0.1"))
    neighbour, _ = world.container("a", 3)
    box.listen("tcp", "0.0.0.0", 80, "box")
    for stranger, gateway in ((world.outside, "192.0.2.1"), (neighbour, "10.89.1.1")):
        stranger.write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1")
        stranger.ip("route del local 127.0.0.0/8 dev lo table local", "route del local 127.0.0.1 dev lo table local",
                    f"route add 127.0.0.1/32 via {gateway} dev eth0")

    assert world.outside.ask("tcp", "127.0.0.1", 8080, timeout=1, source=["192.0.2.2", 0]) == "silence"
    assert neighbour.ask("tcp", "127.0.0.1", 8080, timeout=1, source=["10.89.1.3", 0]) == "silence"
    assert world.outside.ask("tcp", "192.0.2.1", 8080) == "refused"


def test_the_port_of_a_stranger_stays_the_strangers(world: World) -> None:
    """The original turned every packet to that port aside, whoever it was for (D14)."""
    world.network("a", 1)
    box, _ = world.container("a", 2, port(8080, 80))
    client, _ = world.container("a", 3)
    for family in FAMILIES:
        box.listen("tcp", ANY[family], 80, "box")
        world.outside.listen("tcp", ANY[family], 8080, "outside")
        assert client.ask("tcp", OUTSIDE[family], 8080) == f"outside {HOST[family]}"
        assert world.host.ask("tcp", OUTSIDE[family], 8080) == f"outside {HOST[family]}"


def test_an_outsider_reaches_no_port_that_is_not_published(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2, port(8080, 80))
    for number, family in itertools.product((80, 81), FAMILIES):
        box.listen("tcp", ANY[family], number, "box")
    world.outside.ip("route add 10.89.1.0/24 via 192.0.2.1", "route add fd00:89:1::/64 via 2001:db8:1::1")
    asks = [["tcp", of(family, 1, 2), number, 1] for number in (80, 81) for family in FAMILIES]
    assert world.outside.ask_each(*asks) == ["silence"] * 4
    assert not [family for family in FAMILIES if world.outside.ping(of(family, 1, 2))]


@BOTH
def test_networks_do_not_reach_each_other(world: World) -> None:
    world.network("a", 1)
    world.network("b", 2)
    world.network("c", 3, isolate=True)
    boxes = {"a": world.container("a", 2, port(8081, 80))[0], "b": world.container("b", 2)[0],
             "c": world.container("c", 2, port(8083, 80))[0]}
    for (name, box), family in itertools.product(boxes.items(), FAMILIES):
        box.listen("tcp", ANY[family], 80, name)

    # What is published of an isolated network is for outside, the host and itself.
    forbidden = {"a": [(of(4, 2, 2), 80), (of(6, 2, 2), 80)],
                 "b": [(of(4, 1, 2), 80), (of(6, 1, 2), 80), (HOST[4], 8083), (HOST[6], 8083)],
                 "c": [(HOST[4], 8081), (HOST[6], 8081)]}
    for name, places in forbidden.items():
        asks = [["tcp", address, number, 1] for address, number in places]
        assert boxes[name].ask_each(*asks) == ["silence"] * len(asks), name
    for family in FAMILIES:
        assert boxes["b"].ask("tcp", HOST[family], 8081).startswith("a ")
        assert boxes["c"].ask("tcp", HOST[family], 8083).startswith("c ")
        assert world.outside.ask("tcp", HOST[family], 8083).startswith("c ")


@BOTH
def test_an_internal_network_reaches_its_own_members_and_gateway_only(world: World) -> None:
    world.network("a", 1, internal=True)
    world.network("b", 2)
    box, _ = world.container("a", 2)
    neighbour, _ = world.container("a", 3)
    published, _ = world.container("b", 2, port(8080, 80))
    asks = []
    for family in FAMILIES:
        for space, name in ((neighbour, "neighbour"), (published, "published"), (world.host, "host"),
                            (world.outside, "outside")):
            space.listen("tcp", ANY[family], 80, name)
        assert box.ask("tcp", of(family, 1, 3), 80) == f"neighbour {of(family, 1, 2)}"
        assert box.ask("tcp", of(family, 1, 1), 80) == f"host {of(family, 1, 2)}"
        asks += [["tcp", address, number, 1] for address, number in (
            (OUTSIDE[family], 80), (HOST[family], 80), (HOST[family], 8080), (of(family, 2, 2), 80))]
    assert box.ask_each(*asks) == ["silence"] * len(asks)


@BOTH
def test_containers_may_be_kept_from_talking(world: World) -> None:
    world.network("a", 1, icc=False)
    box, _ = world.container("a", 2, port(8080, 80))
    neighbour, _ = world.container("a", 3)
    for family in FAMILIES:
        box.listen("tcp", ANY[family], 80, "box")
        world.outside.listen("tcp", ANY[family], 7, "outside")
    direct = [["tcp", of(family, 1, 2), 80, 1] for family in FAMILIES]
    assert set(neighbour.ask_each(*direct)) <= {"silence", "unreachable: No route to host"}
    for family in FAMILIES:
        assert neighbour.ask("tcp", OUTSIDE[family], 7).startswith("outside ")
        assert neighbour.ask("tcp", HOST[family], 8080).startswith("box ")
    # By the gateway's hardware address it is the host that would carry the packet back.
    neighbour.ip("route add 10.89.1.2/32 via 10.89.1.1", "route add fd00:89:1::2/128 via fd00:89:1::1")
    assert neighbour.ask_each(*direct) == ["silence"] * 2


@BOTH
def test_a_container_sends_from_its_own_addresses_only(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2)
    victim, _ = world.container("a", 3)
    victim.listen("udp", "0.0.0.0", 7, "victim")
    victim.listen("udp", "::", 7, "victim")
    frames = victim.hear("eth0", 0x0800), victim.hear("eth0", 0x86DD)
    assert box.ask("udp", "10.89.1.3", 7) == "victim 10.89.1.2"
    assert box.ask("udp", "fd00:89:1::3", 7) == "victim fd00:89:1::2"
    assert victim.heard(frames[0]) and victim.heard(frames[1])

    box.ip("addr add 10.89.1.9/24 dev eth0", "addr add fd00:89:1::9/64 dev eth0 nodad")
    assert box.ask("udp", "10.89.1.3", 7, timeout=1, source=["10.89.1.9", 0]) == "silence"
    assert box.ask("udp", "fd00:89:1::3", 7, timeout=1, source=["fd00:89:1::9", 0]) == "silence"
    assert not [data for data in victim.heard(frames[0]) + victim.heard(frames[1]) if "0a590109" in data]
    box.ip("link set eth0 address 02:42:0a:59:01:09")
    assert box.ask("udp", "10.89.1.3", 7, timeout=1, source=["10.89.1.2", 0]) != "victim 10.89.1.2"
    box.ip("link set eth0 address 02:42:0a:59:01:02")
    assert box.ask("udp", "10.89.1.3", 7, source=["10.89.1.2", 0]) == "victim 10.89.1.2"


MAC, VICTIM, THIRD = "02420a590102", "02420a590103", "02420a590104"
FORGED = {
    "an ARP answer for a neighbour's address":
        f"{VICTIM}{MAC}0806" f"0001080006040002{MAC}0a590104{VICTIM}0a590103",
    "an ARP answer with a neighbour's hardware address":
        f"{VICTIM}{MAC}0806" f"0001080006040002{THIRD}0a590102{VICTIM}0a590103",
    "a frame with a VLAN tag": f"{VICTIM}{MAC}8100000108004500001400000000401100000a5901040a590103",
    "a frame of another protocol": f"{VICTIM}{MAC}88b50102030405060708",
    "a neighbour advertisement of a neighbour's address":
        f"{VICTIM}{MAC}86dd" "6000000000203aff" "fd000089000100000000000000000002" "fd000089000100000000000000000003"
        "88000000" "60000000" "fd000089000100000000000000000004" f"0201{MAC}",
    "a router advertisement":
        f"{VICTIM}{MAC}86dd" "6000000000103aff" "fe8000000000000000420afffe590102" "fd000089000100000000000000000003"
        "86000000" "40000708" "0000000000000000",
}


@BOTH
def test_forged_frames_do_not_arrive(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2)
    victim, _ = world.container("a", 3)
    every = victim.hear("eth0", 0x0003)
    honest = f"{VICTIM}{MAC}0806" f"0001080006040002{MAC}0a590102{VICTIM}0a590103"

    def arrived() -> set[str]:
        for data in FORGED.values():
            box.frame("eth0", data)
        box.frame("eth0", honest)  # when it is here, the forged ones before it will not come
        seen: list[str] = []
        wait_until(lambda: seen.extend(victim.heard(every)) or any(one.startswith(honest) for one in seen), 5)
        # The kernel takes a VLAN tag off before it shows a frame.
        return {what for what, data in FORGED.items() if any(data[36:] in one for one in seen)}

    assert arrived() == set()
    world.host.nft("flush ruleset")
    assert arrived() == set(FORGED)


def test_an_honest_neighbour_advertisement_arrives(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2)
    world.container("a", 3)
    assert box.ping("fd00:89:1::3")
    # Link-local addresses are the kernel's own and tentative for a second.
    wait_until(lambda: box.ping("fe80::42:aff:fe59:103%eth0"), 10)


def test_a_port_that_is_published_ends_no_flow_to_others(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2)
    world.outside.listen("udp", "0.0.0.0", 5353, "outside")
    assert box.ask("udp", "192.0.2.2", 5353).startswith("outside")
    world.container("a", 3, port(5353, 53, "udp"))
    assert "src=10.89.1.2 dst=192.0.2.2" in world.host.read("/proc/net/nf_conntrack")


def test_a_udp_flow_follows_a_port_that_is_published_anew(world: World) -> None:
    record = world.network("a", 1)
    first, endpoint = world.container("a", 2, port(5353, 53, "udp"))
    first.listen("udp", "0.0.0.0", 53, "first")
    source = ["192.0.2.2", 40000]
    assert world.outside.ask("udp", "192.0.2.1", 5353, source=source) == "first 192.0.2.2"

    world.firewall("endpoint_down", record, endpoint)
    assert world.outside.ask("udp", "192.0.2.1", 5353, source=source) == "refused"
    second, _ = world.container("a", 3, port(5353, 53, "udp"))
    second.listen("udp", "0.0.0.0", 53, "second")
    assert world.outside.ask("udp", "192.0.2.1", 5353, source=source) == "second 192.0.2.2"


def test_nothing_is_left_of_an_endpoint_and_a_network(world: World) -> None:
    record = world.network("a", 1)
    box, endpoint = world.container("a", 2, port(8080, 80), port(5353, 53, "udp", "127.0.0.1"))
    box.listen("tcp", "0.0.0.0", 80, "box")
    world.outside.listen("udp", "0.0.0.0", 7, "outside")
    assert world.outside.ask("tcp", "192.0.2.1", 8080).startswith("box ")
    assert box.ask("udp", "192.0.2.2", 7).startswith("outside ")
    assert "10.89.1.2" in world.host.read("/proc/net/nf_conntrack")

    for _ in range(2):
        world.firewall("endpoint_down", record, endpoint)
    assert "10.89.1.2" not in world.host.read("/proc/net/nf_conntrack")
    assert world.differences([[record, []]]) == []
    for _ in range(2):
        world.firewall("network_down", record)
    assert world.host.run("nft", "list", "tables")[1] == ""


def test_a_flushed_firewall_is_made_again(world: World) -> None:
    world.network("a", 1)
    box, _ = world.container("a", 2, port(8080, 80))
    box.listen("tcp", "0.0.0.0", 80, "box")
    world.host.nft("flush ruleset")
    assert world.outside.ask("tcp", "192.0.2.1", 8080) == "refused"
    assert world.differences() != []

    world.firewall("repair", *world.everything())

    assert world.differences() == []
    assert world.outside.ask("tcp", "192.0.2.1", 8080) == "box 192.0.2.2"


def test_an_endpoint_connected_after_a_flush_makes_the_rules_first(world: World) -> None:
    world.network("a", 1)
    world.host.nft("flush ruleset")
    box, _ = world.container("a", 2, port(8080, 80))
    box.listen("tcp", "0.0.0.0", 80, "box")
    assert world.outside.ask("tcp", "192.0.2.1", 8080) == "box 192.0.2.2"
    assert world.differences() == []


def test_a_stale_mapping_of_the_port_gives_way(world: World) -> None:
    world.network("a", 1)
    world.container("a", 2, port(8080, 80), port(8081, 81, "udp", "127.0.0.1"))
    world.endpoints["a"].clear()
    world.host.ip("link del vbr1x2")
    box, _ = world.container("a", 3, port(8080, 80))
    box.listen("tcp", "0.0.0.0", 80, "box")
    assert world.outside.ask("tcp", "192.0.2.1", 8080) == "box 192.0.2.2"
    stale = world.differences()
    assert stale and all(line.startswith("stale ") for line in stale)
    world.firewall("repair", *world.everything())
    assert world.differences() == []


def test_what_a_lost_network_left_is_found(world: World) -> None:
    """Its masquerading too, which would go on for whoever gets that subnet."""
    world.network("a", 1)
    world.network("b", 2)
    assert world.differences() == []
    world.host.ip("link del br2")
    del world.networks["b"]
    stale = world.differences()
    for what in ("inet capsule masquerade4: 10.89.2.0/24", "inet capsule masquerade6: fd00:89:2::/64",
                 "inet capsule bridges: br2", "inet capsule subnets4: br2 . 10.89.2.0/24"):
        assert f"stale element of {what}" in stale
    world.firewall("repair", *world.everything())
    assert world.differences() == []
    assert "10.89.2." not in world.host.run("nft", "list", "ruleset")[1]


def test_a_chain_of_others_that_drops_is_named(world: World) -> None:
    """Docker's FORWARD policy is DROP, and an accept of ours is none of its."""
    record = world.network("a", 1)
    assert world.firewall("foreign_drops", [[record, []]]) == []
    world.host.nft("""
        table ip filter {
            chain FORWARD {
                type filter hook forward priority filter; policy drop;
                jump DOCKER-USER
            }
            chain DOCKER-USER {
                return
            }
        }
    """)
    (line,) = world.firewall("foreign_drops", [[record, []]])
    assert line == ("chain FORWARD of table ip filter may drop what containers send and get; "
                    "iptables -I DOCKER-USER -i br1 -j ACCEPT; iptables -I DOCKER-USER -o br1 -j ACCEPT")
    box, _ = world.container("a", 2)
    world.outside.listen("tcp", "0.0.0.0", 7, "outside")
    assert box.ask("tcp", "192.0.2.2", 7, timeout=1) == "silence"
    for command in line.partition("; ")[2].split("; "):
        status, _, errors = world.host.run(*command.replace("iptables", "iptables-nft", 1).split())
        assert status == 0, errors
    assert box.ask("tcp", "192.0.2.2", 7) == "outside 192.0.2.1"
    assert world.firewall("foreign_drops", [[record, []]]) == []


def test_the_rules_of_others_are_not_touched(world: World) -> None:
    theirs = """
        table ip filter {
            chain FORWARD {
                type filter hook forward priority filter; policy accept;
                ip protocol tcp counter accept
            }
            chain DOCKER-USER {
                counter return
            }
        }
        table inet other {
            set capsule {
                type ipv4_addr
                elements = { 192.0.2.9 }
            }
        }
    """
    world.host.nft(theirs)
    before = world.host.run("nft", "list", "ruleset")[1]
    record = world.network("a", 1)
    _, endpoint = world.container("a", 2, port(8080, 80))
    world.firewall("repair", *world.everything())
    world.firewall("endpoint_down", record, endpoint)
    world.firewall("network_down", record)
    assert world.host.run("nft", "list", "ruleset")[1] == before


def test_a_host_that_was_no_router_becomes_none_for_strangers(world: World) -> None:
    other = world.space("other")
    world.wire(other, "out1", "198.51.100.1/24", "198.51.100.2/24", "2001:db8:2::1/64", "2001:db8:2::2/64")
    assert world.host.read("/proc/sys/net/ipv4/ip_forward") == "0"
    world.network("a", 1)
    world.outside.ip("route add default via 192.0.2.1", "route add default via 2001:db8:1::1")
    other.ip("route add default via 198.51.100.1", "route add default via 2001:db8:2::1")
    assert not world.outside.ping("198.51.100.2")
    assert not world.outside.ping("2001:db8:2::2")
    world.host.nft("flush set inet capsule closed")
    assert world.outside.ping("198.51.100.2")


def test_a_bridge_of_others_goes_on(world: World) -> None:
    """With br_netfilter its frames pass our rules, on a host that forwarded nothing before."""
    world.host.ip("link add theirs type bridge", "link set theirs up")
    ends = [world.space("one"), world.space("two")]
    for number, end in enumerate(ends, 1):
        world.host.ip(f"link add t{number} master theirs type veth peer name eth0 netns {end.pid}",
                      f"link set t{number} up")
        end.ip(f"addr add 203.0.113.{number}/24 dev eth0", f"addr add 2001:db8:3::{number}/64 dev eth0 nodad",
               "link set eth0 up")
    world.network("a", 1)
    for address in ("203.0.113.2", "2001:db8:3::2"):
        assert ends[0].ping(address, timeout=5), address


def test_without_nft_one_line_says_so(world: World) -> None:
    record = world.network("a", 1)
    for path in ("/usr/sbin/nft", "/sbin/nft"):
        world.host.run("mount", "--bind", "/dev/null", path)
    error = world.host.call("capsule.network.firewall", "network_up", record)
    assert error["class"] == "Unsupported"
    assert error["error"] == "network driver bridge: the program nft is not installed (package nftables)"
