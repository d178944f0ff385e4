"""What an upper layer of an overlay changed, compared with the host as it is now (overlayfs.rst, whiteouts and opaque).

Layers are walked by descriptors, and nothing in them is followed: whoever wrote them is not trusted.
"""

from __future__ import annotations

import posix

from capsule.bundle.mounts import below
from capsule.linux import trees

ADDED, CHANGED, DELETED = "A", "C", "D"
_S_IFMT, _S_IFREG, _S_IFLNK, _S_IFCHR, _S_IFDIR = 0o170000, 0o100000, 0o120000, 0o020000, 0o040000
_CHUNK = 1 << 18


class Change:
    """One path of the host, and what became of it; `stack` is the index of the upper layer that says so."""

    __slots__ = ("kind", "path", "stack")

    def __init__(self, kind: str, path: str, stack: int) -> None:
        self.kind = kind
        self.path = path
        self.stack = stack

    def to_data(self) -> list:
        """Return the change for JSON."""
        return [self.kind, self.path, self.stack]


def scan(place: str, meta: dict) -> list[Change]:
    """Return the changes of a kept sandbox, in the order in which they can be made. Raises OSError."""
    found: list[Change] = []
    stacks = meta["stacks"]
    for index, (base, _hidden) in enumerate(stacks):
        hidden = [path for _, paths in stacks for path in paths if path != base and not below(base, (path,))]
        others = [other for other, _ in stacks if other != base and below(other, (base,))]
        upper_fd = trees.open_directory(f"{place}/upper{index}")
        try:
            lower_fd = trees.open_directory(base)
            try:
                _walk(upper_fd, lower_fd, base.rstrip("/"), (*hidden, *others, *meta["mounts"]), index, found)
            finally:
                posix.close(lower_fd)
        finally:
            posix.close(upper_fd)
    return found


def _walk(upper_fd: int, lower_fd: int, path: str, skipped: tuple, stack: int, found: list[Change]) -> None:
    """Compare two directories and all below; one descriptor of each is open, however deep whoever wrote them went."""
    upper, lower = trees.Cursor(upper_fd), trees.Cursor(lower_fd)
    try:
        # Path, names that are left, whether the lower one has the directory too.
        levels = [(path, _names(upper.fd), True)]
        while levels:
            above, left, is_below = levels[-1]
            if not left:
                levels.pop()
                if levels:
                    upper.leave()
                    if is_below:
                        lower.leave()
                continue
            name = left.pop()
            at = f"{above}/{name}"
            info = trees.lstat(name, upper.fd)
            if info is None or below(at, skipped):
                continue
            there = trees.lstat(name, lower.fd if is_below else -1)
            if not trees.is_directory(info):
                found += [Change(kind, at, stack) for kind in _kinds(name, upper.fd, lower.fd, info, there)]
                continue
            upper.enter(name)
            goes_on = trees.is_directory(there) and not is_opaque(upper.fd)
            if goes_on:
                lower.enter(name)
                kinds: tuple = () if _same_owner(info, there) else (CHANGED,)
            else:
                kinds = (ADDED,) if there is None else (DELETED, ADDED)
            found += [Change(kind, at, stack) for kind in kinds]
            levels.append((at, _names(upper.fd), goes_on))
    finally:
        upper.close()
        lower.close()


def _names(fd: int) -> list[str]:
    return sorted(posix.listdir(fd), reverse=True)


def _kinds(name: str, upper_fd: int, lower_fd: int, info, lower) -> tuple:
    """Return what became of a name that is no directory above."""
    if is_whiteout(info):
        return (DELETED,)
    if lower is None:
        return (ADDED,)
    if trees.is_directory(lower):
        return DELETED, ADDED
    return () if same(name, upper_fd, lower_fd) else (CHANGED,)


def is_whiteout(info) -> bool:
    """Tell whether a stat result is a whiteout's."""
    return info.st_mode & _S_IFMT == _S_IFCHR and info.st_rdev == 0


def is_opaque(fd: int) -> bool:
    """Tell whether a directory of an upper layer hides the one below it."""
    for mark in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if posix.getxattr(fd, mark) == b"y":
                return True
        except OSError:
            pass
    return False


def _same_owner(one, other) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def same(name: str, one_fd: int, other_fd: int) -> bool:
    """Tell whether the files at a name in two directories are equal: type, mode, owner and contents."""
    one, other = trees.lstat(name, one_fd), trees.lstat(name, other_fd)
    if one is None or other is None or not _same_owner(one, other) or one.st_rdev != other.st_rdev:
        return False
    kind = one.st_mode & _S_IFMT
    if kind == _S_IFLNK:
        return posix.readlink(name, dir_fd=one_fd) == posix.readlink(name, dir_fd=other_fd)
    if kind != _S_IFREG:
        return True
    return one.st_size == other.st_size and _same_bytes(name, one_fd, other_fd)


def _same_bytes(name: str, one_fd: int, other_fd: int) -> bool:
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
    first = posix.open(name, flags, dir_fd=one_fd)
    try:
        second = posix.open(name, flags, dir_fd=other_fd)
        try:
            while True:
                data = posix.read(first, _CHUNK)
                if data != posix.read(second, _CHUNK):
                    return False
                if not data:
                    return True
        finally:
            posix.close(second)
    finally:
        posix.close(first)
