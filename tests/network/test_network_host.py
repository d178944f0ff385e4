"""What networks change on their host, and what of it is there afterwards: forwarding, sysctls, ports of others."""

from __future__ import annotations

import socket
import subprocess

import pytest
from helpers.requires import binary, requires

from .kit import World, socket_at
from .kit_firewall import Space
from .test_network_frames import datagram

pytestmark = requires("root", "runtime", "busybox", "ip", "nft")


@pytest.fixture
def strangers(world):
    """Two neighbours of the host on wires of their own, each with its default route by the host."""
    spaces = [Space(f"u{number}") for number in (1, 2)]
    for number, space in enumerate(spaces, 1):
        for line in (f"link add u{number} type veth peer name eth0 netns {space.pid}",
                     f"addr add 198.51.{number}.1/24 dev u{number}",
                     f"addr add 2001:db8:{number}::1/64 dev u{number} nodad",
                     f"link set u{number} up"):
            world.on_host("ip", *line.split())
        space.ip(f"addr add 198.51.{number}.2/24 dev eth0", f"addr add 2001:db8:{number}::2/64 dev eth0 nodad",
                 "link set eth0 up", f"route add default via 198.51.{number}.1",
                 f"route add default via 2001:db8:{number}::1")
    yield lambda timeout=1: [one for one in ("198.51.2.2", "2001:db8:2::2") if spaces[0].ping(one, timeout=timeout)]
    for number, space in enumerate(spaces, 1):
        world.on_host("ip", "link", "del", f"u{number}")
        space.close()


def forwarding(world) -> list[str]:
    return [world.on_host("cat", f"/proc/sys/net/{path}").strip()
            for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/u1/accept_ra")]


def test_the_host_routes_for_no_stranger_with_networks_after_them_and_after_a_flush(world, strangers):
    assert strangers() == [] and forwarding(world) == ["0", "0", "1"]
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64")
    world.network("create", "red", "--subnet", "10.6.0.0/24")
    assert strangers() == [] and forwarding(world) == ["1", "1", "2"]
    for again in (["reload"], ["check", "--fix"]):
        world.on_host("nft", "flush", "ruleset")
        assert "closed" in world.network("check", rc=1).out
        world.network(*again)
        assert strangers() == []
        world.network("check")
    world.network("rm", "blue")
    world.on_host("nft", "flush", "ruleset")
    world.network("reload", "red")
    assert strangers() == [] and forwarding(world)[0] == "1"
    world.on_host("nft", "flush", "ruleset")
    world.network("rm", "red")
    assert strangers() == [] and forwarding(world) == ["0", "0", "1"]
    world.network("create", "green")
    assert strangers() == []


def test_a_host_that_was_a_router_stays_one(world, strangers):
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        world.on_host("sh", "-c", f"echo 1 > /proc/sys/net/{path}")
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64")
    assert len(strangers(5)) == 2
    world.network("rm", "blue")
    assert len(strangers(5)) == 2


def apart(world: World, script: str, *words: str) -> subprocess.CompletedProcess:
    """Call capsule on the world's host in a mount namespace of its own, after a script."""
    argv = [*world.scene, "unshare", "-m", "sh", "-c", f'{script}; exec "$@"', "sh", *binary()]
    return subprocess.run([*argv, "--root", str(world.root), *words], capture_output=True, text=True, check=False)


def test_without_nft_a_network_is_refused_in_one_line_and_nothing_is_left(world, bundle):
    hide = "for path in /usr/sbin/nft /sbin/nft; do mount --bind /dev/null $path; done"
    done = apart(world, hide, "network", "create", "blue")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "the program nft is not installed (package nftables)" in done.stderr
    done = apart(world, hide, "create", "-b", str(bundle(["/payload", "pause"]).write()), "--network", "bridge", "one")
    assert done.returncode == 1 and "nft is not installed" in done.stderr and done.stderr.count("\n") == 1
    assert world.links() == {} and world.network("ls", "-q").out == ""


def test_sysctls_that_cannot_be_written_are_warnings(world):
    lock = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    for name, subnet in (("four", "10.5.0.0/24"), ("six", "fd05::/64")):
        done = apart(world, lock, "network", "create", name, "--subnet", subnet)
        assert done.returncode == 0, done
        assert "cannot be written here" in done.stderr


def test_a_small_mtu_leaves_ipv6_out(world, bundle):
    """A link below 1280 bytes has no IPv6 that could be turned off, as on a host that was booted without it."""
    world.network("create", "small", "--mtu", "576", "--subnet", "10.5.0.0/24")
    box = bundle(["/payload", "pause"])
    world.start_container(box, "--network", "small")
    assert world.ping(world.inside(box), "10.5.0.1")


def test_why_the_default_network_cannot_be_made_is_told(world, bundle):
    world.on_host("ip", "link", "add", "capsule_bridge0", "type", "bridge")
    said = world.create(bundle(["/payload", "pause"]), "--network", "bridge", rc=1).err
    assert "capsule_bridge0" in said and "does not exist" not in said
    world.on_host("ip", "link", "del", "capsule_bridge0")


def test_a_port_that_another_runtime_root_publishes_is_not_taken_from_it(world, bundle, tmp_path):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    world.start_container(bundle(["/payload", "pause"]), "--network", "blue", "-p", "8080:80")
    before = world.on_host("nft", "list", "map", "inet", "capsule", "published4")
    other = [*world.scene, *binary(), "--root", str(tmp_path / "other")]
    subprocess.run([*other, "network", "create", "red", "--subnet", "10.6.0.0/24"], check=True)
    argv = ["create", "-b", str(bundle(["/payload", "pause"]).write()), "--network", "red", "-p", "8080:80", "two"]
    done = subprocess.run([*other, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "listens there" in done.stderr
    assert world.on_host("nft", "list", "map", "inet", "capsule", "published4") == before
    subprocess.run([*other, "network", "rm", "red"], check=True)


def ask(netns: str, address: str) -> bytes:
    """Ask for `box.` by DNS; returns the answer's code and how many records it has."""
    query = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\3box\0\0\1\0\1"
    with socket_at(netns, socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(10)
        made.sendto(query, (address, 53))
        answer = made.recv(512)
    return bytes((answer[3] & 15, answer[7]))


def test_who_publishes_port_53_answers_for_no_networks_names(world, bundle):
    world.network("create", "first", "--subnet", "10.5.0.0/24")
    boxes = [bundle(["/payload", "pause"]) for _ in range(4)]
    world.start_container(boxes[0], "--network", "first:alias=box")  # its responder is there before the port
    world.network("create", "quiet", "--subnet", "10.6.0.0/24", "--disable-dns")
    world.start_container(boxes[1], "--network", "quiet", "-p", "53:5353/udp")
    world.network("create", "late", "--subnet", "10.7.0.0/24", "--isolate")
    world.start_container(boxes[2], "--network", "late:alias=box")
    for box, gateway in ((boxes[0], "10.5.0.1"), (boxes[2], "10.7.0.1")):
        assert ask(world.netns_of(box), gateway) == b"\0\1"
    said = world.create(boxes[3], "--network", "quiet", "-p", "10.5.0.1:53:53/tcp", rc=1).err
    assert "a network answers for names there" in said


def test_a_member_of_an_internal_and_an_open_network_asks_the_open_one_first(world, bundle):
    world.network("create", "back", "--subnet", "10.5.0.0/24", "--internal")
    world.network("create", "front", "--subnet", "10.6.0.0/24")
    box = bundle(["/payload", "pause"])
    world.start_container(box, "--network", "back", "--network", "front")
    lines = (world.root / box.id / "resolv.conf").read_text(encoding="utf-8").splitlines()
    assert [line.split()[1] for line in lines if line.startswith("nameserver")] == ["10.6.0.1", "10.5.0.1"]


@pytest.mark.parametrize("words", [
    ["--subnet", "127.0.0.0/24"], ["--subnet", "169.254.0.0/24"], ["--subnet", "128.0.0.0/1"],
    ["--subnet", "fe80::/64"], ["--subnet", "::ffff:a00:0/112"],
    ["--subnet", "10.5.0.0/24", "--ip-range", "10.5.0.0/32"],
    ["--subnet", "10.5.0.0/30", "--reserve", "10.5.0.2"],
], ids=str)
def test_a_network_that_could_serve_nobody_is_refused(world, words):
    assert world.network("create", "blue", *words, rc=1).err.count("\n") == 1
    assert world.links() == {} and world.network("ls", "-q").out == ""


def test_what_a_container_cannot_be_given_is_refused(world, bundle):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    bridge = world.links()[world.inspect("blue")["bridge"]]["address"]
    box, other = (bundle(["/payload", "pause"]) for _ in range(2))
    world.start_container(box, "--network", "blue")
    neighbour = world.interfaces(box)["eth0"]["address"]
    for words, cause in (
        (["--network", f"blue:mac={bridge}"], "it is that of the bridge"),
        (["--network", f"blue:mac={neighbour}"], f"container {box.id} has it"),
        (["--network", "blue:mac=02:00:00:00:00:01,mac=02:00:00:00:00:02"], "given twice"),
        (["--network", "none:foo"], "takes no argument"), (["--network", "host:foo"], "takes no argument"),
        (["--network", "blue", "--ip6", "10.5.0.9"], "not an IPv6 address"),
        (["--network", "blue", "--network-alias", "localhost"], "own name for itself"),
        (["--network", "blue", "-p", "224.0.0.1:80:80"], "no address that a host can have"),
        (["--network", "blue", "-p", "255.255.255.255:80:80/udp"], "no address that a host can have"),
        (["--network", "blue", *["--dns", "192.0.2.1"] * 4], "3 at most"),
    ):
        assert cause in world.create(other, *words, rc=1).err, words


def test_containers_kept_apart_do_not_talk_by_another_networks_bridge(world, bundle):
    """Frames to its hardware address are for nobody here: they would be flooded."""
    world.network("create", "apart", "--subnet", "10.5.0.0/24", "--no-icc")
    world.network("create", "blue", "--subnet", "10.6.0.0/24")
    other = bytes.fromhex(world.links()[world.inspect("blue")["bridge"]]["address"].replace(":", ""))
    boxes = [bundle(["/payload", "pause"]) for _ in range(2)]
    for box in boxes:
        world.start_container(box, "--network", "apart")
    world.on_host("sh", "-c", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables", check=False)
    ends = [socket_at(world.netns_of(box), socket.AF_PACKET, socket.SOCK_RAW) for box in boxes]
    try:
        for end in ends:
            end.bind(("eth0", 0x0800))
        own = bytes.fromhex(world.interfaces(boxes[0])["eth0"]["address"].replace(":", ""))
        own_ip, its_ip = (world.addresses(box)[0].partition("/")[0] for box in boxes)
        ends[0].send((other + own + datagram(own_ip, its_ip, 7, b"past no-icc")).ljust(60, b"\0"))
        assert world.ping(world.inside(boxes[0]), "10.5.0.1")  # it has been dealt with
        ends[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            ends[1].recv(2000)
    finally:
        for end in ends:
            end.close()
