"""Being told when the kernel has killed for want of memory: an eventfd on v1, memory.events on v2."""

from __future__ import annotations

import errno
import posix

from capsule.cgroups import cgroupfs, stats
from capsule.errors import CgroupError

UNIFIED = ""
POLLIN, POLLPRI = 0x001, 0x002  # man 2 poll


def watch(paths: dict[str, str]):
    """Return a watch of the container's memory, None where nothing counts it. Raises CgroupError."""
    if "memory" in paths:
        return EventWatch(paths["memory"])
    if UNIFIED in paths and cgroupfs.has(paths[UNIFIED], "memory.events"):
        return FileWatch(paths[UNIFIED])
    return None


class EventWatch:
    """cgroup v1: an eventfd given to cgroup.event_control (admin-guide/cgroup-v1/memory, section 10)."""

    __slots__ = ("fd", "_directory")
    events = POLLIN

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.fd = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
        try:
            control_fd = posix.open(f"{directory}/memory.oom_control", posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                cgroupfs.write(directory, "cgroup.event_control", f"{self.fd} {control_fd}")
            finally:
                posix.close(control_fd)
        except OSError as err:
            posix.close(self.fd)
            raise CgroupError("watch", f"{directory}/memory.oom_control", errno=err.errno or 0) from err
        except CgroupError:
            posix.close(self.fd)
            raise

    def take(self) -> bool:
        """Tell whether memory ran out since the last call."""
        try:
            posix.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        # The removal of the cgroup is told in the same way.
        return cgroupfs.has(self._directory, "cgroup.event_control")

    def close(self) -> None:
        posix.close(self.fd)


class FileWatch:
    """cgroup v2: memory.events, whose readers are woken when a count changes (admin-guide/cgroup-v2)."""

    __slots__ = ("fd", "_directory", "_count")
    events = POLLPRI

    def __init__(self, directory: str) -> None:
        self._directory = directory
        try:
            self.fd = posix.open(f"{directory}/memory.events", posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as err:
            raise CgroupError("watch", f"{directory}/memory.events", errno=err.errno or 0) from err
        self._count = self._read()

    def take(self) -> bool:
        """Tell whether the kernel has killed since the last call."""
        before, self._count = self._count, self._read()
        return self._count > before

    def _read(self) -> int:
        try:
            posix.pread(self.fd, 4096, 0)  # only a read of the watched file itself arms the next wake-up
            return stats.table(self._directory, "memory.events").get("oom_kill", 0)
        except OSError as err:
            if err.errno != errno.ENODEV:
                raise
        except CgroupError as err:
            if err.errno not in (errno.ENOENT, errno.ENODEV):
                raise
        return 0  # removed meanwhile

    def close(self) -> None:
        posix.close(self.fd)
