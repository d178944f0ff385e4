"""Measure one call of a program: whole-process wall time, and CPU time with all it waited for."""

from __future__ import annotations

import os
import time

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Failed(Exception):
    """A measured program returned a status that it must not."""


class Sample(tuple):
    """(wall, cpu) in milliseconds."""

    __slots__ = ()


def measure(argv: list[str], log: str, *, status: int = 0) -> Sample:
    """Start argv by posix_spawn, wait for its end and return the sample; stdout and stderr go to log.

    The CPU time is of the process and of the children that it waited for (wait4); a process that it
    leaves behind counts from when somebody else reaps it.
    """
    actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
               (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
               (os.POSIX_SPAWN_DUP2, 1, 2)]
    begin = time.monotonic_ns()
    pid = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=actions)
    _, ended, usage = os.wait4(pid, 0)
    wall = time.monotonic_ns() - begin
    if os.waitstatus_to_exitcode(ended) != status:
        with open(log, encoding="utf-8", errors="replace") as file:
            raise Failed(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(ended)}: {file.read()[-500:]}")
    return Sample((wall / 1e6, (usage.ru_utime + usage.ru_stime) * 1e3))


def reap() -> None:
    """Collect the containers' first processes: this program is their subreaper."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
