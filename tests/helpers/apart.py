"""A worker of pytest-xdist, apart from the others: what the kernel names for all is then its own.

Two sessions side by side would take each other's mounts, links and rules for leaks, and want the same ports. Control
groups stay shared; those are named after the process that runs the tests.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

import pytest

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_SLAVE = 0x4000, 0x80000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1

_machine: list[int] = []  # a descriptor of the network namespace that was left


def is_worker() -> bool:
    """Tell whether this process is one of several workers."""
    return "PYTEST_XDIST_WORKER" in os.environ


def keep() -> None:
    """Give a worker that root runs a mount and a network namespace of its own, loopback up."""
    if not is_worker() or os.geteuid():
        return
    _machine.append(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) or libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None):
        raise OSError(ctypes.get_errno(), "cannot give a worker namespaces of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def outside() -> list[str]:
    """Return the words before a command that needs the machine's network: Debian's archive, nothing else."""
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{_machine[0]}", "--"] if _machine else []


def longest_first(items: list[pytest.Item]) -> None:
    """Start the folders whose files take minutes first: one of them alone at the end would leave a processor idle."""
    items.sort(key=lambda item: not {"vm", "engines", "network"} & set(item.path.parts))
