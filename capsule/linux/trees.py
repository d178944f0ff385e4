"""Whole directory trees by descriptors: no link in a tree is ever followed."""

from __future__ import annotations

import errno
import posix

_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


def open_directory(name: str, parent_fd: int | None = None) -> int:
    """Open a directory that is no link, for its entries. Raises OSError."""
    return posix.open(name, _DIRECTORY, dir_fd=parent_fd)


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


def _empty(top_fd: int) -> None:
    """Remove all below a directory, with two descriptors however deep it is: `..` must lead to where we were."""
    at = posix.dup(top_fd)
    way: list = []  # (directory above, name in it, what is left there)
    try:
        left = _unlink_shallow(at)
        while left or way:
            if left:
                name = left.pop()
                way.append((_identity(at), name, left))
                at = _exchange(at, open_directory(name, at))
                left = _unlink_shallow(at)
                continue
            identity, name, left = way.pop()
            at = _exchange(at, open_directory("..", at))
            if _identity(at) != identity:
                raise OSError(errno.ESTALE, "moved while it was removed", name)
            posix.rmdir(name, dir_fd=at)
    finally:
        posix.close(at)


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


def _exchange(old: int, new: int) -> int:
    posix.close(old)
    return new


def make(path: str, mode: int = 0o700) -> None:
    """Make a directory of ours and what is missing above it. Raises OSError."""
    try:
        posix.mkdir(path, mode)
    except FileNotFoundError:
        make(path.rpartition("/")[0], 0o755)
        posix.mkdir(path, mode)
    except FileExistsError:
        pass
