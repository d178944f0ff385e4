"""NOTIFY_SOCKET: a program tells that it is ready, and whoever supervises the runtime hears of it (sd_notify(3)).

The container gets a socket of its own, so that an image speaks to us and never to the supervisor: of all it says,
only a line READY=1 is passed on, in our words.
"""

from __future__ import annotations

import posix

from capsule._ext import fdpass, proc
from capsule.errors import CapsuleError, KernelError, StateError, Unsupported, errno_text
from capsule.spec.model import Mount
from capsule.state import store as stores

_PLACE = "/run/notify"  # runc's, which policies may name
_SOCKET = "notify.sock"
_READY = b"READY=1"
_SIZE = 4096  # the longest message that systemd reads
_QUEUE = 1024  # messages that may be left of a process that died; no queue of the kernel's default is as long
_PATIENCE_MS = 5000  # with a supervisor that does not read


class NotifySocket:
    """Where a program's word arrives, and where ours goes."""

    __slots__ = ("path", "outer_fd", "inner_fd", "pid", "pidfd")

    def __init__(self, path: bytes) -> None:
        self.path = path.decode("utf-8", "surrogateescape")
        self.outer_fd = _connect(path, self.path)
        self.inner_fd = -1  # from listen() on
        self.pid = 0
        self.pidfd = -1

    def offer(self, container) -> None:
        """Put the directory of the socket and its name into the configuration of a container to be made."""
        config = container.config
        if config.process is None:
            return
        config.mounts = [*config.mounts, Mount(_PLACE, "bind", f"{container.root}/{container.id}/{stores.NOTIFY}",
                                               ["bind", "ro", "nosuid", "noexec", "nodev"])]
        env = [item for item in config.process.env if not item.startswith("NOTIFY_SOCKET=")]
        config.process.env = [*env, f"NOTIFY_SOCKET={_PLACE}/{_SOCKET}"]

    def make(self, entry) -> None:
        """Make the directory, into which start puts the socket. Raises StateError."""
        try:
            posix.mkdir(stores.NOTIFY, 0o755, dir_fd=entry.dir_fd)
            # Whatever our umask: the program may be anybody.
            posix.chmod(stores.NOTIFY, 0o755, dir_fd=entry.dir_fd)
        except OSError as err:
            raise StateError("make", f"{entry.path}/{stores.NOTIFY}", errno=err.errno or 0) from err

    def listen(self, entry, pid: int) -> None:
        """Make the socket for the container whose first process waits for its start. Raises KernelError."""
        path = f"{entry.path}/{stores.NOTIFY}"
        try:
            self.pid, self.pidfd = pid, proc.pidfd_open(pid)
            flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
            directory = posix.open(stores.NOTIFY, flags, dir_fd=entry.dir_fd)
            try:
                # One is there where a start failed or was ended.
                if _SOCKET in posix.listdir(directory):
                    posix.unlink(_SOCKET, dir_fd=directory)
                self.inner_fd = fdpass.bind_datagram(directory, _SOCKET)
            finally:
                posix.close(directory)
        except OSError as err:
            raise KernelError("make notify socket", path, errno=err.errno or 0) from err

    def wait(self) -> None:
        """Wait for the program's READY=1 and pass it on with its pid; returns as well when the program ends first.

        Raises Interrupted for a signal that the run which created the container has blocked, KernelError.
        """
        from capsule.runtime import parent_process

        signal_fd = proc.signalfd(parent_process.ABORTING)
        try:
            while True:
                entries = [(self.inner_fd, proc.POLLIN), (self.pidfd, proc.POLLIN), (signal_fd, proc.POLLIN)]
                ready = [fd for fd, _ in proc.poll(entries, -1)]
                if signal_fd in ready:
                    raise parent_process.Interrupted(proc.read_signal(signal_fd))
                is_dead = self.pidfd in ready
                if self._hears_ready(_QUEUE if is_dead else 1):
                    self._tell()
                    return
                if is_dead:
                    return
        finally:
            posix.close(signal_fd)

    def _hears_ready(self, messages: int) -> bool:
        """Read what is there, that many messages at most."""
        for _ in range(messages):
            if not proc.poll([(self.inner_fd, proc.POLLIN)], 0):
                break
            # read(2) has no place for descriptors: the kernel drops what is beside the message.
            message = posix.read(self.inner_fd, _SIZE + 1)
            # What is ignored is not logged either: an image could fill the log.
            if len(message) <= _SIZE and _READY in message.split(b"\n"):
                return True
        return False

    def _tell(self) -> None:
        """Send the word on, and wait until it was read: systemd looks its sender up, who is about to end."""
        try:
            self._send(b"MAINPID=%d\nREADY=1\n" % self.pid)
            reader, writer = posix.pipe()
            try:
                self._send(b"BARRIER=1", [writer])
            finally:
                posix.close(writer)
            proc.poll([(reader, proc.POLLIN)], _PATIENCE_MS)
            posix.close(reader)
        except OSError as err:
            raise KernelError("notify", self.path, errno=err.errno or 0) from err

    def _send(self, message: bytes, fds=()) -> None:
        if not proc.poll([(self.outer_fd, proc.POLLOUT)], _PATIENCE_MS):
            seconds = _PATIENCE_MS // 1000
            raise CapsuleError("notify", self.path, f"its queue is full and nobody read it for {seconds} s")
        fdpass.send(self.outer_fd, message, fds)


def take() -> NotifySocket | None:
    """Connect to the socket that the environment names; None where it names none.

    Raises Unsupported, KernelError: nothing has changed then.
    """
    path = posix.environ[b"NOTIFY_SOCKET"]
    return NotifySocket(path) if path else None


def _connect(path: bytes, text: str) -> int:
    if path[:1] not in (b"/", b"@") or len(path) < 2:
        raise Unsupported("connect to NOTIFY_SOCKET", text, "expected an absolute path or @ and an abstract name")
    try:
        return fdpass.connect_datagram(path)
    except OSError as err:
        cause = f"{errno_text(err.errno or 0)}; unset NOTIFY_SOCKET to run without it"
        raise KernelError("connect to NOTIFY_SOCKET", text, cause, errno=err.errno or 0) from err
