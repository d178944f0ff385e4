"""Terminals and standard streams on R's side: a pty master for the console socket or the relay, a null device."""

from __future__ import annotations

import errno
import posix

from capsule._ext import fdpass, pty
from capsule.errors import CapsuleError, KernelError

_S_IFMT, _S_IFCHR = 0o170000, 0o020000
_NULL = 1 << 8 | 3  # the null device's number


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


def make_null_writable() -> None:
    """Open a null device anew that was opened for reading only, as containerd does for output that nobody wants.

    Ours, and before the clone: what the container calls /dev/null may be any device, which only opening it can set off.
    """
    for fd in (1, 2):
        if not _is_null(posix.fstat(fd)):
            continue
        try:
            posix.write(fd, b"")
        except OSError as err:
            if err.errno == errno.EBADF:
                _reopen(fd)


def _is_null(info) -> bool:
    return info.st_rdev == _NULL and info.st_mode & _S_IFMT == _S_IFCHR


def _reopen(fd: int) -> None:
    try:
        null = posix.open("/dev/null", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError:
        return  # it keeps what it was given
    if _is_null(posix.fstat(null)):
        posix.dup2(null, fd)
    posix.close(null)
