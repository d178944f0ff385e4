"""Whole directory trees by descriptors: no link in a tree is ever followed."""

from __future__ import annotations

import errno
import posix

_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


def open_directory(name: str, parent_fd: int | None = None) -> int:
    """Open a directory that is no link, for its entries. Raises OSError."""
    return posix.open(name, _DIRECTORY, dir_fd=parent_fd)


def open_listed(name: str, parent_fd: int, info) -> int:
    """Open, for reading, what a stat result told of: a directory or a regular file, or another of its kind by now.

    Whatever else has taken its place (a link, a device, a fifo) is not opened at all: a descriptor that only names it
    is looked at first. Raises OSError, ESTALE where it is of another kind.
    """
    named = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=parent_fd)
    try:
        if (posix.fstat(named).st_mode ^ info.st_mode) & _S_IFMT:
            raise OSError(errno.ESTALE, "something else took its place while it was read", name)
        return posix.open(f"/proc/self/fd/{named}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    finally:
        posix.close(named)


def lstat(name: str, parent_fd: int):
    """Return what is at a name in a directory; None if nothing is, or there is no directory (-1)."""
    if parent_fd < 0:
        return None
    try:
        return posix.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_directory(info) -> bool:
    """Tell whether a stat result is a directory's."""
    return info is not None and info.st_mode & _S_IFMT == _S_IFDIR


def remove(name: str, parent_fd: int | None = None) -> None:
    """Remove a name and all below it; fine when it is not there. Raises OSError."""
    try:
        posix.unlink(name, dir_fd=parent_fd)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    fd = open_directory(name, parent_fd)
    try:
        _empty(fd)
    finally:
        posix.close(fd)
    posix.rmdir(name, dir_fd=parent_fd)


class Cursor:
    """A place in a tree, with one descriptor however deep it is: `..` must lead back to where it came from."""

    __slots__ = ("fd", "_way")

    def __init__(self, top_fd: int) -> None:
        self.fd = posix.dup(top_fd)
        self._way: list = []

    def enter(self, name: str) -> None:
        """Go into a directory that is no link. Raises OSError."""
        inner = open_directory(name, self.fd)
        self._way.append(_identity(self.fd))
        posix.close(self.fd)
        self.fd = inner

    def leave(self) -> None:
        """Go back up. Raises OSError, ESTALE where the directory has been moved."""
        outer = open_directory("..", self.fd)
        posix.close(self.fd)
        self.fd = outer
        if _identity(outer) != self._way.pop():
            raise OSError(errno.ESTALE, "moved while it was walked through")

    def close(self) -> None:
        posix.close(self.fd)


def walk(top_fd: int):
    """Yield (path from the top, directory's fd, name, stat result) of all below a directory, parents first, sorted.

    The fd is open until the next step. What vanishes meanwhile is left out. Raises OSError.
    """
    cursor = Cursor(top_fd)
    try:
        levels = [("", sorted(posix.listdir(cursor.fd), reverse=True))]
        while levels:
            path, left = levels[-1]
            if not left:
                levels.pop()
                if levels:
                    cursor.leave()
                continue
            name = left.pop()
            info = lstat(name, cursor.fd)
            if info is None:
                continue
            yield path + name, cursor.fd, name, info
            if is_directory(info):
                cursor.enter(name)
                levels.append((f"{path}{name}/", sorted(posix.listdir(cursor.fd), reverse=True)))
    finally:
        cursor.close()


def _empty(top_fd: int) -> None:
    """Remove all below a directory."""
    cursor = Cursor(top_fd)
    way: list = []  # (name of the directory, what is left where it lies)
    try:
        left = _unlink_shallow(cursor.fd)
        while left or way:
            if left:
                name = left.pop()
                way.append((name, left))
                cursor.enter(name)
                left = _unlink_shallow(cursor.fd)
                continue
            name, left = way.pop()
            cursor.leave()
            posix.rmdir(name, dir_fd=cursor.fd)
    finally:
        cursor.close()


def _unlink_shallow(fd: int) -> list:
    """Remove what is no directory or an empty one; return the names of the others."""
    left = []
    for name in posix.listdir(fd):
        try:
            posix.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            try:
                posix.rmdir(name, dir_fd=fd)
            except OSError as err:
                if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                left.append(name)
    return left


def _identity(fd: int) -> tuple[int, int]:
    info = posix.fstat(fd)
    return info.st_dev, info.st_ino


def make(path: str, mode: int = 0o700) -> None:
    """Make a directory of ours and what is missing above it. Raises OSError."""
    try:
        posix.mkdir(path, mode)
    except FileNotFoundError:
        make(path.rpartition("/")[0], 0o755)
        posix.mkdir(path, mode)
    except FileExistsError:
        pass
