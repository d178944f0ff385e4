"""Small files of ours, read whole and replaced in one step."""

from __future__ import annotations

import posix
import time

_CHUNK = 1 << 18


def read(path: str) -> bytes:
    """Read a whole file that is no link. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
    try:
        data = posix.read(fd, _CHUNK)
        if len(data) == _CHUNK:
            parts = [data]
            while more := posix.read(fd, _CHUNK):
                parts.append(more)
            data = b"".join(parts)
        return data
    finally:
        posix.close(fd)


def sync_directory(path: str) -> None:
    """Have the names in a directory outlive a crash of the machine. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def replace(path: str, data: bytes, *, durable: bool) -> None:
    """Replace a file, or make it: others read the old one or the new one. durable: whatever happens to the machine.

    Raises OSError; the old file is then untouched.
    """
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.{posix.getpid()}.{time.time_ns()}"
    try:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
        fd = posix.open(temporary, flags, 0o600)
        try:
            while data:
                data = data[posix.write(fd, data) :]
            if durable:
                posix.fsync(fd)
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
        if durable:
            sync_directory(directory or "/")
    except OSError:
        try:
            posix.unlink(temporary)
        except OSError:
            pass
        raise
