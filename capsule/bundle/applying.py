"""`sandbox apply`: make the changes of a kept sandbox on the host. All are checked before the first is made.

A path that the host has changed since the sandbox began is refused. Each file is written beside its place and renamed
over it; what was checked is written down first, so that an apply that died is finished by the next one. The way to a
path may lead through no link (openat2 RESOLVE_NO_SYMLINKS): the sandbox saw directories there.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import json, openbeneath, proc
from capsule.bundle import changes
from capsule.bundle.changes import ADDED, CHANGED, DELETED, Change
from capsule.errors import CapsuleError, StateError, errno_text
from capsule.linux import trees

CHANGES = "changes.json"  # what the sandbox had changed at its end; the host may have moved on since
CHECKED = "checked.json"  # what this apply, or one that died, found fit to be made
_S_IFMT, _S_IFREG, _S_IFLNK, _S_IFIFO = 0o170000, 0o100000, 0o120000, 0o010000
_SET_ID = 0o6000
_CHUNK = 1 << 20
_PATH_MAX = 4096
_NEW = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_TEMPORARY = ".capsule-apply"


class Host:
    """The host's tree, reached without links."""

    __slots__ = ("root_fd",)

    def __init__(self) -> None:
        self.root_fd = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)

    def parent(self, path: str) -> int:
        """Open the directory that a path lies in. Raises OSError."""
        return openbeneath.open_in_root(
            self.root_fd, path.rpartition("/")[0] or "/", posix.O_RDONLY | openbeneath.O_DIRECTORY,
            openbeneath.RESOLVE_IN_ROOT | openbeneath.RESOLVE_NO_SYMLINKS,
        )


def hold(place: str, id: str, *, alone: bool = True) -> int:
    """Lock what a sandbox keeps, `alone` or while it runs; returns the descriptor. Raises StateError, OSError."""
    fd = trees.open_directory(place)
    try:
        proc.flock(fd, (proc.LOCK_EX if alone else proc.LOCK_SH) | proc.LOCK_NB)
    except BlockingIOError as err:
        posix.close(fd)
        raise StateError("take the changes of", id, "it still runs, or they are being applied") from err
    return fd


def apply(place: str, meta: dict) -> list[Change]:
    """Make the changes of the sandbox kept in `place`; returns them. Raises CapsuleError, StateError."""
    lock_fd = hold(place, meta["id"])
    try:
        host = Host()
        try:
            todo = _checked(place, lock_fd, meta, host)
            proc.stop_point("apply-checked")
            for change in todo:
                _make(change, place, meta, host)
                proc.stop_point("apply-made")
        finally:
            posix.close(host.root_fd)
    finally:
        posix.close(lock_fd)
    return todo


def kept(place: str, meta: dict) -> list[Change]:
    """Return the changes of the sandbox kept in `place`, as its end left them. Raises StateError."""
    lock_fd = hold(place, meta["id"])
    try:
        found = _read(CHANGES, lock_fd)
        return changes.scan(place, meta) if found is None else found
    finally:
        posix.close(lock_fd)


def _checked(place: str, place_fd: int, meta: dict, host: Host) -> list[Change]:
    """Return the changes to make: those that a dead apply has checked, or all after checking them."""
    ready = _read(CHECKED, place_fd)
    if ready is not None:
        return ready
    todo = _read(CHANGES, place_fd)
    if todo is None:  # whoever ran it died before its end
        todo = changes.scan(place, meta)
    for change in todo:
        if len(change.path.encode("utf-8", "surrogateescape")) >= _PATH_MAX:
            raise StateError("apply", meta["id"], f"{change.path[:80]}...: its path is longer than the kernel takes")
    made: set[str] = set()
    freed: set[str] = set()
    problems = []
    for change in todo:
        cause = _problem(change, place, meta, host, made, freed)
        if cause:
            problems.append(f"{change.path}: {cause}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StateError("apply", meta["id"], problems[0] + more)
    record(place_fd, CHECKED, todo)
    return todo


def record(place_fd: int, name: str, todo: list[Change]) -> None:
    """Write changes down beside the layers that they are of. Raises OSError."""
    write_new(place_fd, name, json.dumps([change.to_data() for change in todo]))


def _read(name: str, place_fd: int) -> list[Change] | None:
    try:
        fd = posix.open(name, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=place_fd)
    except FileNotFoundError:
        return None
    try:
        data = b""
        while more := posix.read(fd, _CHUNK):
            data += more
    finally:
        posix.close(fd)
    rows = json.loads(data)
    assert isinstance(rows, list)  # ours, written in one step
    return [Change(*row) for row in rows]


def write_new(directory_fd: int, name: str, data: bytes) -> None:
    """Write a file in one step: it is there as a whole or not at all. Raises OSError."""
    temporary = f".{name}.new"
    trees.remove(temporary, directory_fd)
    fd = posix.open(temporary, _NEW, 0o600, dir_fd=directory_fd)
    try:
        while data:
            data = data[posix.write(fd, data):]
        posix.fsync(fd)
    finally:
        posix.close(fd)
    posix.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    posix.fsync(directory_fd)


def _problem(change: Change, place: str, meta: dict, host: Host, made: set[str], freed: set[str]) -> str:
    """Say why a change may not be made, "" where it may.

    `made` are the directories that this apply makes, `freed` the paths that it deletes before.
    """
    name = change.path.rpartition("/")[2]
    info = None
    if change.kind != DELETED:
        upper_fd = _upper_parent(change, place, meta)
        try:
            info = trees.lstat(name, upper_fd)
        finally:
            posix.close(upper_fd)
        cause = _unfit(info)
        if cause:
            return cause
    if change.kind == ADDED and trees.is_directory(info):
        made.add(change.path)
    if change.path.rpartition("/")[0] in made:
        return ""
    try:
        parent = host.parent(change.path)
    except OSError as err:
        return f"the way there has changed: {errno_text(err.errno)}"
    try:
        return _conflict(change, name, parent, meta["began_ns"], freed)
    finally:
        posix.close(parent)


def _unfit(info) -> str:
    """Say why what a sandbox made may never be put on the host, "" where it may."""
    kind = info.st_mode & _S_IFMT
    if trees.is_directory(info) or kind == _S_IFLNK:
        return ""
    if kind not in (_S_IFREG, _S_IFIFO):
        return "a device or a socket is never applied"
    return "a set-user-ID or set-group-ID file is never applied" if info.st_mode & _SET_ID else ""


def _conflict(change: Change, name: str, parent_fd: int, began_ns: int, freed: set[str]) -> str:
    """Say what the host has done to a path meanwhile, "" for nothing."""
    there = trees.lstat(name, parent_fd)
    if change.kind == ADDED:
        return "" if there is None or change.path in freed else "it has been made meanwhile"
    if change.kind == DELETED:
        freed.add(change.path)
    if there is None:
        return "" if change.kind == DELETED else "it has been removed meanwhile"
    if change.kind == CHANGED and trees.is_directory(there):
        return ""  # its owner and mode alone
    return "it has been changed meanwhile" if _newest(name, parent_fd) >= began_ns else ""


def _newest(name: str, parent_fd: int) -> int:
    """Return the latest change of a name and all below it, in nanoseconds since 1970."""
    info = trees.lstat(name, parent_fd)
    if info is None:
        return 0
    newest = info.st_ctime_ns
    if trees.is_directory(info):
        fd = trees.open_directory(name, parent_fd)
        try:
            for _, _, _, inner in trees.walk(fd):
                newest = max(newest, inner.st_ctime_ns)
        finally:
            posix.close(fd)
    return newest


def _upper_parent(change: Change, place: str, meta: dict) -> int:
    """Open the directory of the upper layer that a path lies in."""
    base = meta["stacks"][change.stack][0].rstrip("/")
    fd = trees.open_directory(f"{place}/upper{change.stack}")
    for part in [part for part in change.path[len(base):].split("/")[:-1] if part]:
        try:
            inner = trees.open_directory(part, fd)
        finally:
            posix.close(fd)
        fd = inner
    return fd


def _make(change: Change, place: str, meta: dict, host: Host) -> None:
    """Make one change; making it twice is fine. Raises CapsuleError."""
    name = change.path.rpartition("/")[2]
    try:
        parent = host.parent(change.path)
        try:
            if change.kind == DELETED:
                trees.remove(name, parent)
                return
            upper_fd = _upper_parent(change, place, meta)
            try:
                _copy(name, upper_fd, parent)
            finally:
                posix.close(upper_fd)
        finally:
            posix.close(parent)
    except OSError as err:
        if change.kind == DELETED and err.errno == errno.ENOENT:
            return
        raise CapsuleError("apply", change.path, errno_text(err.errno), errno=err.errno or 0) from err


def _copy(name: str, upper_fd: int, parent_fd: int) -> None:
    info = posix.stat(name, dir_fd=upper_fd, follow_symlinks=False)
    if trees.is_directory(info):
        try:
            posix.mkdir(name, 0o700, dir_fd=parent_fd)
        except FileExistsError:
            pass
        fd = trees.open_directory(name, parent_fd)
        try:
            posix.fchown(fd, info.st_uid, info.st_gid)
            posix.fchmod(fd, info.st_mode & 0o7777)
        finally:
            posix.close(fd)
        return
    trees.remove(_TEMPORARY, parent_fd)
    kind = info.st_mode & _S_IFMT
    if kind == _S_IFLNK:
        posix.symlink(posix.readlink(name, dir_fd=upper_fd), _TEMPORARY, dir_fd=parent_fd)
        posix.chown(_TEMPORARY, info.st_uid, info.st_gid, dir_fd=parent_fd, follow_symlinks=False)
    elif kind == _S_IFIFO:
        posix.mknod(_TEMPORARY, _S_IFIFO | 0o600, 0, dir_fd=parent_fd)
        posix.chown(_TEMPORARY, info.st_uid, info.st_gid, dir_fd=parent_fd, follow_symlinks=False)
    else:
        _copy_file(name, upper_fd, parent_fd, info)
    posix.rename(_TEMPORARY, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
    posix.fsync(parent_fd)


def _copy_file(name: str, upper_fd: int, parent_fd: int, info) -> None:
    source = posix.open(name, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=upper_fd)
    try:
        target = posix.open(_TEMPORARY, _NEW, 0o600, dir_fd=parent_fd)
        try:
            while data := posix.read(source, _CHUNK):
                while data:
                    data = data[posix.write(target, data):]
            posix.fchown(target, info.st_uid, info.st_gid)
            posix.fchmod(target, info.st_mode & 0o1777)
            posix.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
            posix.fsync(target)
        finally:
            posix.close(target)
    finally:
        posix.close(source)
