"""exec: one more process in a container that is there."""

from __future__ import annotations

import posix

from capsule import log
from capsule.errors import CapsuleError, StateError
from capsule.protocol.init_config import EXEC, InitExecConfig
from capsule.runtime import console, guard, namespaces, pid_file, status as statuses
from capsule.runtime.parent_process import ParentChildProcess, StartHook, pidfd_sender, set_limits
from capsule.security import plan as security_plan
from capsule.spec.model import Process as ProcessSpec

_SIGKILL = 9


class ExecStartHook(StartHook):
    """While an exec starts: console, then limits and pid file on its tail."""

    __slots__ = ("request", "security", "keeper", "pidfd_sender", "resctrl_groups", "manager")

    def __init__(self, process, security, keeper, pidfd_sender, resctrl_groups: list[str], manager) -> None:
        StartHook.__init__(self)
        self.request = process
        self.security = security
        self.keeper = keeper
        self.pidfd_sender = pidfd_sender
        self.resctrl_groups = resctrl_groups
        self.manager = manager

    def staged(self, process) -> None:
        if self.resctrl_groups:
            from capsule.cgroups import resctrl

            resctrl.join(self.resctrl_groups, process.pid)

    def ready(self, process) -> None:
        self.manager.admit(process.pid)
        set_limits(process.pid, self.security)
        if self.request.pid_file:
            pid_file.write(self.request.pid_file, process.pid)
        if self.pidfd_sender is not None:
            self.pidfd_sender.send(process.pid)
        StartHook.ready(self, process)

    def console(self, master_fd: int) -> None:
        self.keeper.take(master_fd)


def execute(container, process) -> ParentChildProcess:
    """Start a process in a created or running container; returns when its program has been executed.

    Raises BadTransition, ChildError, CapsuleError. No child is left then.
    """
    status = container.observe()
    statuses.new_container_status_behavior(status, container.id).exec(ignore_paused=process.ignore_paused)
    config = container.config
    spec = process_spec(config, process)
    console.check(spec.terminal, process)
    if process.preserve_fds:
        from capsule.runtime import preserved_fds

        preserved_fds.check(process.preserve_fds)
    in_userns = "user" in container.record.extra.get("namespaces", [])
    security = security_plan.make_exec(spec, config, in_userns=in_userns, extra_caps=process.caps, warn=log.warning,
                                       seccomp_cache=f"{container.root}/.seccomp")
    security.oom_score_adj = None
    orders = InitExecConfig()
    orders.container_config = config
    orders.process_config = spec
    orders.id = process.id or container.id
    orders.security = security
    orders.preserve_fds = process.preserve_fds
    orders.in_userns = in_userns
    orders.clones_tail = True
    orders.pdeathsig = 0 if process.detach else _SIGKILL
    if security.listener_path is not None:
        from capsule.runtime import agent

        orders.agent_state = agent.process_state(
            container, config, statuses.NAMES[status], container.record.init_process_pid)
        orders.agent_fd = agent.connect(security.listener_path)
    paused = status == statuses.PAUSED
    if guard.is_needed(container, security, in_userns=in_userns):
        with guard.Guard(container, security, ignore_paused=process.ignore_paused) as guarded:
            child = _start(container, process, orders, guarded, patient=False)
            guarded.admit()
        return child
    return _start(container, process, orders, container.manager(), patient=paused)


def _start(container, process, orders: InitExecConfig, manager, *, patient: bool) -> ParentChildProcess:
    """Join the container's namespaces and the cgroups of its manager, or of its guard.

    `patient`: the container is paused, and the process will wait for resume.
    """
    keeper = console.Keeper(process)
    unified_fd, tasks_fds = manager.join_fds_for_exec(process.cgroup, container.record.init_process_pid)
    words = container.record.extra.get("namespaces", [])
    if unified_fd >= 0 and (orders.in_userns or "cgroup" in words):
        # Inside, the clone may not name the cgroup: EACCES in a user namespace, and where the mount has nsdelegate
        # ENOENT in a cgroup namespace, which no process enters then. A file that we opened is judged by what we are.
        tasks_fds.append(posix.open("cgroup.procs", posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=unified_fd))
        posix.close(unified_fd)
        unified_fd = -1
    orders.cgroup_fds = (unified_fd, tasks_fds)
    joins = _join(container, words)
    try:
        keeper.connect()
        groups = container.record.extra.get("resctrl", {}).get("groups", [])
        sender = pidfd_sender(process, b"setns")
        hook = ExecStartHook(process, orders.security, keeper, sender, groups, container.manager())
        child = ParentChildProcess((0, joins, -1, [], None), orders, hook,
                                   initialize=container.initialize, initializer_type=EXEC, patient=patient)
        child.start()
    finally:
        for fd in (unified_fd, *tasks_fds, *[fd for fd, _ in joins]):
            if fd >= 0:
                posix.close(fd)
    container.console = keeper
    return child


def _join(container, words: list[str]) -> list[tuple[int, int]]:
    init = container.init_process()
    pidfd = init.open()
    if pidfd < 0:
        raise StateError("exec", container.id, "cannot exec in a stopped container")
    try:
        joins = namespaces.of_process(init.pid, words)
        # Still the same process after its files were opened: the namespaces are the container's.
        if not init.is_alive():
            for fd, _ in joins:
                posix.close(fd)
            raise StateError("exec", container.id, "cannot exec in a stopped container")
        return joins
    finally:
        posix.close(pidfd)


def process_spec(config, process) -> ProcessSpec:
    """Build what to run: the given process.json, or the config's process changed by the flags.

    Raises CapsuleError.
    """
    if process.spec is not None:
        spec = process.spec
        spec.terminal = spec.terminal or process.tty
        return _identity(spec, process)
    base = config.process
    spec = ProcessSpec()
    if base is not None:
        for slot in ProcessSpec.__slots__:
            setattr(spec, slot, getattr(base, slot))
    if not process.args:
        raise CapsuleError("exec", "", "process args cannot be empty")
    spec.args = process.args
    spec.terminal = process.tty
    if process.cwd:
        spec.cwd = process.cwd
    spec.env = [*spec.env, *_variables(process.env or [])]
    if process.no_new_privs is not None:
        spec.no_new_privileges = process.no_new_privs or spec.no_new_privileges
    return _identity(spec, process)


def _identity(spec: ProcessSpec, process) -> ProcessSpec:
    if process.user:
        spec.uid, spec.gid = parse_user(process.user, spec.gid)
    if process.apparmor:
        spec.apparmor_profile = process.apparmor
    if process.process_label:
        spec.selinux_label = process.process_label
    if process.additional_gids:
        spec.additional_gids = [*spec.additional_gids, *process.additional_gids]
    if not spec.cwd.startswith("/"):
        raise CapsuleError("exec", f"--cwd {spec.cwd!r}", "the working directory must be absolute")
    return spec


def _variables(env: list) -> list:
    for entry in env:
        if entry.find("=") < 1:
            raise CapsuleError("exec", f"--env {entry!r}", "expected NAME=value")
    return env


def parse_user(text: str, gid: int) -> tuple[int, int]:
    """Read UID[:GID], decimal ASCII digits only; a name is never looked up here (CVE-2016-3697).

    Raises CapsuleError.
    """
    uid_text, colon, gid_text = text.partition(":")
    uid = _id(uid_text, text)
    return uid, _id(gid_text, text) if colon else gid


def _id(digits: str, whole: str) -> int:
    if not digits or digits.strip("0123456789") or int(digits[:11]) > 0xFFFFFFFE:
        raise CapsuleError("exec", f"--user {whole!r}", "expected UID[:GID], each from 0 to 4294967294")
    return int(digits)
