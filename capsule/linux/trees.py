"""Whole directory trees by descriptors: no link in a tree is ever followed."""

from __future__ import annotations

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
        for inner in posix.listdir(fd):
            remove(inner, fd)
    finally:
        posix.close(fd)
    posix.rmdir(name, dir_fd=parent_fd)


def make(path: str, mode: int = 0o700) -> None:
    """Make a directory of ours and what is missing above it. Raises OSError."""
    try:
        posix.mkdir(path, mode)
    except FileNotFoundError:
        make(path.rpartition("/")[0], 0o755)
        posix.mkdir(path, mode)
    except FileExistsError:
        pass
