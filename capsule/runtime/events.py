"""events: statistics at intervals, and word of each time that memory ran out."""

from __future__ import annotations

import errno
import posix
import time

from capsule._ext import proc
from capsule.cgroups import oom, stats as cgroup_stats
from capsule.errors import BadTransition, CgroupError
from capsule.runtime import status as statuses

_MS_NS = 1_000_000
_POLL_MS_MAX = 0x7FFFFFFF


def stats(container) -> dict:
    """Return what the container uses. Raises BadTransition when it is stopped, CgroupError."""
    if container.observe() == statuses.STOPPED:
        raise _not_running(container.id)
    return cgroup_stats.collect(container.record.cgroup_paths)


def watch(container, *, interval_ns: int, emit) -> None:
    """Call `emit(type, data)` until the first process has gone.

    `data` is None for "oom". Raises BadTransition when the container is stopped, CgroupError.
    """
    pidfd = container.init_process().open()
    if pidfd < 0:
        raise _not_running(container.id)
    paths = container.record.cgroup_paths
    memory = None
    try:
        memory = oom.watch(paths)
        _serve(pidfd, memory, paths, interval_ns, emit)
    except CgroupError as err:
        if err.errno not in (errno.ENOENT, errno.ENODEV) or not _has_ended(pidfd):
            raise  # otherwise the container ended while its cgroups were read
    finally:
        posix.close(pidfd)
        if memory is not None:
            memory.close()


def _serve(pidfd: int, memory, paths: dict, interval_ns: int, emit) -> None:
    waited = [(pidfd, proc.POLLIN)]
    if memory is not None:
        waited.append((memory.fd, memory.events))
    due = time.monotonic_ns() + interval_ns
    while True:
        left = max(due - time.monotonic_ns(), 0)
        ready = [fd for fd, _ in proc.poll(waited, min(-(-left // _MS_NS), _POLL_MS_MAX))]
        # First the memory: what killed the container is told before its end.
        if memory is not None and (memory.fd in ready or pidfd in ready) and memory.take():
            emit("oom", None)
        if pidfd in ready:
            return
        now = time.monotonic_ns()
        if now >= due:
            emit("stats", cgroup_stats.collect(paths))
            due += max(-(-(now - due) // interval_ns), 1) * interval_ns


def _has_ended(pidfd: int) -> bool:
    return bool(proc.poll([(pidfd, proc.POLLIN)], 1000))


def _not_running(id: str) -> BadTransition:
    return BadTransition(f"container with id {id} is not running")
