"""A container process as every verb sees it: known by pid and start time. Verbs that make none load no more."""

from __future__ import annotations

import posix

from capsule._ext import proc
from capsule.errors import ChildError, KernelError
from capsule.linux import proc_stat

SIGKILL = 9
_ESRCH = 3


class ParentProcess:
    """A container process seen from R."""

    __slots__ = ("pid",)

    def start(self) -> None:
        raise NotImplementedError

    def terminate(self) -> None:
        raise NotImplementedError

    def wait(self) -> int:
        raise NotImplementedError

    def signal(self, number: int) -> None:
        raise NotImplementedError


class ParentNoChildProcess(ParentProcess):
    """A process that another run of the launcher made: known by pid and start time, signalled by pidfd."""

    __slots__ = ("start_time",)

    def __init__(self, pid: int, start_time: int) -> None:
        self.pid = pid
        self.start_time = start_time

    def start(self) -> None:
        raise ChildError("start process", str(self.pid), "it is not our child")

    def is_alive(self) -> bool:
        """Tell whether that very process still runs."""
        return proc_stat.is_alive(self.pid, self.start_time)

    def open(self) -> int:
        """Open its pidfd, or return -1 when it has gone (its number may belong to another by now)."""
        try:
            pidfd = proc.pidfd_open(self.pid)
        except OSError:
            return -1
        # The start time is read after the pidfd was opened: a match proves that the pidfd is its.
        if self.is_alive():
            return pidfd
        posix.close(pidfd)
        return -1

    def signal(self, number: int) -> None:
        """Send a signal.

        Raises KernelError: ESRCH when it has gone.
        """
        pidfd = self.open()
        if pidfd < 0:
            raise KernelError("kill", str(self.pid), errno=_ESRCH)
        try:
            proc.pidfd_send_signal(pidfd, number)
        except OSError as err:
            raise KernelError("kill", str(self.pid), errno=err.errno) from err
        finally:
            posix.close(pidfd)

    def terminate(self) -> None:
        """Kill it; fine when it has gone."""
        try:
            self.signal(SIGKILL)
        except KernelError as err:
            if err.errno != _ESRCH:
                raise

    def wait(self, timeout_ms: int = -1) -> int:
        """Wait until it has gone; returns 1, or 0 when it still runs after timeout_ms."""
        pidfd = self.open()
        if pidfd < 0:
            return 1
        try:
            return 1 if proc.poll([(pidfd, proc.POLLIN)], timeout_ms) else 0
        finally:
            posix.close(pidfd)
