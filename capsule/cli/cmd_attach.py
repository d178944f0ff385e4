"""attach: a container's output on ours, our input to it, until it ends or the keys that detach are typed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import tty
from collections.abc import Iterator

from capsule.bundle import containers as records, running
from capsule.bundle.containers import Containers
from capsule.cli import output
from capsule.cli.paths import containers_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, StateError

_CHUNK = 8192  # csrc/monitor.h
_KEYS = "ctrl-p,ctrl-q"
_LEFT_BEHIND = "it ended without a word: we were too slow for its output, or its monitor was killed"


def run(invocation: Invocation) -> int:
    """Attach; returns the container's exit status, 0 when detached."""
    keys = _keys(invocation.options["detach_keys"] or _KEYS)
    found = Containers(containers_root(invocation))
    with found.open(found.find(invocation.positionals[0])) as entry:
        record = records.read(entry)
        session = Session(_connect(entry, record), record.name, keys)
    session.takes_input = not invocation.options["no_stdin"] and (record.tty or record.interactive)
    with session.socket, _raw(session, record.tty):
        session.send(b"A")
        return session.run()


def _connect(entry, record) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # By descriptor: the path may be longer than an address can be.
        found.connect(f"/proc/self/fd/{entry.dir_fd}/{running.SOCKET}")
    except OSError as err:
        found.close()
        raise StateError("attach to container", record.name, "nobody looks after it: it does not run, or it runs in "
                         "the foreground", errno=err.errno) from err
    return found


def _keys(text: str) -> bytes:
    """Return the bytes of keys such as ctrl-p,ctrl-q or a. Raises CapsuleError."""
    found = b""
    for word in text.split(","):
        if word.startswith("ctrl-") and len(word) == 6 and "@" <= word[5].upper() <= "_":
            found += bytes([ord(word[5].upper()) & 0x1F])
        elif len(word) == 1 and word.isascii():
            found += word.encode()
        else:
            raise CapsuleError("attach", f"--detach-keys {text}", "expected keys such as ctrl-p,ctrl-q")
    return found


class Session:
    """A connection to a monitor, and what our terminal has sent so far of the keys that detach."""

    def __init__(self, connection: socket.socket, name: str, keys: bytes) -> None:
        self.socket = connection
        self.name = name
        self.keys = keys
        self.takes_input = False
        self.is_terminal = False
        self._typed = b""  # beginning of the keys

    def send(self, data: bytes) -> None:
        """Send one message; a monitor that has gone is noticed where its words are read."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.send(data)

    def resize(self, *_args: object) -> None:
        """Tell the size of our terminal."""
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        self.send(b"R" + size[:4])

    def run(self) -> int:
        """Copy until one end is reached."""
        sources: list = [self.socket, *([0] if self.takes_input else [])]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if self.socket in ready:
                status = self._hear()
                if status is not None:
                    return status
            if 0 in ready and not self._speak():
                sources = [self.socket]
                if self._detached:
                    return 0

    def _hear(self) -> int | None:
        try:
            data = self.socket.recv(_CHUNK + 1)
        except ConnectionResetError:
            return None  # told once, where our last words were not read: what the monitor said before comes after it
        kind, rest = data[:1], data[1:]
        if kind == b"O":
            output.write(output.STDOUT, rest)
        elif kind == b"F":
            output.write(output.STDERR, rest)
        elif kind == b"X":
            return records.exit_status({"wait_status": struct.unpack("=I", rest)[0]})
        elif not data:
            raise StateError("attach to container", self.name, _LEFT_BEHIND)
        return None

    _detached = False

    def _speak(self) -> bool:
        """Pass on what was typed; false at its end, and when the keys that detach are complete."""
        data = os.read(0, _CHUNK // 2)
        if not data:
            self.send(b"E")
            return False
        if self.is_terminal:
            data = self._look_for_keys(data)
        if data:
            self.send(b"I" + data)
        return not self._detached

    def _look_for_keys(self, data: bytes) -> bytes:
        """Hold back what may be the beginning of the keys."""
        passed = b""
        for at in range(len(data)):
            self._typed += data[at : at + 1]
            if self._typed == self.keys:
                self._detached = True
                return passed
            while self._typed and not self.keys.startswith(self._typed):
                passed += self._typed[:1]
                self._typed = self._typed[1:]
        return passed


@contextlib.contextmanager
def _raw(session: Session, has_tty: bool) -> Iterator[None]:
    """Have our terminal feed the container's, as it is typed and with its size, where both are there."""
    if not (session.takes_input and has_tty and os.isatty(0)):
        yield
        return
    session.is_terminal = True
    before = termios.tcgetattr(0)
    old_handler = signal.signal(signal.SIGWINCH, session.resize)
    try:
        tty.setraw(0)
        mode = termios.tcgetattr(0)
        mode[1] |= termios.OPOST  # the container's terminal leaves newlines to ours (docs/tail.md)
        termios.tcsetattr(0, termios.TCSANOW, mode)
        session.resize()
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, old_handler)
