"""Ports published at ::1, which a proxy carries, and that it is gone when the container is."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

from .kit import socket_at

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip")

TIMEOUT = 20.0


class Echo:
    """A program of a container: at TCP and UDP port 80 of every address, says `echo: ` and what it was told."""

    def __init__(self, netns: str) -> None:
        self.sockets = [socket_at(netns, socket.AF_INET6, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        for made in self.sockets:
            made.bind(("::", 80))
        self.sockets[0].listen()
        for target in (self._tcp, self._udp):
            threading.Thread(target=target, daemon=True).start()

    def _tcp(self) -> None:
        while True:
            try:
                connection, _ = self.sockets[0].accept()
            except OSError:
                return
            with connection:
                told = b""
                while data := connection.recv(65536):  # to the peer's end: it is carried over, and our way stays open
                    told += data
                connection.sendall(b"echo: " + told)

    def _udp(self) -> None:
        while True:
            try:
                data, peer = self.sockets[1].recvfrom(65536)
            except OSError:
                return
            self.sockets[1].sendto(b"echo: " + data, peer)

    def close(self) -> None:
        self.sockets[0].shutdown(socket.SHUT_RDWR)
        for made in self.sockets:
            made.close()


@pytest.fixture
def serve(world, bundle):
    """Start a container that publishes and answers; returns its bundle."""
    started: list[Echo] = []

    def run(*flags: str):
        box = bundle(["/payload", "pause"])
        world.start_container(box, *flags)
        started.append(Echo(world.netns_of(box)))
        return box
    yield run
    for echo in started:
        echo.close()


def say(world, kind: str, address: str, port: int, words: bytes) -> bytes:
    """Tell something to a port of the host, from the host; returns the answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket_at(world.netns, family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as made:
        made.settimeout(TIMEOUT)
        made.connect((address, port))
        if kind == "udp":
            made.send(words)
            return made.recv(65536)
        sender = threading.Thread(target=lambda: (made.sendall(words), made.shutdown(socket.SHUT_WR)))
        sender.start()
        answer = b""
        while data := made.recv(65536):
            answer += data
        sender.join()
        return answer


@pytest.mark.parametrize("subnets", [["10.5.0.0/24", "fd05::/64"], ["10.5.0.0/24"]], ids=["both", "v4"])
def test_a_published_port_is_reached_at_the_loopback_of_ipv6(world, serve, subnets):
    world.network("create", "blue", *[word for text in subnets for word in ("--subnet", text)])
    serve("--network", "blue", "-p", "8080:80", "-p", "8080:80/udp", "-p", "[::1]:8081:80")
    long = os.urandom(3_000_000)
    assert say(world, "tcp", "::1", 8080, long) == b"echo: " + long
    for kind, address, port in (("tcp", "::1", 8081), ("udp", "::1", 8080), ("udp", "::1", 8080),
                                ("tcp", "127.0.0.1", 8080), ("udp", "127.0.0.1", 8080)):
        assert say(world, kind, address, port, b"hello") == b"echo: hello", (kind, address, port)


def test_a_proxy_goes_with_its_container_and_comes_back_when_it_is_missed(world, serve):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    box = serve("--network", "blue", "-p", "[::1]:8080:80")
    name = f"{world.inspect('blue')['endpoints'][0]['id']}.proxy"
    first = world.attendant(name)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: world.attendant(name) == 0)
    found = world.network("check", rc=1).out
    assert found == f"blue: {box.id}: the proxy of its ports does not run\n"
    world.network("check", "--fix")
    assert say(world, "tcp", "::1", 8080, b"hello") == b"echo: hello"
    second = world.attendant(name)
    os.kill(world.pid(box), signal.SIGKILL)  # its container has ended; what it had is there until delete
    world.wait_status(box, "stopped")
    world.delete(box)
    assert not Path(f"/proc/{second}/fd/3").exists()
    assert not list((Path(world.root) / ".networks").glob("*.proxy"))


def test_a_port_that_is_taken_at_the_loopback_is_refused_before_anything_is_made(world, bundle):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    with socket_at(world.netns, socket.AF_INET6, socket.SOCK_STREAM) as taken:
        taken.bind(("::1", 8080))
        taken.listen()
        for published in ("[::1]:8080:80", "8080:80"):
            said = world.create(bundle(["/payload", "pause"]), "--network", "blue", "-p", published, rc=1).err
            assert "a program of the host listens there" in said
    assert world.leases("blue") == {}


def test_a_published_port_is_no_longer_to_be_had_on_the_host(world, serve):
    """A program that came later would bind it without an error, and hear nothing."""
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    box = serve("--network", "blue", "-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.2:8081:80")
    places = [(socket.AF_INET, "0.0.0.0", 8080), (socket.AF_INET, "127.0.0.1", 8080), (socket.AF_INET6, "::", 8080),
              (socket.AF_INET, "127.0.0.2", 8081)]
    for family, address, port in places:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) if port == 8080 else (socket.SOCK_STREAM,):
            with socket_at(world.netns, family, kind) as late, pytest.raises(OSError, match="in use"):
                late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
                late.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    late.listen()
    assert say(world, "tcp", "127.0.0.2", 8081, b"hello") == b"echo: hello"
    world.delete(box, "--force")
    with socket_at(world.netns, socket.AF_INET, socket.SOCK_STREAM) as late:
        late.bind(("0.0.0.0", 8080))


def test_three_hundred_connections_at_once_are_carried(world, serve):
    world.network("create", "blue", "--subnet", "10.5.0.0/24")
    serve("--network", "blue", "-p", "127.0.0.1:8080:80")
    held = []
    try:
        for _ in range(300):
            made = socket_at(world.netns, socket.AF_INET, socket.SOCK_STREAM)
            held.append(made)
            made.settimeout(TIMEOUT)
            made.connect(("127.0.0.1", 8080))
        for made in reversed(held):
            made.sendall(b"x")
        held[0].shutdown(socket.SHUT_WR)
        assert held[0].recv(64) == b"echo: x"
    finally:
        for made in held:
            made.close()
