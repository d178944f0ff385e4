"""Keep a container's processes from seizing an exec's tail while it still has privilege.

The tail of an exec is visible in the container's pid namespace from its clone to its execve. The kernel lets
nobody look into it, because it is not dumpable, with one exception: CAP_SYS_PTRACE in the user namespace that
its memory belongs to (ptrace(2), PTRACE_MODE). That is the host's or, where the runtime is no root, that of a user who
is root inside as well. A container that may have that capability there is therefore frozen for those milliseconds. In
the frozen cgroup the new process could not execute: until it has, it and what it forks are in an area of their own
beside it, as restricted as the container is, from which all of them are moved before anything is thawed.

Who reads a container's files while nothing may change them (commit) freezes it in the same way, under the same mark.

A mark in the state directory tells a container that we froze from one that was paused, and who did it. Whoever
has the container's lock and finds a mark knows that its maker has died, and takes back what it did. Who wants to
freeze, thaw or kill the whole container takes the lock first; a killing verb does not wait long for a guard that
hangs, but ends its maker, with whom the process ends that was to be let in.
"""

from __future__ import annotations

import errno
import posix
import time

from capsule import cgroups
from capsule._ext import proc
from capsule.cgroups import cgroupfs, enter
from capsule.cgroups.manager import UNIFIED
from capsule.errors import CgroupError, Unsupported
from capsule.linux import proc_stat
from capsule.runtime import status as statuses
from capsule.runtime.known_process import ParentNoChildProcess
from capsule.state import store as stores

#: Ends the area's name; no container's id can, as it has a colon.
AREA = ":exec"

_CAP_SYS_PTRACE = 19
_SIGKILL = 9
_ESRCH = 3
_FROZE, _FOUND_PAUSED = b"froze", b"paused"  # what a mark says
_ADMIT_TIMEOUT_NS = 10_000_000_000
_PATIENCE_NS = 2_000_000_000  # a guard that is well takes milliseconds
_END_NS = 5_000_000_000  # how long a lock may outlive its killed holder


def is_needed(container, security, *, in_userns: bool) -> bool:
    """Tell whether a process of this container may have CAP_SYS_PTRACE over the host's user namespace."""
    if in_userns and not container.record.rootless:
        return False  # the tail's file is root's, which is nobody inside
    if container.record.rootless and not container.record.cgroup_paths and security.seccomp is None:
        return False  # nothing to freeze with, and the tail escapes nothing that the container is held by
    process = container.config.process
    listed = (process.capabilities or {}).get("bounding", []) if process is not None else []
    return "CAP_SYS_PTRACE" in listed or _grants(security) or bool(container.record.extra.get("ptrace"))


def _grants(security) -> bool:
    return bool(security.caps[0] >> _CAP_SYS_PTRACE & 1)


class Guard:
    """Freeze a container, let one process in, thaw it. The container's lock is held meanwhile.

    One that is paused stays so. Raises BadTransition for such a one, unless `ignore_paused`.
    """

    __slots__ = ("container", "grants", "manager", "area", "froze", "ignore_paused", "destination")

    def __init__(self, container, security, *, ignore_paused: bool) -> None:
        self.container = container
        self.grants = _grants(security)
        self.manager = container.manager()
        self.area = _area_of(self.manager.paths)
        self.froze = False
        self.ignore_paused = ignore_paused
        self.destination = ""  # the frozen cgroup that the process belongs into
        if not self.area.paths:
            cause = "CAP_SYS_PTRACE needs the freezer controller or cgroup v2"
            if not self.manager.paths:
                cause += "; the container has no cgroup, and its seccomp filter could be escaped"
            raise Unsupported("exec", container.id, cause)

    def __enter__(self) -> Guard:
        container = self.container
        container.entry.lock()
        try:
            container.settle()
            self.froze = not container.is_frozen()
            if not self.froze:
                statuses.PausedStatusBehavior(container.id).exec(ignore_paused=self.ignore_paused)
            if self.grants and not container.record.extra.get("ptrace"):
                # From here on the container may have processes that its config does not tell of (exec --cap).
                container.record = container.entry.load()  # anew: update may have saved before we had the lock
                container.record.extra["ptrace"] = True
                container.entry.save(container.record)
            container.entry.mark(stores.GUARD, _mark(_FROZE if self.froze else _FOUND_PAUSED))
            try:
                self.area.create()
                self._confine()
                if self.froze:
                    self.manager.freeze()
                proc.stop_point("r-guarded")
            except BaseException:
                self._leave()
                raise
        except BaseException:
            container.entry.unlock()
            raise
        return self

    def _confine(self) -> None:
        """Have the area restrict what runs in it as the container's cgroups do: the program does not wait for admit().

        A cpuset is left out: it keeps nothing from anybody, and beside an exclusive one it would end that.
        Raises CgroupError.
        """
        area, paths = self.area, self.manager.paths
        if UNIFIED not in area.paths and "devices" not in area.paths:
            return  # the container's other hierarchies are joined at once
        from capsule.runtime import updating

        resources = updating.in_force(self.container)
        here = "devices" in area.paths or "devices" not in paths
        area.restricts_devices = here and not self.container.record.rootless
        if len(area.paths) < len(paths):  # the limits are those of hierarchies that are joined at once
            resources = {"devices": resources.get("devices")}
        area.apply_early(resources := _without_cpuset(resources))
        area.apply_late(resources)

    def join_fds_for_exec(self, sub: list[str], init_pid: int) -> tuple[int, list[int]]:
        """As the manager's, but with the area in place of the frozen cgroup."""
        targets = enter.targets(self.manager.paths, sub, init_pid)
        for name in self.area.paths:
            self.destination = targets[name]
            targets[name] = self.area.paths[name]
        return cgroups.from_record(targets, []).join_fds()

    def admit(self) -> None:
        """Move the process, which runs its program now, and what it has forked into the frozen cgroup.

        Raises CgroupError.
        """
        proc.stop_point("r-admitting")
        self.area.freeze()  # nothing forks while it is moved
        target = cgroups.from_record(dict.fromkeys(self.area.paths, self.destination), [])
        deadline = time.monotonic_ns() + _ADMIT_TIMEOUT_NS
        while pids := self.area.pids():
            for pid in pids:
                try:
                    target.attach(pid)
                except CgroupError as err:
                    if err.errno != _ESRCH:  # it has ended already
                        raise
            if time.monotonic_ns() > deadline:
                raise CgroupError("move the processes of", self.area.process_directory(), errno=errno.EBUSY)

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._leave()
        finally:
            self.container.entry.unlock()

    def _leave(self) -> None:
        try:
            _clear(self.area)
        finally:
            if self.froze:
                self.manager.thaw()
        self.container.entry.unmark(stores.GUARD)


def while_marked(container, work) -> None:
    """Do what freezes and thaws the container: whoever finds it frozen after our death thaws it. It is locked by us."""
    if container.is_frozen():
        work()  # paused, and nobody thaws it
        return
    container.entry.mark(stores.GUARD, _mark(_FROZE))
    try:
        work()
    finally:
        if not container.is_frozen():
            container.entry.unmark(stores.GUARD)


def while_still(container, work) -> None:
    """Do something while the container, which runs and is locked by us, is frozen."""
    manager = container.manager()

    def freeze_and_work() -> None:
        manager.freeze()
        try:
            proc.stop_point("engine-still")
            work()
        finally:
            manager.thaw()

    while_marked(container, freeze_and_work)


def lock(entry, *, kill: bool) -> bool:
    """Wait a little for the container's lock; with `kill`, end an exec whose guard hangs.

    False when another verb keeps the lock. Raises NotFound.
    """
    if _wait_for(entry, _PATIENCE_NS):
        return True
    return kill and _end_maker(entry) and _wait_for(entry, _END_NS)


def is_at_work(entry) -> bool:
    """Tell whether some exec's guard has not finished."""
    return _said(entry) is not None


def _wait_for(entry, patience_ns: int) -> bool:
    return cgroupfs.wait_until(entry.try_lock, time.monotonic_ns() + patience_ns)


def _end_maker(entry) -> bool:
    """Kill who made the mark; False where there is no mark (any more)."""
    words = (entry.marked(stores.GUARD) or b"").split()
    if len(words) < 3:
        return False
    ParentNoChildProcess(int(words[1]), int(words[2])).terminate()
    return True


def _mark(said: bytes) -> bytes:
    """Return a mark's text: what was done, and by whom."""
    me = posix.getpid()
    seen = proc_stat.read(me)
    return said + f" {me} {seen[1] if seen is not None else 0}".encode()


def _said(entry) -> bytes | None:
    """Return what the mark says was done, None without one."""
    text = entry.marked(stores.GUARD)
    return None if text is None else text.split()[0] if text else b""


def _area_of(paths: dict[str, str]):
    """Return the manager of the area beside the cgroup that freezes; without paths where nothing can freeze."""
    frozen = paths.get("freezer") or paths.get(UNIFIED)
    # Controllers that are mounted with the freezer share its directory.
    return cgroups.from_record({name: path + AREA for name, path in paths.items() if path == frozen}, [])


def _without_cpuset(resources: dict) -> dict:
    kept = dict(resources)
    for key, names in (("cpu", ("cpus", "mems")), ("unified", ("cpuset.",))):
        kept[key] = {name: value for name, value in (kept.get(key) or {}).items() if not name.startswith(names)}
    return kept


def _clear(area) -> None:
    """Kill who is in the area, if anybody is, and remove it."""
    if area.pids():
        area.kill(_SIGKILL)
    area.remove()


def recover(container) -> None:
    """Take back what a guard did whose maker has died. The caller has the container's lock. Raises CgroupError."""
    said = _said(container.entry)
    if said is None:
        return
    manager = container.manager()
    try:
        # An exec that was not done is not done: its process may be anywhere before its program.
        _clear(_area_of(manager.paths))
    finally:
        if said == _FROZE and manager.is_frozen():
            manager.thaw()
    container.entry.unmark(stores.GUARD)


def froze(container) -> bool:
    """Tell of a frozen container whether that is a guard's doing. A guard whose maker has died is taken back."""
    if _said(container.entry) != _FROZE:
        return False
    # A descriptor of its own: one that we hold a lock with would change that lock.
    fd = posix.open(".", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=container.entry.dir_fd)
    try:
        proc.flock(fd, proc.LOCK_EX | proc.LOCK_NB)
        recover(container)
    except BlockingIOError:
        pass  # it is at work
    finally:
        posix.close(fd)
    return True
