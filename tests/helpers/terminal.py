"""Terminals as tests hold them: the master side of a pty, received or made."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import time
from pathlib import Path


class Master:
    """The master of a pty: what a person at the terminal sees and types."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen = b""
        self._taken = 0  # how much of `seen` read_until has returned

    def read_until(self, text: bytes | str, timeout: float = 15.0) -> bytes:
        """Read on from where the last call ended to the end of text, and return what was read."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + timeout
        while (found := self.seen.find(wanted, self._taken)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{wanted!r} did not appear; seen {self.seen!r}")
        start, self._taken = self._taken, found + len(wanted)
        return self.seen[start:self._taken]

    def read_all(self, timeout: float = 15.0) -> bytes:
        """Read until the other side is closed, and return everything ever seen."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        return self.seen

    def _read(self, deadline: float) -> bool:
        """Take what is there into `seen`; False at the end of the terminal, or past the deadline."""
        ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"the terminal is silent; seen {self.seen!r}")
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: no slave is open any more
            return False
        self.seen += data
        return bool(data)

    def type(self, text: str | bytes) -> None:
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Pty(Master):
    """A new pty; `slave` is for the stdio of a program."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        master, self.slave = os.openpty()
        super().__init__(master)
        self.resize(rows, columns)

    def release(self) -> None:
        """Close our copy of the slave, so that its last user's end is the end of the terminal."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        self.release()
        super().close()

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ConsoleSocket:
    """A listening console socket: it receives one message with the master of a container's pty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._masters: list[Master] = []
        self.name = b""

    def receive(self, timeout: float = 15.0) -> Master:
        """Take the pty master; fail when none or more than one fd arrives."""
        self._socket.settimeout(timeout)
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(timeout)
            self.name, fds, _, _ = socket.recv_fds(connection, 4096, 8)
        assert len(fds) == 1, f"{len(fds)} fds came with {self.name!r}"
        os.set_inheritable(fds[0], False)
        self._masters.append(Master(fds[0]))
        return self._masters[-1]

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()
        for master in self._masters:
            master.close()
        self.path.unlink(missing_ok=True)
