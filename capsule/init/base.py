"""The initializer's contract, and what both kinds do: talk to R, report a failure, become the tail.

Runs in S2: sealed, inside the container's namespaces. Nothing here imports, opens or prints.
"""

from __future__ import annotations

import posix

from capsule._ext import nsexec, proc
from capsule.errors import ChildError
from capsule.protocol import messages, tail_plan

_FAILED = 1


class Initializer:
    """Take a process from fresh namespaces to the tail's door; `init` never returns."""

    __slots__ = ("config", "tty_fd")

    def __init__(self, config) -> None:
        self.config = config
        self.tty_fd = -1  # the pty slave, once there is one

    def init(self) -> None:
        raise NotImplementedError

    def ask(self, kind: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> tuple[bytes, list[int]]:
        """Send one request to R and return its answer's payload and descriptors; leave when R has failed."""
        try:
            messages.send(self.config.sync_fd, kind, payload, fds)
            answer, data, answer_fds = messages.receive(self.config.sync_fd)
        except OSError:
            posix._exit(_FAILED)
        if answer != messages.ACK:
            posix._exit(_FAILED)
        return data, answer_fds

    def request_source(self, path: str, flags: int) -> int:
        """Ask R, which has the host's privilege, for a detached mount of a host path (flags: see messages)."""
        payload = messages.word(flags) + path.encode("utf-8", "surrogateescape")
        _, fds = self.ask(messages.SOURCE, payload)
        if len(fds) != 1:
            raise ChildError("open mount source", path, "the parent sent no descriptor")
        return fds[0]

    def take_console(self, master_fd: int, slave_fd: int) -> None:
        """Give R the pty's master; the slave becomes the tail's terminal."""
        self.ask(messages.CONSOLE, b"", (master_fd,))
        posix.close(master_fd)
        self.tty_fd = slave_fd

    def stop_point(self, name: str) -> None:
        """Stop for a test: pid 1 of a namespace cannot stop itself, so R sends the signal."""
        if proc.stop_wanted(name):
            self.ask(messages.STOP)

    def become_tail(self, plan, *, keep: list[int]) -> None:
        """Replace this process by the tail (or clone it, into an existing pid namespace, and leave)."""
        config = self.config
        plan_fd = proc.memfd("capsule-plan", tail_plan.encode(plan))
        unified_fd, tasks_fds = config.cgroup_fds
        keep = [*keep, *[fd for fd in (plan.proc_fd, plan.agent_fd) if fd >= 0]]
        nsexec.exec_tail(config.program_fd, plan_fd, config.preserve_fds, keep, self.tty_fd, config.clones_tail,
                         config.sync_fd, unified_fd, tasks_fds)


def run(initializer: Initializer) -> None:
    """Run an initializer to its end; a failure becomes the error record, and the process leaves."""
    try:
        initializer.init()
    except BaseException as error:  # nothing may reach the interpreter's own reporting (it opens files)
        try:
            messages.send(initializer.config.sync_fd, messages.FAILED, messages.encode_failure(error))
        except OSError:
            pass
    posix._exit(_FAILED)
