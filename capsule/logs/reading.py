"""Reading a log that is being written, and rotated, meanwhile: `path` is the present file, `path.1` the one before.

However large a log is, and however long a line in it, a block and a record are in memory.
"""

from __future__ import annotations

import posix

from capsule.errors import CapsuleError
from capsule.logs.formats import parse

_CHUNK = 1 << 16
_SEEK_SET = 0
_LINE_MAX = 1 << 16  # more than any record has (csrc/monitor_log.c): what is longer is none
_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC


class Log:
    """The files of a log, read from the oldest record on. Close it."""

    __slots__ = ("path", "driver", "files", "_fd", "_rest", "_skips")

    def __init__(self, path: str, driver: str, files: int) -> None:
        self.path = path
        self.driver = driver
        self.files = files  # how many there may be
        self._fd = -1  # of the file that is read
        self._rest = b""  # of it: the beginning of a line
        self._skips = False  # the line that we are in, which is too long

    def close(self) -> None:
        """Close what is open."""
        if self._fd >= 0:
            posix.close(self._fd)
        self._fd, self._rest, self._skips = -1, b"", False

    def skip_to(self, lines: int) -> None:
        """Begin with the last `lines` lines; one that has not ended yet counts as one. Raises CapsuleError."""
        self.close()
        counter = _Counter(self.driver, lines)
        for number in range(self.files):
            fd = self._open(number)
            if fd < 0:
                return
            if self._fd >= 0 and _identity(fd) == _identity(self._fd):
                posix.close(fd)  # it was rotated meanwhile
                continue
            self.close()
            self._fd = fd
            try:
                offset = counter.look_back(fd)
            except OSError as err:
                raise CapsuleError("read log", self.path, errno=err.errno or 0) from err
            if offset >= 0:
                posix.lseek(fd, offset, _SEEK_SET)
                return

    def entries(self):
        """Yield what there is and has not been yielded; call it again when there is more.

        Raises CapsuleError.
        """
        if self._fd < 0:
            self._fd = self._oldest()
        while self._fd >= 0:
            yield from self._entries_of_file()
            following = self._next()
            if following < 0:
                return
            # What was written between our last read and the rotation.
            yield from self._entries_of_file()
            self.close()
            self._fd = following

    def _entries_of_file(self):
        while True:
            try:
                data = posix.read(self._fd, _CHUNK)
            except OSError as err:
                raise CapsuleError("read log", self.path, errno=err.errno or 0) from err
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            if self._skips and lines:
                del lines[0]
                self._skips = False
            if self._skips or len(self._rest) > _LINE_MAX:
                self._rest, self._skips = b"", True
            for line in lines:
                entry = parse(self.driver, line)
                if entry is not None:
                    yield entry

    def _oldest(self) -> int:
        for number in range(self.files - 1, -1, -1):
            fd = self._open(number)
            if fd >= 0:
                return fd
        return -1

    def _next(self) -> int:
        """Open the file that follows the one we read, -1 while that is the present one."""
        here = _identity(self._fd)
        newer = -1
        for number in range(self.files):
            fd = self._open(number)
            if fd < 0:
                continue
            if _identity(fd) == here:
                posix.close(fd)
                return newer
            if newer >= 0:
                posix.close(newer)
            newer = fd
        return newer  # ours has gone: all that is left is newer, and this is the oldest

    def _open(self, number: int) -> int:
        try:
            return posix.open(f"{self.path}.{number}" if number else self.path, _READ)
        except FileNotFoundError:
            return -1
        except OSError as err:
            raise CapsuleError("open log", self.path, errno=err.errno or 0) from err


class _Counter:
    """Counts lines from the newest record back, through the files of a log."""

    __slots__ = ("driver", "left", "_is_newest")

    def __init__(self, driver: str, lines: int) -> None:
        self.driver = driver
        self.left = lines
        self._is_newest = True

    def look_back(self, fd: int) -> int:
        """Return the offset where the lines begin, -1 where they begin in an older file. Raises OSError."""
        if not self.left:
            return posix.fstat(fd).st_size
        for behind, line in _lines_back(fd):
            entry = parse(self.driver, line)
            if entry is None:
                continue
            if entry.whole and not self.left:
                return behind
            # Pieces without an end before the newest record's belong to the line that they begin.
            self.left -= entry.whole or self._is_newest
            self._is_newest = False
        return -1


def _lines_back(fd: int):
    """Yield (offset behind it, line) of the lines of a file that have an end, the last first. Raises OSError."""
    at = posix.fstat(fd).st_size
    rest, behind = b"", -1  # the line whose beginning lies further up; -1: it has no end
    while at > 0:
        start = max(at - _CHUNK, 0)
        block = posix.pread(fd, at - start, start)
        first, *parts = block.split(b"\n")
        if parts:
            last = parts.pop()
            if behind >= 0:
                yield behind, last + rest
            behind = start + len(block) - len(last)
            for part in reversed(parts):
                yield behind, part
                behind -= len(part) + 1
            rest = first
        else:
            rest = (first + rest)[:_LINE_MAX]
        at = start
    if behind >= 0:
        yield behind, rest


def _identity(fd: int) -> tuple[int, int]:
    info = posix.fstat(fd)
    return info.st_dev, info.st_ino
