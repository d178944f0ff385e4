"""create: from a checked config to a tail that waits for start; whatever fails leaves nothing behind."""

from __future__ import annotations

import posix
import time

from capsule import log
from capsule._ext import fdpass, proc
from capsule.errors import CapsuleError, ChildError, KernelError
from capsule.linux import namespaces as ns_kinds, proc_stat
from capsule.protocol.init_config import INIT, InitExecConfig
from capsule.runtime import console, destruction, hooks, pid_file
from capsule.runtime.blueprint import Blueprint, draw
from capsule.runtime.parent_process import FORWARDED, ParentChildProcess, StartHook, pidfd_sender, set_limits
from capsule.state import journal, record as records, store as stores

_SIGKILL = 9


class InitStartHook(StartHook):
    """While a first process starts: record, runtime hooks, console, limits."""

    __slots__ = ("container", "blueprint", "console_keeper", "pidfd_sender")

    def __init__(self, container, blueprint: Blueprint, console_keeper, pidfd_sender) -> None:
        StartHook.__init__(self)
        self.container = container
        self.blueprint = blueprint
        self.console_keeper = console_keeper
        self.pidfd_sender = pidfd_sender  # runtime.pidfd_socket.Sender, None where nobody wants it

    def map_ids(self, process) -> None:
        self.blueprint.manager.admit(process.stage_pid or process.pid)
        rootless = self.blueprint.rootless
        if rootless is not None and rootless.user:
            rootless.enter(process)
        else:
            StartHook.map_ids(self, process)

    def staged(self, process) -> None:
        self.blueprint.manager.admit(process.pid)
        if self.blueprint.resctrl is not None:
            from capsule.cgroups import resctrl

            resctrl.join(self.blueprint.resctrl.groups(), process.pid)
        if self.blueprint.rootless is None:
            _set_oom_score(process.pid, self.blueprint.security)
        self.container.process = process

    def hooks(self, process) -> None:
        container = self.container
        container.record = _record_of(container, self.blueprint, process.pid)
        self._journal_process()
        container.entry.save(container.record)
        proc.stop_point("r-recorded")
        config = self.blueprint.config
        if self.blueprint.net_devices is not None:
            self.blueprint.net_devices.move(process.pid)
        if container.network is not None:
            container.network.namespace_fds = process.namespace_fds
            container.network.connect(process.pid)
        for kind in ("prestart", "createRuntime"):
            hooks.run(container, kind, config, "creating", process.pid)

    def ready(self, process) -> None:
        StartHook.ready(self, process)
        proc.stop_point("r-ready")
        container = self.container
        if process.pid != container.record.init_process_pid:
            # The tail is a clone of S2 (joined pid namespace): only now its pid is known.
            _fill_process(container.record, process.pid)
            self._journal_process()
            container.entry.save(container.record)
        if self.pidfd_sender is not None:
            self.pidfd_sender.send(process.pid)
        if self.blueprint.process.overlay is not None:
            container.entry.drop_root()
        set_limits(process.pid, self.blueprint.security)
        self.blueprint.manager.apply_late(self.blueprint.config.resources)

    def _journal_process(self) -> None:
        """Name the process where its cgroups would not: they were there before, so they may hold others' as well."""
        if not self.blueprint.manager.made_leaves():
            record = self.container.record
            self.container.entry.journal_add(journal.PID, record.init_process_pid, record.init_process_start_time)

    def console(self, master_fd: int) -> None:
        self.console_keeper.take(master_fd)


def create(container, process) -> None:
    """Make the container up to its waiting tail. The container's entry stays open and locked.

    Raises CapsuleError; nothing is left then.
    """
    # From here on no signal ends us half-way: the first is read while the children are served.
    proc.block_signals(FORWARDED)
    if b"LISTEN_FDS" in posix.environ:
        from capsule.runtime import listen_fds

        listen_fds.take(container.config, process)
    if process.preserve_fds:
        from capsule.runtime import preserved_fds

        preserved_fds.check(process.preserve_fds)
    if b"NOTIFY_SOCKET" in posix.environ:
        from capsule.runtime import notify_socket

        container.notify = notify_socket.take()
        if container.notify is not None:
            container.notify.offer(container)
    blueprint = draw(container, process)
    keeper = console.Keeper(process)
    try:
        container.entry = container.store.create(container.id)
    except BaseException:
        blueprint.namespaces.close()
        raise
    try:
        _make(container, blueprint, keeper)
        if process.pid_file:
            pid_file.write(process.pid_file, container.record.init_process_pid)
        container.console = keeper
    except BaseException as error:
        _undo(container, blueprint, error)
        raise
    finally:
        blueprint.namespaces.close()
        if blueprint.net_devices is not None:
            blueprint.net_devices.close()


def _make(container, blueprint: Blueprint, keeper) -> None:
    entry, manager = container.entry, blueprint.manager
    proc.stop_point("r-entry")
    if container.notify is not None:
        container.notify.make(entry)
    entry.journal_add(journal.CGROUP, *manager.planned())
    if manager.unit is not None:
        entry.journal_add(journal.UNIT, manager.unit["name"], manager.unit["user"])
    if not blueprint.namespaces.has("mount"):
        from capsule.rootfs import host_tree

        entry.journal_add(journal.MOUNT, *host_tree.before(blueprint.rootfs_path))
    if blueprint.resctrl is not None:
        entry.journal_add(journal.RESCTRL, *blueprint.resctrl.planned())
    proc.stop_point("r-journal")
    if blueprint.process.overlay is not None:
        entry.make_root()
    if container.network is not None:
        container.network.prepare(entry, blueprint.config.hostname or container.id)
    manager.create()
    if blueprint.resctrl is not None:
        blueprint.resctrl.create()
    proc.stop_point("r-cgroup")
    manager.apply_early(blueprint.config.resources)
    if blueprint.cgroup_owner is not None:
        manager.delegate(blueprint.cgroup_owner)
    unified_fd, tasks_fds = manager.join_fds()
    start_fd = fdpass.listen_seqpacket(entry.dir_fd, stores.START_SOCKET)
    keeper.connect()
    orders = _orders(container, blueprint, start_fd)
    sender = pidfd_sender(blueprint.process, b"standard")
    child = ParentChildProcess(
        (blueprint.namespaces.unshare, blueprint.namespaces.joins, unified_fd, tasks_fds, blueprint.time_offsets),
        orders,
        InitStartHook(container, blueprint, keeper, sender),
        initialize=container.initialize,
        initializer_type=INIT,
        id_maps=blueprint.id_maps,
        patient="createContainer" in blueprint.config.hooks,
    )
    container.process = child
    _start(child, blueprint)
    for fd in (start_fd, unified_fd, *tasks_fds):
        if fd >= 0:
            posix.close(fd)


def _start(child: ParentChildProcess, blueprint: Blueprint) -> None:
    rootless, security = blueprint.rootless, blueprint.security
    if rootless is None:
        child.start()
        return
    rootless.lend_oom_score(None if security is None else security.oom_score_adj)
    try:
        child.start()
    except ChildError as err:
        raise rootless.explained(err) from err
    finally:
        rootless.return_oom_score()


def _orders(container, blueprint: Blueprint, start_fd: int) -> InitExecConfig:
    process, plan = blueprint.process, blueprint.namespaces
    orders = InitExecConfig()
    orders.container_config = blueprint.config
    orders.process_config = blueprint.config.process
    orders.id = container.id
    orders.start_fd = start_fd
    orders.rootfs_plan = blueprint.rootfs_plan
    orders.idmaps = plan.idmaps
    orders.rootfs_path = blueprint.rootfs_path
    orders.bundle = blueprint.bundle
    orders.security = blueprint.security
    orders.preserve_fds = process.preserve_fds
    orders.keyring = None if process.no_new_keyring else f"_ses.{container.id}"
    orders.new_network = "network" in plan.new
    orders.in_userns = plan.has("user")
    orders.shows_namespaces = container.network is not None and bool(container.network.user_mode)
    orders.clones_tail = "pid" in plan.joined
    orders.pid_namespace = plan.joined_fd("pid")
    orders.has_mount_ns = plan.has("mount")
    orders.no_pivot = process.no_pivot
    orders.pdeathsig = 0 if process.detach else _SIGKILL
    if blueprint.security is not None and blueprint.security.listener_path is not None:
        from capsule.runtime import agent

        orders.agent_fd = agent.connect(blueprint.security.listener_path)
        orders.agent_state = agent.process_state(container, blueprint.config, "created", None)
    return orders


def _fill_process(record, pid: int) -> None:
    seen = proc_stat.read(pid)
    record.init_process_pid = pid
    record.init_process_start_time = seen[1] if seen is not None else 0
    record.namespace_paths = records.namespace_paths(pid)


def _record_of(container, blueprint: Blueprint, pid: int):
    config, manager = blueprint.config, blueprint.manager
    record = records.StateStorage(container.id)
    _fill_process(record, pid)
    record.create_time = records.format_time(time.time_ns())
    record.config = config.raw
    record.cgroup_paths = manager.paths
    record.cgroup_made = manager.made
    record.oci_version = config.oci_version
    record.bundle = blueprint.bundle
    record.rootfs = blueprint.rootfs_path
    record.annotations = config.annotations
    record.owner_uid = posix.getuid()
    record.rootless = blueprint.rootless is not None
    record.extra = {
        "hooks": [kind for kind in ("poststart", "poststop") if kind in config.hooks],
        "namespaces": [word for word in ns_kinds.KINDS if blueprint.namespaces.has(word)],
        "private_pids": "pid" in blueprint.namespaces.new,
        "has_process": config.process is not None,
    }
    if blueprint.process.overlay is not None:
        record.extra["overlay"] = {key: blueprint.process.overlay[key] for key in ("lower", "upper", "work")}
    if manager.unit is not None:
        record.systemd = True
        record.extra["unit"] = manager.unit
    if container.notify is not None:
        record.extra["notify"] = True
    if container.network is not None:
        container.network.note(record)
    if blueprint.resctrl is not None:
        record.extra["resctrl"] = {"groups": blueprint.resctrl.groups(), "made": blueprint.resctrl.made}
    return record


def _set_oom_score(pid: int, security) -> None:
    if security is None or security.oom_score_adj is None:
        return
    try:
        fd = posix.open(f"/proc/{pid}/oom_score_adj", posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, str(security.oom_score_adj).encode())
        finally:
            posix.close(fd)
    except OSError as err:
        raise KernelError("write oom_score_adj", str(security.oom_score_adj), errno=err.errno) from err


def _undo(container, blueprint: Blueprint, error: BaseException) -> None:
    """Take back what create made; a failure of the undoing never hides the first."""
    try:
        if container.process is not None:
            container.process.terminate()
        if blueprint.net_devices is not None:
            blueprint.net_devices.give_back()
        if blueprint.resctrl is not None:
            destruction.remove_resctrl(blueprint.resctrl.made)
        destruction.remove(container, blueprint.manager, blueprint.config)
    except CapsuleError as err:
        log.warning(f"clean up after {error}: {err}")
