"""--pidfd-socket: whoever listens there gets the process's pidfd before its program runs."""

from __future__ import annotations

import posix

from capsule._ext import fdpass, proc
from capsule.errors import KernelError


class Sender:
    """A connection to the socket, made before anything is started that would need it.

    Raises KernelError.
    """

    __slots__ = ("path", "kind", "fd")

    def __init__(self, path: str, kind: bytes) -> None:
        self.path = path
        self.kind = kind  # the words beside the descriptor: runc's names of its initializers
        try:
            self.fd = fdpass.connect_stream(path)
        except OSError as err:
            raise KernelError("connect to pidfd socket", path, errno=err.errno or 0) from err

    def send(self, pid: int) -> None:
        """Send the pidfd of our child `pid` and close the connection. Raises KernelError."""
        try:
            pidfd = proc.pidfd_open(pid)
            try:
                fdpass.send(self.fd, self.kind, [pidfd])
            finally:
                posix.close(pidfd)
        except OSError as err:
            raise KernelError("send pidfd to socket", self.path, errno=err.errno or 0) from err
        finally:
            posix.close(self.fd)
