"""A container, inside the launcher: the object that every verb works on."""

from __future__ import annotations

import posix

from capsule import cgroups, log
from capsule._ext import fdpass
from capsule.cgroups import freezer
from capsule.errors import CapsuleError, NotFound
from capsule.linux import proc_stat
from capsule.runtime import status as statuses
from capsule.runtime.known_process import SIGKILL, ParentNoChildProcess
from capsule.state import store as stores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.runtime.console import Keeper
    from capsule.runtime.networking import Networking
    from capsule.runtime.notify_socket import NotifySocket
    from capsule.runtime.parent_process import ParentChildProcess
    from capsule.runtime.process import Process
    from capsule.state.record import StateStorage
    from capsule.state.store import Entry

_TRIES = 3  # looks at a frozen container; execs would have to come and go exactly between them


class Container:
    """One container: its entry in the store and, once created, its record.

    Built by Factory. `config` is parsed from the record when it is first asked for: most verbs never do. Its methods
    are those of capsule.Container and raise the same errors; start, pause, resume and destroy want the container
    locked: by its own create, or by Factory.load.
    """

    __slots__ = ("store", "id", "bundle", "entry", "record", "process", "console", "initialize", "_config",
                 "_is_detached", "notify", "network")
    if TYPE_CHECKING:
        record: StateStorage  # None before it is created and after it is destroyed: see _recorded

    def __init__(self, store, id: str, *, bundle: str, initialize, config=None) -> None:
        self.store = store
        self.id = id
        self.bundle = bundle  # absolute
        self.entry: Entry | None = None  # open while a verb works on it
        self.record = None  # type: ignore[assignment]  # see above
        self.process: ParentChildProcess | None = None  # the child we made, in the run that created it
        self.console: Keeper | None = None  # of that run
        self.initialize = initialize  # S2's first Python: (initializer type, InitExecConfig)
        self._config = config
        self._is_detached = False
        self.notify: NotifySocket | None = None  # of the run that starts it, where its supervisor wants to hear of it
        self.network: Networking | None = None  # of the run that creates it, where networks were asked for

    @property
    def root(self) -> str:
        return self.store.root

    @property
    def config(self):
        """The configuration as it was when the container was created."""
        if self._config is None:
            from capsule.spec.load import load_config

            self._config = load_config(self._recorded().config)
        return self._config

    def replace_config(self, config) -> None:
        """Take another configuration; the container has not been created yet."""
        self._config = config

    def state(self) -> StateStorage:
        """The record. Raises NotFound."""
        return self._recorded()

    def _recorded(self) -> StateStorage:
        if self.record is None:
            raise NotFound(f'container "{self.id}" does not exist')
        return self.record

    @property
    def init(self) -> ParentChildProcess | None:
        """The first process, None where another run created it."""
        return self.process

    def init_process(self) -> ParentNoChildProcess:
        """The first process, known by pid and start time."""
        record = self._recorded()
        return ParentNoChildProcess(record.init_process_pid, record.init_process_start_time)

    def manager(self):
        """The cgroups that the record names."""
        record = self._recorded()
        return cgroups.from_record(record.cgroup_paths, record.cgroup_made, record.extra.get("unit"))

    def is_frozen(self) -> bool:
        """Tell whether the processes are frozen, without the rest of what a manager needs."""
        return freezer.is_frozen(self.record.cgroup_paths)

    def observe(self) -> int:
        """Ask the kernel for the status: nothing about it is remembered."""
        record = self._recorded()
        if not proc_stat.is_alive(record.init_process_pid, record.init_process_start_time):
            return statuses.STOPPED
        if self.is_frozen() and self._is_paused():
            return statuses.PAUSED
        return statuses.CREATED if self._waits_for_start() else statuses.RUNNING

    status = observe

    def _is_paused(self) -> bool:
        """Tell a frozen container that was paused from one that an exec keeps frozen for a moment."""
        from capsule.runtime import guard

        for _ in range(_TRIES):
            if guard.froze(self):
                return False
            # The mark goes after the thawing: frozen again without one, it was paused, or another exec came between.
            if not self.is_frozen():
                return False
        return True

    def settle(self) -> None:
        """Under the container's lock: take back what an exec that died had frozen. Raises CgroupError."""
        assert self.entry is not None
        if posix.access(stores.GUARD, posix.F_OK, dir_fd=self.entry.dir_fd):
            from capsule.runtime import guard

            guard.recover(self)

    def behavior(self) -> statuses.ContainerStatusBehavior:
        """What the present status permits."""
        return statuses.new_container_status_behavior(self.observe(), self.id)

    def _waits_for_start(self) -> bool:
        assert self.entry is not None
        # The tail closes its listener when start has spoken to it; a connection that says nothing is a probe.
        try:
            fd = fdpass.connect_seqpacket(self.entry.dir_fd, stores.START_SOCKET, wait=False)
        except BlockingIOError:
            return True  # it was stopped, and many have asked since
        except OSError:
            return False
        posix.close(fd)
        return True

    def oci_state(self) -> dict:
        """The state as runtime-spec runtime.md#state has it, with runc's further keys."""
        record = self._recorded()
        status = self.observe()
        state = {
            "ociVersion": record.oci_version,
            "id": self.id,
            "pid": 0 if status == statuses.STOPPED else record.init_process_pid,
            "status": statuses.NAMES[status],
            "bundle": record.bundle,
            "rootfs": record.rootfs,
            "created": record.create_time,
        }
        if record.annotations:
            state["annotations"] = record.annotations
        if record.endpoint is not None:
            state["ip"] = record.endpoint.get("ip_address", "")
        state["owner"] = _user_name(record.owner_uid)
        return state

    # Each of these verbs has modules of its own, which the others need not load. The imports run in R, before any
    # clone; what S2 needs is then loaded.

    def create(self, process: Process | None = None) -> None:
        """Create the container; its first process waits for start.

        `args`, `env` and `cwd` of the process replace the config's. Raises CapsuleError; nothing is left then.
        """
        from capsule.runtime import creation

        if process is None:
            from capsule.runtime.process import Process

            process = Process()
        process.init, process.id = True, self.id
        self._is_detached = process.detach
        given: dict[str, object] = {"args": process.args, "env": process.env, "cwd": process.cwd}
        if any([value is not None for value in given.values()]):
            from capsule.spec import first_process
            from capsule.spec.load import load_config

            self._config = load_config(first_process.change(self.config.raw, given))
        if process.network is not None:
            from capsule.runtime import networking

            self.network = networking.plan(self, process.network)
        creation.create(self, process)

    def start(self) -> None:
        """Have the first process run its program.

        Raises BadTransition, ChildError, HookError.
        """
        from capsule.runtime import starting

        self._recorded()
        starting.start(self)

    def run(self, process: Process | None = None) -> None:
        """Create and start. Raises what these raise; nothing is left then."""
        self.create(process)
        try:
            self.start()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Remove a container that this run created and could not start; the failure to start is what counts."""
        try:
            # After a failed poststart hook it has been removed already.
            if self.process is not None and self.entry is not None and self.entry.exists():
                self.process.terminate()
                self.destroy(force=True)
        except CapsuleError as err:
            log.warning(f"clean up after a failed start: {err}")

    def exec(self, process: Process) -> ParentChildProcess:
        """Run a further process; returns it, our child, once its program has been executed.

        Raises BadTransition, ChildError.
        """
        from capsule.runtime import execution

        return execution.execute(self, process)

    def destroy(self, *, force: bool = False) -> None:
        """Remove the container; `force` kills it first, a created one is killed anyway.

        Raises BadTransition, CapsuleError.
        """
        from capsule.runtime import destruction

        destruction.destroy(self, force=force)
        self.record = None  # type: ignore[assignment]  # see above

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the first process has ended; returns its exit status, 128 + signal where a signal ended it.

        None where it is detached or another run created it. Raises TimeoutError after `timeout` seconds.
        """
        if self.process is not None:
            status = self.process.wait(timeout)
            return None if self._is_detached else status
        if self.record is not None and not self.init_process().wait(-1 if timeout is None else int(timeout * 1000)):
            raise TimeoutError("the process still runs")
        return None

    def signal(self, sig: int, all: bool = False) -> None:
        """Send a signal to the first process, with `all` to every process of the container.

        Raises BadTransition when it is stopped, KernelError.
        """
        status = self.observe()
        if status == statuses.STOPPED and all:
            # The shim kills what is left after the first process of a shared pid namespace has gone.
            self._signal_cgroups(sig)
            return
        statuses.new_container_status_behavior(status, self.id).kill()
        if all or (sig == SIGKILL and not self.record.extra.get("private_pids")):
            self._signal_cgroups(sig)
        elif sig == SIGKILL and status == statuses.PAUSED:
            from capsule.runtime import guard

            # A frozen process dies only once it is thawed (v1 freezer).
            guard.lock(self.entry, kill=True)
            self.init_process().signal(sig)
            self.manager().thaw()
            freezer.thaw_below(self.record.cgroup_paths)
        else:
            self.init_process().signal(sig)
            if sig == SIGKILL:
                freezer.thaw_below(self.record.cgroup_paths)

    def _signal_cgroups(self, number: int) -> None:
        """Signal every process; freezing and thawing for that must not come between an exec's guard and its work."""
        record = self._recorded()
        if not record.cgroup_paths:
            from capsule.runtime import members

            members.kill(record.init_process_pid, number, private_pids=bool(record.extra.get("private_pids")))
            return
        from capsule.runtime import guard

        manager = self.manager()
        locked = guard.lock(self.entry, kill=number == SIGKILL)
        if locked:
            self.settle()
        if locked and number != SIGKILL:
            guard.while_marked(self, lambda: manager.kill(number))
        else:
            manager.kill(number, freeze=locked or not guard.is_at_work(self.entry))

    def pause(self) -> None:
        """Freeze every process. Raises BadTransition, CgroupError."""
        self.behavior().pause()
        self.manager().freeze()

    def resume(self) -> None:
        """Thaw a paused container. Raises BadTransition, CgroupError."""
        self.behavior().resume()
        self.manager().thaw()

    def processes(self) -> list[int]:
        """The pids of every process in the container's cgroups, in the runtime's pid namespace."""
        record = self._recorded()
        if not record.cgroup_paths:
            from capsule.runtime import members

            return members.of(record.init_process_pid, private_pids=bool(record.extra.get("private_pids")))
        return self.manager().pids()

    def end(self) -> dict | None:
        """How the container ended, for people: None while it runs, or where its relay did not write it down."""
        from capsule.state import failures

        data = self.entry.marked(stores.END) if self.entry is not None else None
        if data is not None:
            fields = failures.read_end(data, self.id)
            return None if fields is None else failures.describe_end(fields)
        if self.observe() == statuses.STOPPED and self.manager().oom_kills():
            return {"reason": "oom"}  # nobody of ours was its parent, but its cgroup has counted
        return None

    def close(self) -> None:
        """Let go of the entry and its lock."""
        if self.entry is not None:
            self.entry.close()
            self.entry = None


def _user_name(uid: int) -> str:
    """Name the host's user, for the owner column; the number where there is no name."""
    if uid == 0:
        return "root"
    from capsule._ext import openbeneath
    from capsule.linux import users

    root_fd = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
    try:
        entry = users.lookup(root_fd, uid)
    finally:
        posix.close(root_fd)
    return entry[0] if entry is not None else f"#{uid}"
