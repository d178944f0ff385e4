"""The initializer of a later process: joined namespaces, a user, a program, the tail. As little as it can."""

from __future__ import annotations

from capsule._ext import openbeneath
from capsule.errors import Unsupported
from capsule.init import steps
from capsule.init.base import Initializer, run
from capsule.protocol.init_config import EXEC
from capsule.rootfs import console


class InitializerExecImpl(Initializer):
    """Resolve user, environment and program inside the container, then have the tail run them.

    This process has joined the container's pid namespace for its children only: nothing inside can see an
    interpreter. The tail, its child, is the first that is visible.
    """

    __slots__ = ()

    def init(self) -> None:
        config = self.config
        self.stop_point("exec-joined")
        process = config.process_config
        root_fd = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
        if process.terminal:
            self.take_console(*console.open_pair(root_fd, process.uid, process.console_size))
        else:
            steps.own_stdio(process.uid, process.gid)
        plan = steps.tail_plan_of(EXEC, config, root_fd)
        plan.wait_ack = True  # R sets the resource limits on the tail first
        steps.before_tail(config)
        # The tail, a clone, joins the cgroup last of all: no interpreter is ever charged to the container.
        self.become_tail(plan, keep=[config.sync_fd])


def start_initialization(initializer_type: str, config) -> None:
    """Run the initializer in S2, for an R that makes later processes only; never returns.

    That R need not load what a first process wants. Raises Unsupported for another type.
    """
    if initializer_type != EXEC:
        raise Unsupported("make initializer", initializer_type, f"this program was started for {EXEC!r} alone")
    run(InitializerExecImpl(config))
