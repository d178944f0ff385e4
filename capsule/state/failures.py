"""What went wrong last, container by container: <root>/.failures, which outlives the containers (docs/state.md).

    <root>/.failures/           0700
    <root>/.failures/<id>       0600; the last failure of a verb on that id, one JSON object, replaced by rename
    <root>/.failures/.end.<n>   0600; how a container ended, written by its relay (csrc/relay_record.c)

Bounded: ENTRIES_MAX failures, the oldest goes; END_SLOTS ends, each in the slot of its id. Success writes nothing.
"""

from __future__ import annotations

import posix
import time

from capsule._ext import json
from capsule.errors import CapsuleError
from capsule.linux.names import signal_name
from capsule.state.ids import is_valid
from capsule.state.record import format_time
from capsule.state.store import FAILURES, end_path, make_root

ENTRIES_MAX = 64
SIZE_MAX = 1 << 20  # bytes of one record

_TEMPORARY = ".tmp."
_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_WRITE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC


def save(root: str, id: str, fields: dict) -> None:
    """Replace the last failure of an id by `fields`, with `id` and the present `time` in front.

    Raises OSError, ValueError.
    """
    dir_fd = _open(root, make=True)
    temporary = f"{_TEMPORARY}{posix.getpid()}.{time.time_ns()}"
    try:
        _drop_oldest(dir_fd, id)
        fd = posix.open(temporary, _WRITE, 0o600, dir_fd=dir_fd)
        try:
            data = json.dumps({"id": id, "time": format_time(time.time_ns()), **fields})
            while data:
                data = data[posix.write(fd, data) :]
            posix.rename(temporary, id, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            posix.unlink(temporary, dir_fd=dir_fd)
            raise
        finally:
            posix.close(fd)
    finally:
        posix.close(dir_fd)


def _drop_oldest(dir_fd: int, id: str) -> None:
    """Make room for one more."""
    names = [name for name in posix.listdir(dir_fd) if name != id and not name.startswith(".end.")]
    while len(names) >= ENTRIES_MAX:
        oldest = min(names, key=_Age(dir_fd))
        names.remove(oldest)
        try:
            posix.unlink(oldest, dir_fd=dir_fd)
        except FileNotFoundError:
            pass  # another failure has made room meanwhile


class _Age:
    """Key of a sort: the time at which a file of a directory was written; what has gone is the oldest."""

    __slots__ = ("dir_fd",)

    def __init__(self, dir_fd: int) -> None:
        self.dir_fd = dir_fd

    def __call__(self, name: str) -> int:
        try:
            return posix.stat(name, dir_fd=self.dir_fd, follow_symlinks=False).st_mtime_ns
        except FileNotFoundError:
            return 0


def load(root: str, id: str) -> dict | None:
    """Return the last failure of an id, None where there is none."""
    return _load(root, id, id) if is_valid(id) else None


def latest(root: str) -> str | None:
    """Return the id whose failure, or end, was written last; None where nothing is recorded."""
    try:
        dir_fd = _open(root, make=False)
    except FileNotFoundError:
        return None
    try:
        names = [name for name in posix.listdir(dir_fd) if not name.startswith(_TEMPORARY)]
        if not names:
            return None
        newest = max(names, key=_Age(dir_fd))
    finally:
        posix.close(dir_fd)
    if not newest.startswith("."):
        return newest
    end = _load(root, newest, None)
    return None if end is None else end["id"]


def load_end(root: str, id: str) -> dict | None:
    """Return how the container `id` ended that is gone, None where it is not known (any more)."""
    return _load(root, end_path(root, id).rpartition("/")[2], id) if is_valid(id) else None


def describe_end(fields: dict) -> dict:
    """Say a record of the relay in words: reason (exit, signal, oom or timeout), exit_code or signal, and time."""
    status = _integer(fields, "wait_status")
    end: dict = {"reason": fields.get("reason", "")}
    if status & 0x7F:
        end["signal"] = signal_name(status & 0x7F)
    else:
        end["exit_code"] = status >> 8 & 0xFF
    end["time"] = format_time(_integer(fields, "time_ns"))
    return end


def _integer(fields: dict, name: str) -> int:
    """Return a number of a record that anything may have written, 0 for what is none."""
    value = fields.get(name)
    return value if type(value) is int else 0


def read_end(data: bytes, id: str | None) -> dict | None:
    """Read the bytes of an end's or a failure's record; None unless they are a whole one, of `id` if given."""
    try:
        fields = json.loads(data)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("id"), str):
        return None
    return fields if id is None or fields["id"] == id else None


def _load(root: str, name: str, id: str | None) -> dict | None:
    try:
        dir_fd = _open(root, make=False)
    except FileNotFoundError:
        return None
    try:
        fd = posix.open(name, _READ, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise CapsuleError("read", f"{root}/{FAILURES}/{name}", errno=err.errno) from err
    finally:
        posix.close(dir_fd)
    try:
        return read_end(posix.read(fd, SIZE_MAX), id)
    finally:
        posix.close(fd)


def _open(root: str, *, make: bool) -> int:
    path = f"{root}/{FAILURES}"
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        return posix.open(path, flags)
    except FileNotFoundError:
        if not make:
            raise
    make_root(root)
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass
    return posix.open(path, flags)

