"""A connection to a D-Bus peer over AF_UNIX: authentication, calls that are answered, signals that are waited for.

Everything has a deadline: the peer is another process, which may be stopped. A connection belongs to one verb, is
closed before anything is cloned, and one call is answered before the next is made.
"""

from __future__ import annotations

import posix
import time

from capsule._ext import fdpass, proc
from capsule.cgroups.systemd import message, wire
from capsule.errors import CgroupError

TIMEOUT_NS = 60_000_000_000

_CHUNK = 1 << 16
_LINE_MAX = 4096
_QUEUE_MAX = 1000
_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"


class CallError(CgroupError):
    """The peer answered with an error; `name` is its D-Bus name."""

    name = ""


class Connection:
    """An authenticated connection; `address` is the socket's path, for messages."""

    __slots__ = ("address", "fd", "serial", "signals", "_buffer", "_on_bus")

    def __init__(self, address: str, fd: int) -> None:
        self.address = address
        self.fd = fd
        self.serial = 0
        self.signals: list = []  # received and not asked for yet, oldest first
        self._buffer = b""
        self._on_bus = False

    def close(self) -> None:
        """Close the socket."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    # Authentication (D-Bus specification, "Authentication Protocol")

    def authenticate(self, uid: int | None) -> None:
        """Say who we are: a number, or, with None, whoever the socket's credentials tell the peer.

        Raises CgroupError.
        """
        # BEGIN goes with what it follows, as systemd's own library sends it: a server that read it together with the
        # first call would leave that call in its buffer until more arrived.
        if uid is None:
            # In a user namespace our number is not what the peer sees.
            self._send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        else:
            self._send(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\nBEGIN\r\n")
        deadline = time.monotonic_ns() + TIMEOUT_NS
        answer = self._line(deadline)
        if uid is None and answer.rstrip() == b"DATA":
            answer = self._line(deadline)
        if not answer.startswith(b"OK"):
            raise self._failure(f"it does not accept us: {answer.decode('ascii', 'replace')[:80]!r}")

    def _line(self, deadline: int) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _LINE_MAX:
                raise self._failure("it does not speak D-Bus")
            self._receive(deadline)
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def join_bus(self, rule: str) -> None:
        """Introduce ourselves to a message bus and have it pass on the signals that match a rule.

        Raises CgroupError.
        """
        self._on_bus = True
        self.call(_BUS_PATH, _BUS, "Hello", "", (), to=_BUS)
        self.call(_BUS_PATH, _BUS, "AddMatch", "s", (rule,), to=_BUS)

    # Calls and signals

    def call(self, path: str, interface: str, member: str, signature: str, values, *, to: str) -> list:
        """Call a method and return the values of its answer; `to` counts where a bus lies between.

        Raises CallError for an error that the peer answers with, CgroupError.
        """
        self.serial += 1
        try:
            data = message.encode_call(
                self.serial, to if self._on_bus else "", path, interface, member, signature, values)
        except wire.WireError as err:
            raise CgroupError(f"call {member} of", self.address, str(err)) from err
        self._send(data)
        deadline = time.monotonic_ns() + TIMEOUT_NS
        while True:
            answer = self._next(deadline)
            if answer.kind == message.SIGNAL:
                self._keep(answer)
            elif answer.reply_serial == self.serial and answer.kind in (message.RETURN, message.ERROR):
                break
        if answer.kind == message.ERROR:
            text = answer.body[0] if answer.body and isinstance(answer.body[0], str) else answer.error_name
            failure = CallError(f"call {member} of", self.address, text)
            failure.name = answer.error_name
            raise failure
        return answer.body

    def _keep(self, signal: message.Message) -> None:
        # Others' jobs end meanwhile as well; only a peer that floods us gets here.
        if len(self.signals) >= _QUEUE_MAX:
            raise self._failure("it sends signals without end")
        self.signals.append(signal)

    def signal(self, interface: str, member: str, deadline: int) -> message.Message:
        """Return the next signal of that name; others are dropped. Raises CgroupError at the deadline."""
        while True:
            found = self.signals.pop(0) if self.signals else self._next(deadline)
            if found.kind == message.SIGNAL and found.interface == interface and found.member == member:
                return found

    # Bytes

    def _next(self, deadline: int) -> message.Message:
        try:
            while len(self._buffer) < message.HEAD_SIZE:
                self._receive(deadline)
            size = message.size_of(self._buffer[: message.HEAD_SIZE])
            while len(self._buffer) < size:
                self._receive(deadline)
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            return message.decode(data)
        except wire.WireError as err:
            raise self._failure(f"it does not speak D-Bus: {err}") from err

    def _send(self, data: bytes) -> None:
        try:
            fdpass.send(self.fd, data)
        except OSError as err:
            raise self._failure("", err.errno) from err

    def _receive(self, deadline: int) -> None:
        left_ms = (deadline - time.monotonic_ns()) // 1_000_000
        if left_ms <= 0 or not proc.poll([(self.fd, proc.POLLIN)], left_ms):
            raise self._failure("no answer from it in time")
        try:
            data = posix.read(self.fd, _CHUNK)
        except OSError as err:
            raise self._failure("", err.errno) from err
        if not data:
            raise self._failure("it closed the connection")
        self._buffer += data

    def _failure(self, cause: str, errno: int | None = 0) -> CgroupError:
        return CgroupError("speak to", self.address, cause, errno=errno)


def connect(path: str, uid: int | None) -> Connection:
    """Return a connection to the socket `path`.

    Raises OSError where nobody listens, CgroupError.
    """
    connection = Connection(path, fdpass.connect_stream(path))
    try:
        connection.authenticate(uid)
    except BaseException:
        connection.close()
        raise
    return connection
