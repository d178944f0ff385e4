"""The pid file: a decimal number, complete from the moment it has its name."""

from __future__ import annotations

import posix

from capsule.errors import KernelError


def write(path: str, pid: int) -> None:
    """Write `pid` to `path` by way of a temporary name beside it.

    Raises KernelError.
    """
    temporary = f"{path}.{posix.getpid()}.tmp"
    try:
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
        try:
            posix.write(fd, str(pid).encode())
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except OSError as err:
        raise KernelError("write pid file", path, errno=err.errno) from err
