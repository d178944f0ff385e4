"""R's side of a container process: clone it, answer its requests until it is ready, signal it, reap it."""

from __future__ import annotations

import posix

from capsule import log
from capsule._ext import fdpass, mountapi, nsexec, proc, programs
from capsule.errors import CapsuleError, ChildError, KernelError
from capsule.linux import program
from capsule.protocol import messages
from capsule.protocol.init_config import EXEC
from capsule.runtime import console, tail_error
from capsule.runtime.known_process import SIGKILL, ParentProcess

_SIGSTOP = 19
_SILENCE_MS = 60_000  # how long our own stages may say nothing
_AT_FDCWD = -100
_NEWTIME, _NEWUSER, _NEWPID = 0x80, 0x10000000, 0x20000000

# Signals that end a create before it is done: HUP INT QUIT TERM.
ABORTING = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
# Kept pending for the relay, or for nobody: everything but KILL, STOP, CHLD and the synchronous ones.
FORWARDED = ~(1 << 8 | 1 << 18 | 1 << 16 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30) & (1 << 64) - 1

_FROM_S2 = (messages.HOOKS, messages.SOURCE, messages.CONSOLE, messages.STOP, messages.TAIL)


def _is_one_stage(unshare: int, joins: list[tuple[int, int]]) -> bool:
    """Tell whether S2 can be our own clone: nothing that is made begins with a child of whoever has entered."""
    if unshare & (_NEWUSER | _NEWTIME):
        return False
    return not unshare & _NEWPID or _NEWUSER not in [flag for _, flag in joins]


class Interrupted(CapsuleError):
    """A signal asked us to give up while the container was being made."""

    def __init__(self, signal: int) -> None:
        CapsuleError.__init__(self, "interrupted", f"by signal {signal}")
        self.exit_status = 128 + signal


class StartHook:
    """What R does for a child of one kind while it starts."""

    __slots__ = ("is_ready",)

    def __init__(self) -> None:
        self.is_ready = False

    def map_ids(self, process: ParentChildProcess) -> None:
        """S1 is in a new user namespace, process.stage_pid is its pid."""
        uid_map, gid_map = process.id_maps
        process.write_proc("uid_map", uid_map)
        process.write_proc("gid_map", gid_map)

    def staged(self, process: ParentChildProcess) -> None:
        """S2 (or a T that is a new process) exists; process.pid is its pid."""

    def hooks(self, process: ParentChildProcess) -> None:
        """S2 wants the record saved and the runtime's hooks run."""

    def ready(self, process: ParentChildProcess) -> None:
        """The tail stands in the container, small and with nothing of the program run."""
        self.is_ready = True

    def console(self, master_fd: int) -> None:
        """S2 made a pty; the descriptor is ours now."""
        posix.close(master_fd)


def pidfd_sender(process, kind: bytes):
    """Return what passes the process's pidfd on, connected; None where nobody asked for it. Raises KernelError."""
    if not process.pidfd_socket:
        return None
    from capsule.runtime.pidfd_socket import Sender

    return Sender(process.pidfd_socket, kind)


def set_limits(pid: int, security) -> None:
    """Set the resource limits and the scheduling on the tail, from where the program inherits them.

    Raises KernelError: EPERM for a hard limit above ours without CAP_SYS_RESOURCE.
    """
    if security is None:
        return
    for number, soft, hard in security.rlimits:
        try:
            proc.prlimit(pid, number, soft, hard)
        except OSError as err:
            raise KernelError("set rlimit", f"{number} to {soft}:{hard}", errno=err.errno) from err
    if security.attributes is not None:
        security.attributes.set_on(pid)
    else:
        proc.sched_reset_affinity(pid)


class ParentChildProcess(ParentProcess):
    """A process of our own making (original: ParentAbstractProcess); kinds differ only in the start hook.

    `clone` is (unshare flags, [(namespace fd, type)], unified cgroup fd, [tasks fds], time offsets text).
    """

    __slots__ = ("clone", "config", "start_hook", "initialize", "initializer_type", "id_maps", "patient", "stage_pid",
                 "channel_fd", "signal_fd", "stage_pidfd", "deferred", "namespace_fds", "awaits_tail",
                 "exit_status")

    def __init__(self, clone: tuple, config, start_hook: StartHook, *, initialize, initializer_type: str,
                 id_maps=None, patient: bool = False) -> None:
        self.clone = clone
        self.config = config
        self.start_hook = start_hook
        self.initialize = initialize
        self.initializer_type = initializer_type
        self.id_maps = id_maps
        self.patient = patient  # hooks of the container may take as long as they like
        self.stage_pid = 0  # S1, until it is reaped; then an S2 that a T is cloned from
        self.pid = 0
        self.channel_fd = -1
        self.signal_fd = -1
        self.stage_pidfd = -1  # of an S2 that the tail is cloned from: its death alone closes nothing
        self.deferred: list[tuple] = []  # messages of a process whose pid its maker has not told yet
        self.namespace_fds: list[int] = []  # network and user namespace, where hooks need more than their pid
        self.awaits_tail = False  # the tail will be a clone of S2, whose pid TAIL tells
        self.exit_status: int | None = None  # once it was waited for

    def start(self) -> None:
        """Clone S1 and serve the children until the tail is ready (init) or has executed (exec).

        Raises CapsuleError of whatever failed; no child is left then.
        """
        if proc.thread_count() != 1:
            raise ChildError("clone", "stage 1", "this process has more than one thread")
        unshare, joins, unified_fd, tasks_fds, offsets = self.clone
        console.make_null_writable()
        proc.block_signals(FORWARDED)
        self.signal_fd = proc.signalfd(ABORTING)
        self.channel_fd, child_fd = fdpass.seqpacket_pair()
        self.config.sync_fd = child_fd
        # Sealed here and not in S2: a program that root of a user namespace owned would belong to that namespace,
        # and a capable process inside could seize it (execve(2): would_dump).
        self.config.program_fd = programs.tail()
        self.awaits_tail = self.config.clones_tail
        try:
            one_stage = _is_one_stage(unshare, joins)
            pid = nsexec.start(child_fd, self.channel_fd, unshare, joins, unified_fd, tasks_fds, offsets is not None,
                               one_stage, posix.geteuid() != 0)
            if pid == 0:
                self.initialize(self.initializer_type, self.config)
            if one_stage:
                self.pid = pid
            else:
                self.stage_pid = pid
            posix.close(child_fd)
            posix.close(self.config.program_fd)
            if self.config.agent_fd >= 0:
                # An agent may read to the end of the connection before it answers what the tail waits for.
                posix.close(self.config.agent_fd)
            proc.stop_point("r-cloned")
            if one_stage:
                self._take_on(pid)
            self._serve()
        except OSError as err:
            self.terminate()
            raise ChildError("start", "container process", err.strerror or str(err), errno=err.errno or 0) from err
        except BaseException:
            self.terminate()
            raise
        finally:
            for fd in (self.channel_fd, self.signal_fd, self.stage_pidfd):
                if fd >= 0:
                    posix.close(fd)

    def _serve(self) -> None:
        timeout = -1 if self.patient else _SILENCE_MS
        while True:
            waited = [(self.signal_fd, proc.POLLIN), (self.channel_fd, proc.POLLIN), (self.stage_pidfd, proc.POLLIN)]
            ready = proc.poll(waited, timeout)
            if not ready:
                raise ChildError("start", "container process", f"no word from it for {_SILENCE_MS // 1000} s")
            if ready[0][0] == self.signal_fd:
                raise Interrupted(proc.read_signal(self.signal_fd))
            if ready[0][0] == self.stage_pidfd:
                raise ChildError("start", "container process", "it died while it made the container's process")
            kind, payload, fds = messages.receive(self.channel_fd)
            if log.is_debug():
                log.debug(f"message {messages.NAMES[kind] or 'end of file'} of the container process")
            if self._is_of_unknown(kind):
                self.deferred.append((kind, payload, fds))
            elif self._answer(kind, payload, fds):
                return

    def _is_of_unknown(self, kind: int) -> bool:
        """Tell whether a message comes from a process that its maker, running beside it, has not told of yet."""
        if self.stage_pid:
            return kind in _FROM_S2 or kind == messages.READY
        return self.awaits_tail and kind == messages.READY

    def _answer_deferred(self) -> bool:
        waiting, self.deferred = self.deferred, []
        for kind, payload, fds in waiting:
            if self._is_of_unknown(kind):
                self.deferred.append((kind, payload, fds))
            elif self._answer(kind, payload, fds):
                return True
        return False

    def _answer(self, kind: int, payload: bytes, fds: list[int]) -> bool:
        """Handle one message; True when there will be no more."""
        if kind == messages.STAGE2:
            maker, self.stage_pid = self.stage_pid, 0
            proc.wait_pid(maker)
            self._take_on(messages.words(payload)[0])
            return self._answer_deferred()
        elif kind == messages.TAIL:
            maker, self.pid = self.pid, messages.words(payload)[0]
            proc.wait_pid(maker)
            self.awaits_tail = False
            posix.close(self.stage_pidfd)
            self.stage_pidfd = -1
            self.start_hook.staged(self)
            return self._answer_deferred()
        elif kind == messages.HOOKS:
            self.namespace_fds = fds
            self.start_hook.hooks(self)
            for fd in fds:
                posix.close(fd)
            messages.send(self.channel_fd, messages.ACK, messages.word(self.pid))
        elif kind == messages.CONSOLE:
            self.start_hook.console(fds[0])
            messages.send(self.channel_fd, messages.ACK)
        elif kind == messages.USERMAP:
            self.start_hook.map_ids(self)
            messages.send(self.channel_fd, messages.ACK)
        elif kind == messages.TIMENS:
            self.write_proc("timens_offsets", self.clone[4])
            messages.send(self.channel_fd, messages.ACK)
        elif kind == messages.SOURCE:
            self._send_source(payload)
        elif kind == messages.READY:
            return self._ready()
        elif kind == messages.FAILED:
            raise messages.decode_failure(payload)
        elif kind == messages.ERROR:
            raise tail_error.from_payload(payload, self.config.process_config, self.pid)
        elif kind == messages.STOP:
            posix.kill(self.pid, _SIGSTOP)
            messages.send(self.channel_fd, messages.ACK)
        elif kind == 0:
            return self._end_of_file()
        else:
            raise ChildError("start", "container process", f"unexpected message {kind}")
        return False

    def _take_on(self, pid: int) -> None:
        """S2 exists."""
        self.pid = pid
        if self.awaits_tail:
            self.stage_pidfd = proc.pidfd_open(pid)
        self.start_hook.staged(self)

    def _ready(self) -> bool:
        """The tail stands and goes on at our answer: created, or, an exec's, done at end of file."""
        self.start_hook.ready(self)
        messages.send(self.channel_fd, messages.ACK, messages.word(self.pid))
        return self.initializer_type != EXEC

    def _end_of_file(self) -> bool:
        """Nobody holds the other end: an exec has executed, or the process has died."""
        # A tail that fails sends a record first: without one, end of file after READY is a done execve.
        if self.start_hook.is_ready:
            return True
        status = self._reap()
        cause = f"it died before it was ready ({program.describe_status(status)})"
        raise ChildError("start", "container process", cause)

    def write_proc(self, name: str, data: bytes) -> None:
        """Write a file of S1's (or S2's) directory in /proc. Raises KernelError."""
        path = f"/proc/{self.stage_pid or self.pid}/{name}"
        try:
            fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
            try:
                posix.write(fd, data)
            finally:
                posix.close(fd)
        except OSError as err:
            raise KernelError(f"write {name}", data.decode().strip().replace("\n", ", "), errno=err.errno) from err

    def _send_source(self, payload: bytes) -> None:
        flags = messages.words(payload[:4])[0]
        path = payload[4:].decode("utf-8", "surrogateescape")
        try:
            fd = mountapi.clone(_AT_FDCWD, path, bool(flags & messages.RECURSIVE))
        except OSError as err:
            raise KernelError("open mount source", path, errno=err.errno) from err
        try:
            if flags & messages.MAPPED:
                from capsule.runtime import idmaps

                idmaps.apply(fd, path, flags, self.config.idmaps)
            messages.send(self.channel_fd, messages.ACK, b"", [fd])
        finally:
            posix.close(fd)

    def _reap(self) -> int:
        status = 0
        for pid in (self.stage_pid, self.pid):
            if pid:
                try:
                    status = proc.wait_pid(pid)[1]
                except ChildProcessError:
                    pass  # reaped on the way to the failure that brings us here
        self.stage_pid = self.pid = 0
        return status

    def terminate(self) -> None:
        """Kill and reap what there is of the process."""
        for pid in (self.stage_pid, self.pid):
            if pid:
                try:
                    posix.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass
        self._reap()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process; returns its exit status, 128 + signal when it was killed.

        Raises TimeoutError after `timeout` seconds.
        """
        if self.exit_status is None:
            if timeout is not None:
                self._wait_until_it_ends(timeout)
            self.exit_status = program.exit_code(self._reap())
        return self.exit_status

    def _wait_until_it_ends(self, timeout: float) -> None:
        pidfd = proc.pidfd_open(self.pid)
        try:
            if not proc.poll([(pidfd, proc.POLLIN)], int(timeout * 1000)):
                raise TimeoutError("the process still runs")
        finally:
            posix.close(pidfd)

    def signal(self, number: int) -> None:
        """Send a signal to our child: its number cannot be reused before we reap it."""
        posix.kill(self.pid, number)
