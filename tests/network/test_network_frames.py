"""What a container may not do with frames of its own making: to its host, its neighbours, the host's loopback."""

from __future__ import annotations

import json
import socket
import struct

import pytest
from helpers.requires import requires

from .kit import socket_at

pytestmark = requires("root", "runtime", "ip", "nft")

GROUPS = [bytes.fromhex(f"0180c200000{digit:x}") for digit in (0, 2, 3, 0xE, 0xF)]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def datagram(source: str, target: str, port: int, data: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram without checksum."""
    body = struct.pack("!HHHH", 5555, port, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0, socket.inet_aton(source),
                       socket.inet_aton(target))
    return b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def advertisement(own: bytes) -> bytes:
    """A router advertisement of a default route and of a prefix, as an Ethernet payload with its type."""
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\x01\x01" + own
    body += struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0) + socket.inet_pton(10, "2001:db8:bad::")
    source, target = (socket.inet_pton(socket.AF_INET6, text) for text in ("fe80::bad", "ff02::1"))
    sum_ = checksum(source + target + struct.pack("!II", len(body), 58) + body)
    body = body[:2] + struct.pack("!H", sum_) + body[4:]
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + target + body


class Sender:
    """Frames of a container, sent by its `eth0` as they are; `fence` returns when the host has dealt with them."""

    def __init__(self, world, box, gateway: str) -> None:
        self.own = mac(world.interfaces(box)["eth0"]["address"])
        self.ip = world.addresses(box)[0].partition("/")[0]
        self.gateway = gateway
        self.raw = socket_at(world.netns_of(box), socket.AF_PACKET, socket.SOCK_RAW)
        self.raw.bind(("eth0", 0))
        self.udp = socket_at(world.netns_of(box), socket.AF_INET, socket.SOCK_DGRAM)
        self.host = socket_at(world.netns, socket.AF_INET, socket.SOCK_DGRAM)
        self.host.settimeout(10)
        self.host.bind((gateway, 0))

    def frame(self, target: bytes, payload: bytes, source: bytes = b"") -> None:
        self.raw.send((target + (source or self.own) + payload).ljust(60, b"\0"))

    def fence(self) -> None:
        self.udp.sendto(b"through", self.host.getsockname())
        assert self.host.recv(64) == b"through"

    def close(self) -> None:
        for each in (self.raw, self.udp, self.host):
            each.close()


@pytest.fixture
def sender(world, bundle):
    made: list[Sender] = []

    def run(gateway: str, *flags: str) -> Sender:
        box = bundle(["/payload", "pause"])
        world.start_container(box, *flags)
        made.append(Sender(world, box, gateway))
        return made[-1]
    yield run
    for each in made:
        each.close()


def heard(made: socket.socket) -> bytes:
    made.setblocking(False)
    try:
        return made.recv(64)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("bridged", ["0", "1"], ids=["routed", "br_netfilter"])
def test_frames_to_the_group_addresses_of_bridges_reach_nobody(world, sender, bridged):
    """The kernel hands them to the port's own link, before every rule of the bridge, and learns from them."""
    world.on_host("sh", "-c", f"echo {bridged} > /proc/sys/net/bridge/bridge-nf-call-iptables || true", check=False)
    world.on_host("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/accept_ra")
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--internal")
    attacker = sender("10.5.0.1", "--network", "blue")
    victim = sender("10.5.0.1", "--network", "blue")
    world.on_host("ip", "addr", "add", "192.0.2.1/32", "dev", "lo")
    server = socket_at(world.netns, socket.AF_INET, socket.SOCK_DGRAM)
    try:
        server.bind(("192.0.2.1", 7777))
        victim.fence()
        before = fdb(world, victim)
        for group in GROUPS:
            attacker.frame(group, advertisement(attacker.own))
            attacker.frame(group, datagram(attacker.ip, "192.0.2.1", 7777, b"out of an internal network"))
            attacker.frame(group, datagram("203.0.113.7", "10.5.0.1", 7777, b"forged"))
            attacker.frame(group, b"\x88\xcc" + bytes(46), victim.own)
        attacker.fence()
        assert fdb(world, victim) == before
        assert not world.on_host("ip", "-6", "route", "show", "default")
        assert "2001:db8:bad" not in world.on_host("ip", "-6", "addr")
        assert heard(server) == b""
    finally:
        server.close()


def fdb(world, sender: Sender) -> list[str]:
    """Return behind which links the bridge has the hardware address of a container."""
    text = ":".join([f"{byte:02x}" for byte in sender.own])
    return [entry["ifname"] for entry in json.loads(world.on_host("bridge", "-j", "fdb")) if entry["mac"] == text]


def test_what_hosts_learn_from_advertisements_is_as_before(world):
    """Links that come later take the default's word: it would be theirs to be advertised to by a container."""
    def read(name):
        return world.on_host("cat", f"/proc/sys/net/ipv6/conf/{name}/accept_ra").strip()
    before = [read(name) for name in ("default", "all")]
    world.on_host("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    world.network("create", "six", "--subnet", "10.6.0.0/24", "--subnet", "fd06::/64")
    assert [read(name) for name in ("default", "all")] == before
    assert read("up0") == "2"
    assert read(world.inspect("six")["bridge"]) == "0"
    world.on_host("ip", "link", "del", "up0")


def test_a_flushed_firewall_does_not_open_the_loopback_to_containers(world, sender):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    box = sender("10.5.0.1", "--network", "blue", "-p", "127.0.0.1:8080:80", "-p", "8081:80")
    link = json.loads(world.on_host("ip", "-j", "link", "show", world.inspect("blue")["bridge"]))[0]
    server = socket_at(world.netns, socket.AF_INET, socket.SOCK_DGRAM)
    try:
        server.bind(("127.0.0.1", 7777))
        world.on_host("nft", "flush", "ruleset")
        box.frame(mac(link["address"]), datagram(box.ip, "127.0.0.1", 7777, b"in"))
        box.fence()
        assert heard(server) == b""
    finally:
        server.close()
    world.network("reload", "blue")
