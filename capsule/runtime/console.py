"""The pty master on R's side: for the console socket of a detached process, or kept for the relay."""

from __future__ import annotations

import posix

from capsule._ext import fdpass, pty
from capsule.errors import CapsuleError, KernelError


def check(terminal: bool, process) -> None:
    """Refuse the combinations of terminal, detach and console socket that nobody could serve.

    Raises CapsuleError.
    """
    if terminal and process.detach and not process.console_socket:
        raise CapsuleError("cannot allocate tty if capsule will detach without setting console socket")
    if process.console_socket and not (terminal and process.detach):
        raise CapsuleError("cannot use console socket if capsule will not detach or allocate tty")


class Keeper:
    """Where the master goes; master_fd stays open for a foreground process."""

    __slots__ = ("path", "socket_fd", "master_fd")

    def __init__(self, process) -> None:
        self.path = process.console_socket
        self.socket_fd = -1
        self.master_fd = -1

    def connect(self) -> None:
        """Connect to the console socket, before anything is started that would need it."""
        if not self.path:
            return
        try:
            self.socket_fd = fdpass.connect_stream(self.path)
        except OSError as err:
            raise KernelError("connect to console socket", self.path, errno=err.errno) from err

    def take(self, master_fd: int) -> None:
        """Pass the master on, or keep it."""
        if self.socket_fd < 0:
            self.master_fd = master_fd
            # Before the program can ask; the relay follows later changes.
            for fd in (0, 1, 2):
                if pty.copy_size(fd, master_fd):
                    break
            return
        try:
            fdpass.send(self.socket_fd, b"/dev/ptmx", [master_fd])
        except OSError as err:
            raise KernelError("send terminal to console socket", self.path or "", errno=err.errno) from err
        finally:
            posix.close(master_fd)
            posix.close(self.socket_fd)
            self.socket_fd = -1
