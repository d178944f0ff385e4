"""A procfs that no container controls, and reads and writes that cannot leave it.

What a container sees at /proc may be a fake, or a real file of procfs in the wrong place. A private instance
is attached nowhere, so nothing can be mounted over its parts (man 2 fsopen, man 2 openat2).
"""

from __future__ import annotations

import posix

from capsule._ext import mountapi, openbeneath

_CHUNK = 4096
_STAY = (
    openbeneath.RESOLVE_BENEATH
    | openbeneath.RESOLVE_NO_XDEV
    | openbeneath.RESOLVE_NO_SYMLINKS
    | openbeneath.RESOLVE_NO_MAGICLINKS
)


def open_private_proc(subset_pid: bool) -> int:
    """Open a private procfs of the caller's pid namespace; subset_pid leaves out all but processes."""
    return mountapi.private_proc(subset_pid)


def write_beneath(proc_fd: int, rel: str, value: bytes) -> None:
    """Write a value to a file of the procfs in one write(2), as its files want it. Raises OSError."""
    fd = openbeneath.open_in_root(proc_fd, rel, posix.O_WRONLY, _STAY)
    try:
        posix.write(fd, value)
    finally:
        posix.close(fd)


def read_beneath(proc_fd: int, rel: str) -> bytes:
    """Read a whole file of the procfs. Raises OSError."""
    fd = openbeneath.open_in_root(proc_fd, rel, posix.O_RDONLY, _STAY)
    try:
        parts = []
        while part := posix.read(fd, _CHUNK):
            parts.append(part)
        return b"".join(parts)
    finally:
        posix.close(fd)


def write_sysctl(proc_fd: int, key_path: str, value: str) -> None:
    """Set a sysctl by its path below /proc/sys, such as `net/ipv4/ip_forward`."""
    write_beneath(proc_fd, "sys/" + key_path, value.encode("utf-8", "surrogateescape"))
