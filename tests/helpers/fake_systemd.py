"""A service manager in a thread: speaks D-Bus on a socket, keeps units, records what it is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

from capsule.cgroups.systemd import message, wire

MANAGER = "org.freedesktop.systemd1.Manager"
JOB = "/org/freedesktop/systemd1/job/7"


class Failure(Exception):
    """What the manager answers with an error of this name and text."""


class FakeSystemd:
    """The peer of one connection after the other; `calls` is [(member, values)]."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[str, list]] = []
        self.units: dict[str, str] = {}  # name -> ActiveState
        self.properties: dict[str, tuple] = {"Version": ("s", "v252.9~x"), "ControlGroup": ("s", "/init.scope")}
        self.job_result = "done"
        self.lines: list[bytes] = []  # what clients have said before BEGIN
        self.answers: dict[str, Callable[[list], tuple[str, list]]] = {}  # member -> what it does instead
        self.raw: bytes | None = None  # sent in place of any answer to a call
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def members(self) -> list[str]:
        return [member for member, _ in self.calls]

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                try:
                    self._speak(peer)
                except ConnectionError:
                    pass

    def _speak(self, peer: socket.socket) -> None:
        data = b""
        while not data.endswith(b"BEGIN\r\n"):
            more = peer.recv(4096)
            if not more:
                return
            data += more
        self.lines = data.split(b"\r\n")[:-1]
        if b"DATA" in self.lines:
            peer.sendall(b"DATA\r\n")
        peer.sendall(b"OK 00\r\n")
        while head := peer.recv(message.HEAD_SIZE, socket.MSG_WAITALL):
            call = message.decode(head + peer.recv(message.size_of(head) - len(head), socket.MSG_WAITALL))
            self.calls.append((call.member, call.body))
            if self.raw is not None:
                peer.sendall(self.raw)
                return
            self._answer(peer, call)

    def _answer(self, peer: socket.socket, call: message.Message) -> None:
        try:
            does = self.answers.get(call.member) or getattr(self, "_" + call.member, lambda values: ("", []))
            signature, values = does(call.body)
        except Failure as err:
            peer.sendall(encode(message.ERROR, 3, {4: ("s", err.args[0]), 5: ("u", call.serial)}, "s", [err.args[1]]))
            return
        if call.member in ("StartTransientUnit", "StopUnit"):
            # Another's job first, and ours before the answer: both happen.
            for job, result in (("/other", "failed"), (JOB, self.job_result)):
                fields = {1: ("o", "/org/freedesktop/systemd1"), 2: ("s", MANAGER), 3: ("s", "JobRemoved")}
                peer.sendall(encode(message.SIGNAL, 2, fields, "uoss", [7, job, call.body[0], result]))
        peer.sendall(encode(message.RETURN, 3, {5: ("u", call.serial)}, signature, values))

    def _Get(self, values: list) -> tuple[str, list]:
        if values[1] == "ActiveState":
            return "v", [("s", next(iter(self.units.values()), "inactive"))]
        return "v", [self.properties[values[1]]]

    def _GetUnit(self, values: list) -> tuple[str, list]:
        if values[0] not in self.units:
            raise Failure("org.freedesktop.systemd1.NoSuchUnit", f"Unit {values[0]} not loaded.")
        return "o", ["/org/freedesktop/systemd1/unit/x"]

    def _StartTransientUnit(self, values: list) -> tuple[str, list]:
        if values[0] in self.units:
            raise Failure("org.freedesktop.systemd1.UnitExists", f"Unit {values[0]} was already loaded.")
        self.units[values[0]] = "active"
        return "o", [JOB]

    def _ResetFailedUnit(self, values: list) -> tuple[str, list]:
        if self.units.get(values[0]) == "failed":
            del self.units[values[0]]
        return "", []

    def _StopUnit(self, values: list) -> tuple[str, list]:
        if values[0] not in self.units:
            raise Failure("org.freedesktop.systemd1.NoSuchUnit", f"Unit {values[0]} not loaded.")
        self.units[values[0]] = "failed" if self.job_result == "failed" else "inactive"
        return "o", [JOB]


def encode(kind: int, serial: int, fields: dict, signature: str, values: list) -> bytes:
    """Return a message of any kind."""
    body = wire.marshal(signature, values)
    if signature:
        fields = {**fields, 8: ("g", signature)}
    out = bytearray(b"l" + bytes([kind, 0, 1]) + wire.marshal("uu", (len(body), serial)))
    wire.write(out, "a(yv)", sorted(fields.items()))
    wire.align(out, 8)
    return bytes(out) + body
