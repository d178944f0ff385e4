"""Sysctls of this network namespace: files below /proc/sys/net, which may be read-only to us."""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule.errors import NetworkError

_LOCKED = (errno.EROFS, errno.EACCES, errno.EPERM)


def get(path: str) -> str:
    """Return what a sysctl is, "" where this kernel, or this link, has none of that name."""
    try:
        fd = posix.open(f"/proc/sys/net/{path}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return posix.read(fd, 64).decode().strip()
    finally:
        posix.close(fd)


def put(path: str, value: str) -> None:
    """Set a sysctl that is there; one that cannot be written here is a warning. Raises NetworkError."""
    if get(path) in ("", value):
        return
    try:
        fd = posix.open(f"/proc/sys/net/{path}", posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, value.encode())
        finally:
            posix.close(fd)
    except OSError as err:
        if err.errno not in _LOCKED:
            raise NetworkError("set sysctl", "net." + path.replace("/", "."), errno=err.errno) from err
        log.warning(f"network: /proc/sys/net/{path} is not {value} and cannot be written here")
