"""The initializer of a container's first process: from new namespaces to the tail, one step a line."""

from __future__ import annotations

import posix

from capsule._ext import nsexec, proc
from capsule.errors import KernelError
from capsule.init import steps
from capsule.init.base import Initializer
from capsule.linux import procfs
from capsule.protocol import hooks, messages
from capsule.protocol.init_config import INIT
from capsule.rootfs import operations, pivot


class InitializerStandardImpl(Initializer):
    """Prepare the root file system and the identity of the container, then wait in the tail for start."""

    __slots__ = ("proc_fd",)

    def init(self) -> None:
        config = self.config
        self.stop_point("stage2")
        if config.keyring is not None:
            steps.join_keyring(config.keyring)
        if config.new_network:
            nsexec.loopback_up()
        # Its processes are the caller's where a pid namespace was joined; what we write there is our own.
        self.proc_fd = procfs.open_private_proc(False)
        context = operations.Context(config.rootfs_path, self.proc_fd, self.request_source, config.pid_namespace)
        context.idmaps = config.idmaps
        for operation in config.rootfs_plan.prepare:
            operation.execute(context)
        self.stop_point("mounted")
        host_pid = self._hooks()
        pivot.pivot(context)
        self.stop_point("pivoted")
        self._names()
        for key, value in config.container_config.sysctl.items():
            steps.write_sysctl(self.proc_fd, key, value)
        if config.process_config is not None:
            steps.ensure_cwd(context.root_fd, config.process_config.cwd)
        for operation in config.rootfs_plan.finish:
            operation.execute(context)
        self._stdio(context)
        self._tail(context, host_pid)

    def _hooks(self) -> int:
        """Have R save the record and run its hooks, then run createContainer's; returns our pid on the host."""
        config = self.config
        shown = steps.open_namespaces() if config.shows_namespaces else ()
        data, _ = self.ask(messages.HOOKS, b"", shown)
        for fd in shown:
            posix.close(fd)
        host_pid = messages.words(data)[0]
        create_container = config.container_config.hooks.get("createContainer")
        if create_container:
            state = steps.hook_state(config, "creating", host_pid)
            hooks.run_hooks("createContainer", create_container, state, cwd=config.bundle)
        return host_pid

    def _stdio(self, context) -> None:
        process = self.config.process_config
        if process is None:
            return
        if process.terminal:
            self.take_console(context.console_master, context.console_slave)
        else:
            steps.own_stdio(process.uid, process.gid)

    def _names(self) -> None:
        container = self.config.container_config
        try:
            if container.hostname:
                proc.sethostname(container.hostname.encode())
            if container.domainname:
                proc.setdomainname(container.domainname.encode())
        except OSError as err:
            raise KernelError(str(err.strerror).partition(":")[0], container.hostname or "", errno=err.errno) from err

    def _tail(self, context, host_pid: int) -> None:
        config = self.config
        plan = steps.tail_plan_of(INIT, config, context.root_fd)
        plan.start_fd = config.start_fd
        plan.wait_ack = True  # R sets the limits first: without them nobody may start it
        start_container = config.container_config.hooks.get("startContainer")
        if start_container:
            plan.hooks = steps.tail_hooks(start_container)
            plan.hook_state = steps.hook_state(config, "created", host_pid)
        self.stop_point("tail")
        steps.before_tail(config)
        self.become_tail(plan, keep=[config.sync_fd, config.start_fd])
