"""Names by DNS: the responder of a network, asked by its containers; whom it asks itself; and that it goes."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest
from helpers import dns
from helpers.requires import binary, requires
from helpers.wait import wait_until

from .conftest import _end, _world
from .kit import socket_at

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip")

TIMEOUT = 20.0


def ask(netns: str | Path, name: str, kind: str = "A", *, at: str = "10.5.0.1", tcp: bool = False) -> dns.Answer:
    """Ask a server from a network namespace."""
    family = socket.AF_INET6 if ":" in at else socket.AF_INET
    with socket_at(netns, family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as made:
        made.settimeout(TIMEOUT)
        made.connect((at, 53))
        message = dns.query(name, kind, id=0x4242)
        made.sendall(struct.pack("!H", len(message)) + message if tcp else message)
        answer = made.recv(65535)
        while tcp and len(answer) < 2 + int.from_bytes(answer[:2].ljust(2, b"\xff"), "big"):
            answer += made.recv(65535)
        found = dns.parse(answer[2:] if tcp else answer)
        assert found.id == 0x4242
        return found


class Upstream:
    """A server at port 53 of the host that knows every name, and `big.*` by TCP alone; `asked` notes names."""

    def __init__(self, netns: Path, address: str, answer: str) -> None:
        self.asked: list[str] = []
        self.address, self.answer = address, answer
        self.sockets = [socket_at(netns, socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        for made in self.sockets:
            made.bind((address, 53))
        self.sockets[1].listen()
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._udp, self._tcp)]
        for thread in self.threads:
            thread.start()

    def _udp(self) -> None:
        while True:
            try:
                message, peer = self.sockets[0].recvfrom(65535)
            except OSError:
                return
            name = dns.name_of(message)
            self.asked.append(name)
            if name.startswith("big."):
                self.sockets[0].sendto(dns.reply(message, truncated=True), peer)
            elif not name.startswith("lost.") or self.address != "127.0.0.9":
                self.sockets[0].sendto(dns.reply(message, self.answer), peer)

    def _tcp(self) -> None:
        while True:
            try:
                connection, _ = self.sockets[1].accept()
            except OSError:
                return
            with connection:
                message = connection.recv(65535)[2:]
                answer = dns.reply(message, *[f"198.51.100.{number}" for number in range(1, 100)])
                connection.sendall(struct.pack("!H", len(answer)) + answer)

    def close(self) -> None:
        for made in self.sockets:
            made.shutdown(socket.SHUT_RDWR) if made.type == socket.SOCK_STREAM else None
            made.close()


@pytest.fixture
def resolving(workdir, leaks):
    """Give a host whose /etc/resolv.conf names 127.0.0.9."""
    conf = workdir / "resolv.conf"
    conf.write_text("nameserver 127.0.0.9\nsearch corp.example\n")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    made = _world(workdir, ["unshare", "--mount", "sh", "-c", script, str(conf), *binary()])
    yield made
    _end(made, workdir)


@pytest.fixture
def upstream(resolving):
    servers: list[Upstream] = []

    def run(address: str, answer: str) -> Upstream:
        servers.append(Upstream(resolving.netns, address, answer))
        return servers[-1]
    yield run
    for server in servers:
        server.close()


def starter(world, bundle):
    def run(*flags: str):
        box = bundle(["/payload", "pause"])
        world.start_container(box, *flags)
        return box
    return run


def responder(world, network: str) -> int:
    return world.attendant(f"{network}.dns")


def test_members_are_found_by_name_and_all_others_are_asked_for(resolving, bundle, upstream):
    world, start = resolving, starter(resolving, bundle)
    host = upstream("127.0.0.9", "192.0.2.9")
    own = upstream("127.0.0.10", "192.0.2.10")
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64")
    world.network("create", "red", "--subnet", "10.6.0.0/24")
    one = start("--network", "blue:alias=db")
    assert world.exec(one, "cat", "/etc/resolv.conf").out == "nameserver 10.5.0.1\nsearch corp.example\n"
    both = start("--network", "blue", "--network", "red", "--dns", "127.0.0.10")
    assert world.exec(both, "cat", "/etc/resolv.conf").out.startswith("nameserver 10.5.0.1\nnameserver 10.6.0.1\n")
    far = start("--network", "red:alias=far")
    here, there = world.netns_of(one), world.netns_of(both)
    for at in ("10.5.0.1", "fd05::1"):
        for tcp in (False, True):
            assert ask(here, "db", at=at, tcp=tcp).records == ["10.5.0.2"]
    assert ask(here, "DB", "AAAA").records == ["fd05::2"]
    assert ask(here, both.id).records == ["10.5.0.3"]
    assert world.exec(one, "busybox", "nslookup", "db.").out.count("10.5.0.2") == 1
    # what the network does not know
    assert ask(here, "outside.example").records == ["192.0.2.9"]
    assert (ask(here, "big.example").truncated, len(ask(here, "big.example", tcp=True).records)) == (True, 99)
    assert ask(here, "far").records == ["192.0.2.9"], "another network's member is told to a stranger"
    assert ask(there, "outside.example").records == ["192.0.2.10"]
    assert set(host.asked) == {"outside.example", "big.example", "far"} and own.asked == ["outside.example"]
    # who is in both networks knows both, at either responder
    assert ask(there, "far").records == ask(there, "far", at="10.6.0.1").records == ["10.6.0.3"]
    assert ask(there, "db", at="10.6.0.1").records == ["10.5.0.2"]
    assert ask(world.netns_of(far), "db", at="10.5.0.1").rcode == "REFUSED"
    # a member goes and another one comes
    world.delete(both, "--force")
    world.network("connect", "blue", far.id, "--alias", "late")
    assert ask(here, both.id).records == ["192.0.2.9"]
    assert ask(here, "late").records == ["10.5.0.3"]


def test_an_internal_network_asks_nobody(resolving, bundle, upstream):
    world, start = resolving, starter(resolving, bundle)
    host = upstream("127.0.0.9", "192.0.2.9")
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--internal")
    box = start("--network", "blue:alias=db", "--dns", "127.0.0.9")
    assert ask(world.netns_of(box), "db").records == ["10.5.0.2"]
    for tcp in (False, True):
        assert ask(world.netns_of(box), "outside.example", tcp=tcp).rcode == "NXDOMAIN"
    assert host.asked == []


def test_a_silent_and_an_absent_server_are_not_waited_for(resolving, bundle, upstream):
    """127.0.0.9 says no word to lost.*; nobody is at 127.0.0.10."""
    world, start = resolving, starter(resolving, bundle)
    upstream("127.0.0.9", "192.0.2.9")
    upstream("127.0.0.11", "192.0.2.11")
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    absent = start("--network", "blue", "--dns", "127.0.0.10", "--dns", "127.0.0.11")
    assert ask(world.netns_of(absent), "outside.example").records == ["192.0.2.11"]
    silent = start("--network", "blue", "--dns", "127.0.0.9", "--dns", "127.0.0.11")
    assert ask(world.netns_of(silent), "outside.example").records == ["192.0.2.9"]
    assert ask(world.netns_of(silent), "lost.example").records == ["192.0.2.11"]
    nobody = start("--network", "blue", "--dns", "127.0.0.10")
    assert ask(world.netns_of(nobody), "outside.example").rcode == "SERVFAIL"
    assert ask(world.netns_of(nobody), "outside.example", tcp=True).rcode == "SERVFAIL"


def test_the_responder_lives_as_long_as_there_are_members(world, bundle):
    start = starter(world, bundle)
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    assert responder(world, "blue") == 0
    one, two = start("--network", "blue"), start("--network", "blue")
    first = responder(world, "blue")
    status = dict(line.split(":\t") for line in Path(f"/proc/{first}/status").read_text().splitlines()
                  if ":\t" in line)
    assert (status["Uid"].split("\t")[0], int(status["CapEff"], 16)) == ("65534", 0)
    wait_until(lambda: len(os.listdir(f"/proc/{first}/fd")) == 7, TIMEOUT, "the way out of the cgroup")
    assert sorted(os.listdir(f"/proc/{first}/fd")) == list("0123456")
    assert int(status["VmRSS"].split()[0]) < 1000, "more than a megabyte"
    # killed, it is missed, and made again
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: responder(world, "blue") == 0)
    found = world.network("check", rc=1).out
    assert found == "blue: names: its DNS responder does not run\n"
    assert world.network("check", "--fix").out.endswith("(repaired)\n")
    second = responder(world, "blue")
    assert second not in (0, first)
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: responder(world, "blue") == 0)
    world.network("reload", "blue")
    assert ask(world.netns_of(one), two.id).records == ["10.5.0.3"]
    # the last one closes the door
    third = responder(world, "blue")
    world.delete(one, "--force")
    assert responder(world, "blue") == third
    world.delete(two, "--force")
    assert not Path(f"/proc/{third}/fd/3").exists()
    assert not list((Path(world.root) / ".networks").glob("*.dns"))


def test_a_responder_whose_records_were_taken_away_ends(world, bundle):
    start = starter(world, bundle)
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    box = start("--network", "blue")
    pid = responder(world, "blue")
    moved = Path(world.root) / ".networks" / "blue.dns"
    kept = moved.read_bytes()
    moved.unlink()
    wait_until(lambda: not Path(f"/proc/{pid}/fd/3").exists())
    moved.write_bytes(kept)  # of a create that was killed before it started one
    world.delete(box, "--force")
    assert not moved.exists()


def test_a_network_whose_port_is_taken_has_its_names_in_files(world, bundle):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    with socket_at(world.netns, socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 53))
        box = bundle(["/payload", "pause"])
        said = world.create(box, "--network", "blue:alias=db", "--dns", "192.0.2.53").err
        assert "a program of this host has taken port 53" in said
        world.start(box)
        assert world.exec(box, "cat", "/etc/resolv.conf").out.splitlines()[0] == "nameserver 192.0.2.53"
        assert responder(world, "blue") == 0


def test_a_network_without_names_has_no_responder(world, bundle):
    world.network("create", "blue", "--subnet", "10.5.0.0/24", "--disable-dns")
    starter(world, bundle)("--network", "blue")
    assert responder(world, "blue") == 0
    assert world.network("check").out == ""


@requires("cgroup1")
def test_the_responder_leaves_the_cgroups_of_who_started_it(resolving, bundle):
    """A unit that is stopped takes its cgroup along (KillMode=control-group): not what serves other units."""
    world = resolving
    world.network("create", "one", "--subnet", "10.5.0.0/24")
    unit = Path(f"/sys/fs/cgroup/pids/ct{os.getpid()}-unit")
    unit.mkdir()
    try:
        box = bundle(["/payload", "pause"])
        words = world.words_for("run", box, ["--detach", "--network", "one"])
        world.call(*words, scene=["sh", "-c", f'echo $$ > {unit}/tasks; exec "$@"', "sh"])
        path = Path(f"/proc/{responder(world, 'one')}/cgroup")
        wait_until(lambda: ":pids:/\n" in path.read_text(encoding="ascii"), TIMEOUT, "the responder at the root")
        assert all(line.endswith(":/") for line in path.read_text(encoding="ascii").splitlines())
        assert not (unit / "tasks").read_text(encoding="ascii")
        assert ask(world.netns_of(box), box.id).records == ["10.5.0.2"]
    finally:
        world.clean()
        unit.rmdir()


def test_who_floods_takes_places_from_itself_alone(resolving, bundle):
    """128 queries wait for servers at once, 24 connections are open at once: one client could have had all of them."""
    world = resolving
    world.network("create", "one", "--subnet", "10.5.0.0/24")
    quiet, loud = [starter(world, bundle)("--network", "one") for _ in range(2)]
    with (socket_at(world.netns, socket.AF_INET, socket.SOCK_DGRAM) as server,
          socket_at(world.netns_of(quiet), socket.AF_INET, socket.SOCK_DGRAM) as asking,
          socket_at(world.netns_of(quiet), socket.AF_INET, socket.SOCK_STREAM) as open_one,
          socket_at(world.netns_of(loud), socket.AF_INET, socket.SOCK_DGRAM) as flooding):
        for one in (server, asking, open_one):
            one.settimeout(TIMEOUT)
        server.bind(("127.0.0.9", 53))
        asking.connect(("10.5.0.1", 53))
        asking.send(dns.query("held.example"))
        held, attendant = server.recvfrom(65535)
        for number in range(300):
            flooding.sendto(dns.query(f"lost{number}.example"), ("10.5.0.1", 53))
            server.recvfrom(65535)
        server.sendto(dns.reply(held, "192.0.2.9"), attendant)
        assert dns.parse(asking.recv(65535)).records == ["192.0.2.9"]

        open_one.connect(("10.5.0.1", 53))
        crowd = [socket_at(world.netns_of(loud), socket.AF_INET, socket.SOCK_STREAM) for _ in range(40)]
        for one in crowd:
            one.connect(("10.5.0.1", 53))
        message = dns.query(quiet.id)
        assert ask(world.netns_of(loud), quiet.id, tcp=True).records  # by now all of them have been accepted
        open_one.sendall(struct.pack("!H", len(message)) + message)
        assert dns.parse(open_one.recv(65535)[2:]).records == [world.addresses(quiet)[0].partition("/")[0]]
        for one in crowd:
            one.close()
