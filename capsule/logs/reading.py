"""Reading a log that is being written, and rotated, meanwhile: `path` is the present file, `path.1` the one before."""

from __future__ import annotations

import posix

from capsule.errors import CapsuleError
from capsule.logs.formats import Entry, parse

_CHUNK = 1 << 16
_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC


class Log:
    """The files of a log, read from the oldest record on. Close it."""

    __slots__ = ("path", "driver", "files", "_fd", "_rest")

    def __init__(self, path: str, driver: str, files: int) -> None:
        self.path = path
        self.driver = driver
        self.files = files  # how many there may be
        self._fd = -1  # of the file that is read
        self._rest = b""  # of it: the beginning of a line

    def close(self) -> None:
        """Close what is open."""
        if self._fd >= 0:
            posix.close(self._fd)
        self._fd, self._rest = -1, b""

    def skip_to(self, lines: int) -> None:
        """Begin at the newest file with which the last `lines` lines are there."""
        number, found = 0, 0
        while number < self.files:
            fd = self._open(number)
            if fd < 0:
                break
            self._fd, self._rest = fd, b""
            for entry in self._entries_of_file():
                found += entry.whole
            self.close()
            number += 1
            if found >= lines:
                break
        self._fd = self._open(max(number - 1, 0))

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
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
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
        here = posix.fstat(self._fd)
        newer = -1
        for number in range(self.files):
            fd = self._open(number)
            if fd < 0:
                continue
            there = posix.fstat(fd)
            if there.st_ino == here.st_ino and there.st_dev == here.st_dev:
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


def tail(entries, lines: int) -> list[Entry]:
    """Return the entries of the last `lines` lines; one that has not ended yet counts as one."""
    kept: list[Entry] = []
    whole = 0
    for entry in entries:
        kept.append(entry)
        whole += entry.whole
        while kept and whole + (not kept[-1].whole) > lines:
            whole -= kept.pop(0).whole
    return kept
