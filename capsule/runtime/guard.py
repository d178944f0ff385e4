"""Keep a container's processes from seizing an exec's tail while it still has privilege.

The tail of an exec is visible in the container's pid namespace from its clone to its execve. The kernel lets
nobody look into it, because it is not dumpable, with one exception: CAP_SYS_PTRACE in the user namespace that
its memory belongs to, the host's (ptrace(2), PTRACE_MODE). A container without a user namespace of its own that
may have that capability is therefore frozen for those milliseconds; the new process joins the frozen cgroup
only after its execve.
"""

from __future__ import annotations

from capsule import cgroups
from capsule.cgroups.manager import UNIFIED
from capsule.errors import CgroupError

_CAP_SYS_PTRACE = 19
_ESRCH = 3


def is_needed(config, security, *, in_userns: bool) -> bool:
    """Tell whether a process of this container may have CAP_SYS_PTRACE over the host's user namespace."""
    if in_userns:
        return False
    process = config.process
    listed = (process.capabilities or {}).get("bounding", []) if process is not None else []
    return "CAP_SYS_PTRACE" in listed or bool(security.caps[0] >> _CAP_SYS_PTRACE & 1)


class Guard:
    """Freeze a container, let one process in, thaw it. The container's lock is held meanwhile."""

    def __init__(self, container) -> None:
        self.container = container
        self.manager = container.manager()
        self._frozen = "freezer" if "freezer" in self.manager.paths else UNIFIED

    def entry(self):
        """The cgroups that the new process joins at once: all but the frozen one."""
        paths = {name: path for name, path in self.manager.paths.items() if name != self._frozen}
        return cgroups.from_record(paths, [])

    def __enter__(self) -> Guard:
        self.container.entry.lock()
        self.manager.freeze()
        return self

    def admit(self, pid: int) -> None:
        """Move the process, which runs its program now, into the frozen cgroup.

        Raises CgroupError.
        """
        try:
            cgroups.from_record({self._frozen: self.manager.paths[self._frozen]}, []).attach(pid)
        except CgroupError as err:
            if err.errno != _ESRCH:  # it has ended already
                raise

    def __exit__(self, *exc_info: object) -> None:
        self.manager.thaw()
        self.container.entry.unlock()
