"""Sparse files as members of an archive: GNU tar's format 1.0 of pax headers. Not linked into the launcher."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from typing import IO

_BLOCK = 512


def without(member: tarfile.TarInfo, file: IO[bytes]) -> IO[bytes]:
    """Turn a member into one that leaves the holes of its file out; returns what is to be read in the file's place.

    What is no file of a file system, or has no holes, is left as it is. Raises OSError.
    """
    try:
        fd = file.fileno()
    except (AttributeError, OSError):
        return file
    segments = _segments(fd, member.size)
    kept = sum([size for _, size in segments])
    if kept == member.size:
        return file
    words = [len(segments), *[number for segment in segments for number in segment]]
    table = "".join([f"{word}\n" for word in words]).encode()
    table += bytes(-len(table) % _BLOCK)
    member.pax_headers = {
        **member.pax_headers, "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(member.size),
    }
    member.size = len(table) + kept
    return io.BufferedReader(_Data(fd, table, segments))


def _segments(fd: int, size: int) -> list[tuple[int, int]]:
    """Return (offset, size) of the data; the last one ends, empty if need be, where the file does."""
    found, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as err:
            if err.errno != errno.ENXIO:
                return [(0, size)]
            break
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < size:
            found.append((start, at - start))
    os.lseek(fd, 0, os.SEEK_SET)
    return found if found and sum(found[-1]) == size else [*found, (size, 0)]


class _Data(io.RawIOBase):
    """The table of a file's segments, and what they hold."""

    def __init__(self, fd: int, table: bytes, segments: list[tuple[int, int]]) -> None:
        self._fd = fd
        self._table = table
        self._left = [segment for segment in segments if segment[1]]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        if self._table:
            data, self._table = self._table[: len(buffer)], self._table[len(buffer):]
        elif self._left:
            at, size = self._left.pop(0)
            data = os.pread(self._fd, min(size, len(buffer)), at)
            if data and len(data) < size:
                self._left.insert(0, (at + len(data), size - len(data)))
        else:
            data = b""
        buffer[: len(data)] = data
        return len(data)
