"""A host of the test's own: capsule runs in a network namespace with nothing but `lo`, and never in the machine's.

What containers do is asked of sockets in their namespaces, which the kernel answers, not of their programs.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.runtime import Runtime

SERVER = """
import socket, sys
kind, address = sys.argv[1], sys.argv[2]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
made.settimeout(20)
made.bind((address, 0))
if kind == "tcp":
    made.listen()
print(made.getsockname()[1], flush=True)
if kind == "tcp":
    made, peer = made.accept()
    data = made.recv(64)
    made.sendall(data + peer[0].encode())
else:
    data, peer = made.recvfrom(64)
    made.sendto(data + peer[0].encode(), peer)
"""
CLIENT = """
import socket, sys
kind, address, port, timeout = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
made.settimeout(timeout)
try:
    made.connect((address, port))
    made.send(b"from ")
    print(made.recv(64).decode())
except OSError as error:
    print("nothing:", type(error).__name__)
"""


def socket_at(netns: str | Path, family: int, kind: int) -> socket.socket:
    """Return a socket of another network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(netns, os.O_RDONLY)
    try:
        assert libc.setns(there, 0x40000000) == 0
        return socket.socket(family, kind)
    finally:
        assert libc.setns(home, 0x40000000) == 0
        os.close(home)
        os.close(there)


class World(Runtime):
    """The runtime under test inside a network namespace that a file keeps."""

    def __init__(self, argv: Sequence[str], root: Path, workdir: Path, netns: Path) -> None:
        self.netns = netns
        self.scene = ["nsenter", f"--net={netns}", "--"]
        super().__init__([*self.scene, *argv], root, workdir)

    def on_host(self, *words: str, check: bool = True) -> str:
        """Run a program on the world's host."""
        done = subprocess.run([*self.scene, *words], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done
        return done.stdout

    def network(self, *words: str, **how):
        """Call `capsule network ...`."""
        return self.call("network", *words, **how)

    def inspect(self, name: str) -> dict:
        return json.loads(self.network("inspect", name).out)[0]

    def links(self) -> dict[str, dict]:
        """The host's links but for `lo`, by name, with their addresses."""
        found = json.loads(self.on_host("ip", "-j", "-d", "address"))
        return {link["ifname"]: link for link in found if link["ifname"] != "lo"}

    def leases(self, name: str) -> dict[str, str]:
        path = Path(self.root) / ".networks" / f"{name}.json"
        return json.loads(path.read_text())["leases"] if path.exists() else {}

    def inside(self, box) -> list[str]:
        """The argv prefix that runs a program in a container's network namespace."""
        return ["nsenter", f"--net=/proc/{self.pid(box)}/ns/net", "--"]

    def netns_of(self, box) -> str:
        """The path of a container's network namespace."""
        return f"/proc/{self.pid(box)}/ns/net"

    def attendant(self, name: str) -> int:
        """The pid of who holds a data file, as the kernel's list of locks has it; 0 for nobody."""
        try:
            inode = (Path(self.root) / ".networks" / name).stat().st_ino
        except FileNotFoundError:
            return 0
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if "POSIX" in words and words[5].endswith(f":{inode}"):
                return int(words[4])
        return 0

    def ruled(self) -> list[str]:
        """The lines of our tables, as nft lists them, that are about a container's link or a port."""
        listing = self.on_host("sh", "-c", "nft list table inet capsule; nft list table bridge capsule", check=False)
        return [line for line in listing.splitlines() if '"veth' in line or " . tcp . " in line]

    def attendants(self) -> list[str]:
        """The data files of attendants that are there."""
        return sorted(path.name for path in (Path(self.root) / ".networks").glob("*")
                      if path.suffix in (".dns", ".proxy"))

    def flows(self) -> list[str]:
        """The connections that the host's kernel knows, but for the bridges' own memberships of groups."""
        known = self.on_host("cat", "/proc/net/nf_conntrack").splitlines()
        return [line for line in known if "dst=224.0.0." not in line and "dst=ff02:" not in line]

    def interfaces(self, box) -> dict[str, dict]:
        done = subprocess.run([*self.inside(box), "ip", "-j", "address"], capture_output=True, text=True, check=True)
        return {link["ifname"]: link for link in json.loads(done.stdout)}

    def addresses(self, box) -> list[str]:
        """The global addresses of a container with their prefixes, in order."""
        return [f"{entry['local']}/{entry['prefixlen']}" for link in self.interfaces(box).values()
                for entry in link["addr_info"] if entry["scope"] == "global"]

    def routes(self, box, family: str = "-4") -> list[dict]:
        argv = [*self.inside(box), "ip", "-j", family, "route"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def talk(self, client: list[str], server: list[str], kind: str, address: str, timeout: float = 5) -> str:
        """Have one place send to an address of another; returns what address the other saw, or "nothing: ..."."""
        with subprocess.Popen([*server, sys.executable, "-c", SERVER, kind, address], stdout=subprocess.PIPE,
                              text=True) as listener:
            try:
                assert listener.stdout
                port = listener.stdout.readline().strip()
                done = subprocess.run([*client, sys.executable, "-c", CLIENT, kind, address, port, str(timeout)],
                                      capture_output=True, text=True, check=True)
            finally:
                listener.kill()
        return done.stdout.strip().removeprefix("from ")

    def ping(self, client: list[str], address: str) -> bool:
        program = "ping6" if ":" in address else "ping"
        argv = [*client, "busybox", program, "-c1", "-W3", address]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
