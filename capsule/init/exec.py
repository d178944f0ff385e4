"""The initializer of a later process: joined namespaces, a user, a program, the tail. As little as it can."""

from __future__ import annotations

import posix

from capsule.init import steps
from capsule.init.base import Initializer
from capsule.protocol import messages
from capsule.protocol.init_config import EXEC
from capsule.rootfs import operations


class InitializerExecImpl(Initializer):
    """Resolve user, environment and program inside the container, then have the tail run them.

    This process has joined the container's pid namespace for its children only: nothing inside can see an
    interpreter. The tail, its child, is the first that is visible.
    """

    def init(self) -> None:
        config = self.config
        self.stop_point("exec-joined")
        process = config.process_config
        if process.terminal:
            context = operations.Context("/", -1, None)
            master_fd, slave_fd = steps.open_console(context, process)
            self.ask(messages.CONSOLE, b"", (master_fd,))
            posix.close(master_fd)
            steps.take_console(slave_fd)
        else:
            steps.own_pipes(process.uid, process.gid)
        plan = steps.tail_plan_of(EXEC, config)
        plan.wait_ack = True  # R sets the resource limits on the tail first
        steps.before_tail(config)
        # A child joins the cgroup, last of all: no interpreter is ever charged to the container.
        self.become_tail(plan, keep=[config.sync_fd], clone_first=True)
