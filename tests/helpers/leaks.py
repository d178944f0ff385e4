"""What a test leaves on the host, found by comparing names before and after it."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Collection
from pathlib import Path

from . import apart, process
from .payload import parse_mountinfo
from .wait import wait_until

SESSION = f"ct{os.getpid()}"  # every container of this session is called SESSION-...
BOX = "capsule-systemd-box"
MANAGED = os.path.isdir("/run/systemd/system")
FOREIGN = re.compile(r"\bct(\d+)-")

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
NLMSGHDR, NFGENMSG = struct.Struct("=IHHII"), struct.Struct("=BBH")
NETLINK_NETFILTER, NLM_F_REQUEST, NLM_F_DUMP = 12, 0x1, 0x300
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE = 10 << 8 | 0, 10 << 8 | 1


def _mounts() -> set[str]:
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return {f"{entry['type']} {entry['source']} on {entry['point']} root {entry['root']}"
            for entry in parse_mountinfo(text)}


def _cgroups() -> set[str]:
    """Return every directory of every cgroup hierarchy, versions 1 and 2."""
    found = set()
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    for entry in parse_mountinfo(text):
        if entry["type"] in ("cgroup", "cgroup2"):
            # What is below a systemd of our own is that one's to make and remove (helpers/systemd_box.py); a slice
            # that a unit needed stays, of whatever systemd.
            found.update(parent for parent, _, _ in os.walk(entry["point"])
                         if BOX not in parent and not (MANAGED and parent.endswith(".slice")))
    return found


def _names(directory: str) -> set[str]:
    try:
        return {f"{directory}/{name}" for name in os.listdir(directory)}
    except FileNotFoundError:
        return set()


def _tables() -> set[str]:
    """Return the tables of nftables by one netlink dump: starting nft takes four milliseconds, twice a test."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(NLMSGHDR.pack(NLMSGHDR.size + NFGENMSG.size, NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
                     + NFGENMSG.pack(socket.AF_UNSPEC, 0, 0))
        found: set[str] = set()
        while True:
            answer = netlink.recv(1 << 16)
            while answer:
                length, kind, _, _, _ = NLMSGHDR.unpack_from(answer)
                if kind != NFT_MSG_NEWTABLE:
                    return found
                found.add(_table_of(answer[NLMSGHDR.size:length]))
                answer = answer[length + 3 & ~3:]


def _table_of(message: bytes) -> str:
    """Return the family and name (always the first attribute, NFTA_TABLE_NAME) of one message."""
    length, _ = struct.unpack_from("=HH", message, NFGENMSG.size)
    return f"family {message[0]} {message[NFGENMSG.size + 4:NFGENMSG.size + length].rstrip(bytes(1)).decode()}"


def _fds() -> set[str]:
    return {f"{name} -> {target}" for name, target in process.descriptors("self").items()}


def _children() -> set[str]:
    process.reap_orphans()
    return {f"{pid} {name}" for pid, name in process.strangers().items()}


SOURCES = {
    "mount": _mounts,
    "cgroup": _cgroups,
    "named network namespace": lambda: _names("/run/netns"),
    "network link": lambda: {name for _, name in socket.if_nameindex()},
    "nft table": _tables,
    "fd of the test process": _fds,
    "child process": _children,
    "default state directory": lambda: _names("/run/capsule") | _names("/run/runc"),
}
NAMED_AFTER_CONTAINERS = ("cgroup", "default state directory")


def _is_ours(kind: str, name: str) -> bool:
    """Tell what this session left from what others do on the machine meanwhile.

    Groups and state directories are named after containers; names that do not tell count only
    where CAPSULE_REQUIRE says that the machine is the test's alone: with several workers, at the end of them all.
    """
    other = FOREIGN.search(name)
    if other:
        return int(other[1]) == os.getpid() or not process.is_alive(int(other[1]))
    return kind not in NAMED_AFTER_CONTAINERS or ("CAPSULE_REQUIRE" in os.environ and not apart.is_worker())


class Snapshot:
    """The names that existed at one moment, and directories of the test watched from then on."""

    def __init__(self, kinds: Collection[str] = tuple(SOURCES)) -> None:
        self._before = {kind: SOURCES[kind]() for kind in kinds}
        self._watched: dict[Path, set[str]] = {}

    def watch(self, directory: Path) -> None:
        """Count files that appear in a directory from now on."""
        self._watched[directory] = set(os.listdir(directory))

    def left(self) -> list[str]:
        """Return what exists now and did not before, as "kind: name"."""
        found = []
        for kind, before in self._before.items():
            for name in sorted(SOURCES[kind]() - before):
                if _is_ours(kind, name):
                    found.append(f"{kind}: {name}")
        for directory, before in self._watched.items():
            for name in sorted(set(os.listdir(directory)) - before):
                found.append(f"file: {directory / name}")
        return found

    def check(self, timeout: float = 2.0) -> None:
        """Fail when something is left; what the kernel is still taking down gets a moment."""
        try:
            wait_until(lambda: not self.left(), timeout)
        except AssertionError:
            raise AssertionError("left behind:\n  " + "\n  ".join(self.left())) from None

    def end_strays(self) -> None:
        """End, by pid, the processes that a failed test left, so that they fail no other test."""
        for pid in process.strangers():
            process.end(pid)
