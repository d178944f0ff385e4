"""The cgroup file system: its files, its directories, the processes in them. Knows no controller.

Files are opened for writing without O_CREAT: a name the kernel does not offer is ENOENT, never a new file.
"""

from __future__ import annotations

import errno
import posix
import time

from capsule.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REMOVE_TIMEOUT_NS = 5_000_000_000

_WRITE = posix.O_WRONLY | posix.O_CLOEXEC
_READ = posix.O_RDONLY | posix.O_CLOEXEC
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_CHUNK = 1 << 16

#: Is told (directory, name, values) of each write beforehand; cgroups.undo sets it while limits are changed.
before_write: Callable[[str, str, Sequence[str]], None] | None = None


def write(directory: str, name: str, value: str) -> None:
    """Write one value to a file of a cgroup.

    Raises CgroupError with the value, the file and the errno.
    """
    write_all(directory, name, (value,))


def write_all(directory: str, name: str, values) -> None:
    """Write each value to the same file with one write(2) each, since the kernel takes one setting a call."""
    path = f"{directory}/{name}"
    value = ""
    if before_write is not None:
        before_write(directory, name, values)
    try:
        fd = posix.open(path, _WRITE)
        try:
            for value in values:
                posix.write(fd, value.encode())
        finally:
            posix.close(fd)
    except OSError as err:
        raise CgroupError(f"write {value!r} to" if value else "open", path, errno=err.errno) from err


def write_in_some_order(directory: str, writes) -> None:
    """Write (file, values) pairs in any order the kernel accepts: what it calls invalid is tried after the others.

    Raises CgroupError, the first one, when none of those that are left is accepted.
    """
    left = list(writes)
    while left:
        refused = []
        failure = None
        for name, values in left:
            try:
                write_all(directory, name, values)
            except CgroupError as err:
                if err.errno != errno.EINVAL:
                    raise
                failure = failure or err
                refused.append((name, values))
        if failure is not None and len(refused) == len(left):
            raise failure
        left = refused


def read(directory: str, name: str) -> str:
    """Return a file's text without surrounding white space.

    Raises CgroupError.
    """
    path = f"{directory}/{name}"
    try:
        fd = posix.open(path, _READ)
        try:
            data = posix.read(fd, _CHUNK)
            if len(data) > 4000:
                # Longer files (cgroup.procs) come a page or so at a time; only an empty read is the end.
                while more := posix.read(fd, _CHUNK):
                    data += more
        finally:
            posix.close(fd)
    except OSError as err:
        raise CgroupError("read", path, errno=err.errno) from err
    return data.decode().strip()


def has(directory: str, name: str) -> bool:
    """Tell whether the kernel offers a file in a cgroup."""
    return posix.access(f"{directory}/{name}", posix.F_OK)


def names(directory: str) -> list[str]:
    """Return the names of a cgroup's files and of the cgroups in it.

    Raises CgroupError.
    """
    try:
        return posix.listdir(directory)
    except OSError as err:
        raise CgroupError("list", directory, errno=err.errno) from err


def make(directory: str) -> list[str]:
    """Make a cgroup and its missing parents; return those made, parents first; none when it was there already.

    Raises CgroupError.
    """
    made: list[str] = []
    try:
        _make(directory, made)
    except OSError as err:
        for path in reversed(made):
            remove_empty(path)
        raise CgroupError("create cgroup", directory, errno=err.errno) from err
    return made


def _make(directory: str, made: list[str]) -> None:
    while True:
        try:
            posix.mkdir(directory, 0o755)
        except FileExistsError:
            return
        except FileNotFoundError:
            parent = directory.rpartition("/")[0]
            if not parent:
                raise
            # Another container's removal may take a parent away again before we are below it: hence the loop.
            _make(parent, made)
            continue
        made.append(directory)
        return


def remove_empty(directory: str) -> None:
    """Remove a cgroup if nothing is in it; others may be using it."""
    try:
        posix.rmdir(directory)
    except OSError as err:
        if err.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT):
            raise CgroupError("remove cgroup", directory, errno=err.errno) from err


def remove(directory: str) -> None:
    """Remove a cgroup and all below it, waiting for processes that are on their way out.

    Raises CgroupError: EBUSY when a process outlives REMOVE_TIMEOUT_NS.
    """
    try:
        posix.rmdir(directory)
        return
    except FileNotFoundError:
        return
    except OSError as err:
        if err.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise CgroupError("remove cgroup", directory, errno=err.errno) from err
    deadline = time.monotonic_ns() + REMOVE_TIMEOUT_NS
    try:
        _remove_below(directory, deadline)
        parent, _, name = directory.rpartition("/")
        fd = posix.open(parent, _DIRECTORY)
        try:
            _rmdir(fd, name, deadline)
        finally:
            posix.close(fd)
    except FileNotFoundError:
        return
    except OSError as err:
        raise CgroupError("remove cgroup", directory, errno=err.errno) from err


def _remove_below(directory: str, deadline: int) -> None:
    # One fd, `..` to go up and no joined path: a container that could make cgroups chose how deep they are.
    fd = posix.open(directory, _DIRECTORY)
    try:
        names: list[str] = []
        pending = [_children(fd)]
        while True:
            if pending[-1]:
                name = pending[-1].pop()
                try:
                    child = posix.open(name, _DIRECTORY, dir_fd=fd)
                except FileNotFoundError:
                    continue
                posix.close(fd)
                fd = child
                names.append(name)
                pending.append(_children(fd))
            elif names:
                pending.pop()
                fd = _up(fd)
                _rmdir(fd, names.pop(), deadline)
            else:
                return
    finally:
        posix.close(fd)


def _rmdir(dir_fd: int, name: str, deadline: int) -> None:
    def is_gone() -> bool:
        try:
            posix.rmdir(name, dir_fd=dir_fd)
        except FileNotFoundError:
            pass
        except OSError as err:
            if err.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            return False
        return True

    if not wait_until(is_gone, deadline):
        raise OSError(errno.EBUSY, "rmdir", name)


def _up(fd: int) -> int:
    parent = posix.open("..", _DIRECTORY, dir_fd=fd)
    posix.close(fd)
    return parent


def _children(dir_fd: int) -> list[str]:
    try:
        with posix.scandir(dir_fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def processes(directory: str) -> list[int]:
    """Return the pids of a cgroup and all below it, as far as our pid namespace sees them; none when it is gone.

    Raises CgroupError.
    """
    found: dict[int, None] = {}
    _visit(directory, lambda fd: _collect(fd, "cgroup.procs", found), "list processes of cgroup")
    return list(found)


def write_everywhere(directory: str, name: str, value: str) -> None:
    """Write one value to a file of a cgroup and of all below it, from the top; fine where they have gone.

    Raises CgroupError.
    """
    def write_one(dir_fd: int) -> None:
        try:
            fd = posix.open(name, _WRITE, dir_fd=dir_fd)
            try:
                posix.write(fd, value.encode())
            finally:
                posix.close(fd)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    _visit(directory, write_one, f"write {value!r} to {name} below")


def _visit(directory: str, see: Callable[[int], None], operation: str) -> None:
    """Call `see` with a descriptor of a cgroup and of each one below it; not at all when it is gone."""
    try:
        fd = posix.open(directory, _DIRECTORY)
    except FileNotFoundError:
        return
    except OSError as err:
        raise CgroupError("open cgroup", directory, errno=err.errno) from err
    try:
        see(fd)
        depth = 0
        pending = [_children(fd)]
        while depth or pending[-1]:
            if pending[-1]:
                try:
                    child = posix.open(pending[-1].pop(), _DIRECTORY, dir_fd=fd)
                except FileNotFoundError:
                    continue
                posix.close(fd)
                fd = child
                depth += 1
                see(fd)
                pending.append(_children(fd))
            else:
                pending.pop()
                fd = _up(fd)
                depth -= 1
    except OSError as err:
        raise CgroupError(operation, directory, errno=err.errno) from err
    finally:
        posix.close(fd)


def _collect(dir_fd: int, name: str, found: dict[int, None]) -> None:
    data = b""
    try:
        fd = posix.open(name, _READ, dir_fd=dir_fd)
        try:
            while more := posix.read(fd, _CHUNK):
                data += more
        finally:
            posix.close(fd)
    except OSError as err:
        if err.errno == errno.EOPNOTSUPP:
            return  # a threaded cgroup (v2): its processes are listed by its domain above
        if err.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return  # removed meanwhile
    for word in data.split():
        pid = int(word)
        if pid:  # 0 stands for a process outside our pid namespace
            found[pid] = None


def wait_until(predicate, deadline: int) -> bool:
    """Ask again and again, from every 0.1 ms to every 10 ms, until `predicate` is true; False at the deadline.

    `deadline` is in nanoseconds of the monotonic clock.
    """
    pause = 0.0001
    while not predicate():
        if time.monotonic_ns() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.01)
    return True
