"""D-Bus messages: a header and a body (D-Bus specification, "Message Format")."""

from __future__ import annotations

from capsule.cgroups.systemd import wire
from capsule.cgroups.systemd.wire import WireError

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
HEAD_SIZE = 16  # what tells how long the message is

_VERSION = 1
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE = 1, 2, 3, 4, 5, 6, 7, 8
_TYPES = {
    _PATH: "o", _INTERFACE: "s", _MEMBER: "s", _ERROR_NAME: "s", _REPLY_SERIAL: "u", _DESTINATION: "s",
    _SENDER: "s", _SIGNATURE: "g",
}  # fmt: skip


class Message:
    """One message that was received."""

    __slots__ = ("kind", "serial", "reply_serial", "path", "interface", "member", "error_name", "body")

    def __init__(self, kind: int, serial: int, fields: dict, body: list) -> None:
        self.kind = kind
        self.serial = serial
        self.reply_serial = fields.get(_REPLY_SERIAL, 0)
        self.path = fields.get(_PATH, "")
        self.interface = fields.get(_INTERFACE, "")
        self.member = fields.get(_MEMBER, "")
        self.error_name = fields.get(_ERROR_NAME, "")
        self.body = body


def encode_call(serial: int, destination: str, path: str, interface: str, member: str, signature: str,
                values) -> bytes:
    """Return a method call; `destination` is "" where no bus lies between. Raises WireError."""
    body = wire.marshal(signature, values)
    fields = [(_PATH, ("o", path)), (_INTERFACE, ("s", interface)), (_MEMBER, ("s", member))]
    if destination:
        fields.append((_DESTINATION, ("s", destination)))
    if signature:
        fields.append((_SIGNATURE, ("g", signature)))
    out = bytearray(b"l")
    out.extend((CALL, 0, _VERSION))
    out.extend(wire.marshal("uu", (len(body), serial)))
    wire.write(out, "a(yv)", fields)
    wire.align(out, 8)
    return bytes(out) + body


def size_of(head: bytes) -> int:
    """Return the whole length of a message from its first HEAD_SIZE bytes. Raises WireError."""
    reader = _reader(head)
    body_size = reader.integer("u")
    reader.integer("u")
    fields_size = reader.integer("u")
    size = HEAD_SIZE + fields_size + -fields_size % 8 + body_size
    if size > wire.MESSAGE_MAX:
        raise WireError(f"message of {size} bytes")
    return size


def _reader(data: bytes) -> wire.Reader:
    order = {b"l": "little", b"B": "big"}.get(data[:1])
    if order is None:
        raise WireError("neither little- nor big-endian")
    if data[3:4] != bytes([_VERSION]):
        raise WireError("another version of the protocol")
    reader = wire.Reader(data, order)
    reader.offset = 4
    return reader


def decode(data: bytes) -> Message:
    """Return the message that is exactly `data`. Raises WireError."""
    if len(data) < HEAD_SIZE or size_of(data[:HEAD_SIZE]) != len(data):
        raise WireError("a length that lies")
    reader = _reader(data)
    reader.integer("u")
    serial = reader.integer("u")
    fields = {}
    for number, (signature, value) in reader.read("a(yv)"):
        expected = _TYPES.get(number)
        if expected is not None:
            if signature != expected:
                raise WireError(f"header field {number} of type {signature}")
            fields[number] = value
    reader.skip_to(8)
    body = wire.unmarshal(fields.get(_SIGNATURE, ""), data[reader.offset :], reader.order)
    kind = data[1]
    if serial == 0 or kind == 0 or (kind in (RETURN, ERROR) and not fields.get(_REPLY_SERIAL)):
        raise WireError("a header that lacks what its type needs")
    return Message(kind, serial, fields, body)
