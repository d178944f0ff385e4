"""Signals to all processes of a container, also to those that are being forked meanwhile."""

from __future__ import annotations

import errno
import posix
import time

from capsule._ext import proc
from capsule.cgroups import cgroupfs, freezer
from capsule.errors import CgroupError, Unsupported

SIGKILL = 9
UNIFIED = ""

_FREEZE_TIMEOUT = 2.0
_KILL_TIMEOUT_NS = 10_000_000_000


def send_all(paths: dict[str, str], directory: str, sig: int) -> None:
    """Send `sig` to every process of the cgroup `directory` and below. SIGKILL leaves it thawed, others as it was.

    Raises CgroupError.
    """
    if sig == SIGKILL and _kill_v2(paths) and len(paths) == 1:
        return
    was_frozen = freezer.is_frozen(paths)
    me = posix.getpid()
    if not was_frozen and me not in cgroupfs.processes(directory):
        _freeze_quietly(paths)
        proc.stop_point("r-froze")
    try:
        signalled = _send_once(directory, sig, me, set())
    finally:
        # A frozen process cannot die, and nobody would thaw what an error left behind.
        if not was_frozen or sig == SIGKILL:
            _thaw(paths)
    if sig == SIGKILL:
        freezer.thaw_below(paths)
        _kill_rest(directory, me, signalled)
        # Those that an interrupted create left halfway are in some of the hierarchies only.
        for other in dict.fromkeys(paths.values()):
            signalled |= _send_once(other, SIGKILL, me, signalled)


def send_once(directory: str, sig: int) -> None:
    """Send `sig` to who is in the cgroup `directory` and below now, and leave the freezer alone. Raises CgroupError."""
    _send_once(directory, sig, posix.getpid(), set())


def _kill_v2(paths: dict[str, str]) -> bool:
    """Kill through cgroup.kill (Linux 5.14), which forks cannot outrun; False where there is none."""
    if UNIFIED not in paths:
        return False
    try:
        cgroupfs.write(paths[UNIFIED], "cgroup.kill", "1")
    except CgroupError as err:
        # EOPNOTSUPP: a threaded cgroup.
        if err.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            raise
        return False
    return True


def _send_once(directory: str, sig: int, me: int, before: set) -> set:
    """Signal everyone who is in the cgroup and not in `before`; return who was there."""
    there = set(cgroupfs.processes(directory))
    there.discard(me)
    for pid in there - before:
        try:
            posix.kill(pid, sig)
        except ProcessLookupError:
            pass
        except OSError as err:
            raise CgroupError(f"send signal {sig} to process {pid} of cgroup", directory, errno=err.errno) from err
    return there


def _kill_rest(directory: str, me: int, signalled: set) -> None:
    """Go on killing while new processes turn up: without a freezer, forks race with the list."""
    deadline = time.monotonic_ns() + _KILL_TIMEOUT_NS
    while True:
        there = _send_once(directory, SIGKILL, me, signalled)
        if there <= signalled:
            return
        if time.monotonic_ns() >= deadline:
            raise CgroupError("kill processes of cgroup", directory, "new ones keep turning up")
        signalled |= there


def _freeze_quietly(paths: dict[str, str]) -> None:
    try:
        freezer.freeze(paths, _FREEZE_TIMEOUT)
    except (CgroupError, Unsupported):
        pass  # signals reach who is there; _kill_rest catches up with the rest


def _thaw(paths: dict[str, str]) -> None:
    try:
        freezer.thaw(paths)
    except Unsupported:
        pass
    except CgroupError as err:
        if err.errno not in (errno.ENOENT, errno.ENODEV):
            raise
