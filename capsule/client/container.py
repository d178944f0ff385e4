"""Container: a client's hold on one container. Each call asks the launcher; nothing is remembered of its status."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from capsule._ext import json, proc
from capsule.client.process import Process
from capsule.client.session import ProcessHandle, call, call_with_process
from capsule.client.status import ContainerStatus
from capsule.errors import NotFound
from capsule.linux import proc_stat
from capsule.spec import first_process
from capsule.spec.load import load_config
from capsule.spec.model import Config
from capsule.state.record import StateStorage
from capsule.state.store import Store

if TYPE_CHECKING:
    from capsule.client.network import Endpoint


class Container:
    """One container. Made by Factory; every method may be called from any thread.

    Another program can change or destroy the container at any time, so every method may raise NotFound.
    """

    def __init__(self, runtime_root: str, id: str, *, bundle: str, raw_config: bytes,
                 network: dict[str, object] | None = None) -> None:
        self._root = runtime_root
        self._id = id
        self._bundle = bundle
        self._raw_config = raw_config
        self._network = network  # what the launcher shall put around its process (client/surroundings.py)
        self._handle: ProcessHandle | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Container {self._id!r} in {self._root!r}>"

    @property
    def id(self) -> str:
        """The container's id."""
        return self._id

    @property
    def bundle(self) -> str:
        """The absolute path of its bundle."""
        return self._bundle

    @property
    def config(self) -> Config:
        """Its configuration, a copy; once it was created, with what the first process changed."""
        return load_config(self._raw_config)

    def status(self) -> ContainerStatus:
        """Ask the kernel for its status."""
        value = self._call("status")
        assert isinstance(value, int)
        return ContainerStatus(value)

    def state(self) -> StateStorage:
        """Return its record: what create noted. Raises NotFound, CorruptRecord."""
        with Store(self._root).open(self._id) as entry:
            return entry.load()

    def endpoints(self) -> Sequence[Endpoint]:
        """Return its places in networks. Raises NotFound, CorruptRecord."""
        from capsule.client.network import Endpoint

        return [Endpoint(fields) for fields in self.state().extra.get("endpoints", [])]

    def oci_state(self) -> dict[str, object]:
        """Return its state as runtime-spec runtime.md#state has it, with runc's further keys."""
        value = self._call("oci_state")
        assert isinstance(value, dict)
        return value

    def create(self, process: Process | None = None) -> None:
        """Create the container; its first process waits for start.

        Raises AlreadyExists, SpecError, KernelError, ChildError, HookError; nothing is left then.
        """
        self._begin("create", process)

    def run(self, process: Process | None = None) -> None:
        """Create and start. Raises what `create` and `start` raise; nothing is left then."""
        self._begin("run", process)

    def start(self) -> None:
        """Have the first process of a created container run its program.

        Raises BadTransition, ChildError, HookError.
        """
        self._call("start")

    def exec(self, process: Process) -> ProcessHandle:
        """Run a further process; return once its program has been executed.

        Raises BadTransition, ChildError, CapsuleError.
        """
        return call_with_process("exec", self._root, self._id, process)

    def destroy(self, *, force: bool = False) -> None:
        """Remove the container; one that only was created is killed, with `force` a running one too.

        Raises BadTransition while it runs.
        """
        self._call("destroy", force=force)

    def signal(self, sig: int, all: bool = False) -> None:
        """Send a signal to the first process, or to all. Raises BadTransition when it is stopped."""
        self._call("signal", signal=int(sig), all=all)

    def pause(self) -> None:
        """Freeze every process. Raises BadTransition, CgroupError."""
        self._call("pause")

    def resume(self) -> None:
        """Thaw a paused container. Raises BadTransition, CgroupError."""
        self._call("resume")

    def processes(self) -> list[int]:
        """Return the pids of its processes, in the caller's pid namespace."""
        value = self._call("processes")
        assert isinstance(value, list)
        return value

    @property
    def init(self) -> ProcessHandle | None:
        """The handle on the first process, None where another program created the container."""
        return self._handle

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the first process has ended; return its exit status, 128 + signal where a signal ended it.

        None where its status is not ours to learn: it is detached, or another program created it.
        Raises TimeoutError after `timeout` seconds.
        """
        with self._lock:
            handle = self._handle
        if handle is not None and not handle.is_detached:
            return handle.wait(timeout)
        self._wait_for_stranger(timeout)
        return None

    def _call(self, verb: str, **fields: object) -> object:
        return call(verb, self._root, self._id, **fields)

    def _begin(self, verb: str, process: Process | None) -> None:
        """Create; the launcher changes in the config what the process gives."""
        process = Process() if process is None else process
        process.init, process.id = True, self._id
        config = json.loads(self._raw_config)
        handle = call_with_process(verb, self._root, self._id, process, config=config, bundle=self._bundle,
                                   network=self._network)
        with self._lock:
            self._handle = handle
            self._raw_config = _with_process(self._raw_config, process)

    def _wait_for_stranger(self, timeout: float | None) -> None:
        """Wait for the end of a first process that is not our child, by pidfd."""
        try:
            record = self.state()
        except NotFound:
            return
        try:
            pidfd = proc.pidfd_open(record.init_process_pid)
        except OSError:
            return
        try:
            # Checked after the pidfd was opened: from here on it cannot become another process.
            if not proc_stat.is_alive(record.init_process_pid, record.init_process_start_time):
                return
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            if not poller.poll(None if timeout is None else timeout * 1000):
                raise TimeoutError("the process still runs")
        finally:
            os.close(pidfd)


def _with_process(raw_config: bytes, process: Process) -> bytes:
    """Return the config as the launcher has changed it for this process."""
    given = process.to_request()
    if all(given[name] is None for name in ("args", "env", "cwd")):
        return raw_config
    return first_process.change(raw_config, given)
