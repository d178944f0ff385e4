"""The records between the library and the launcher it starts: one request, one answer (docs/api.md).

A record is `8 bytes magic, u32 version, u32 flags, u32 length, u32 zero` in native byte order and a JSON object of
`length` bytes: behind the header, or, above INLINE_MAX, in a sealed memfd beside the message.
After the answer of a process that is waited for, the same socket carries the relay's EXITED (csrc/messages.h).
"""

from __future__ import annotations

import posix
import sys

from capsule import errors
from capsule._ext import fdpass, json, proc

MAGIC = b"CAPSULEQ"
VERSION = 1
HEADER_SIZE = 24
INLINE_MAX = 60_000  # bytes; a SOCK_SEQPACKET message must fit the socket's buffer as a whole
SIZE_MAX = 32 << 20  # bytes; config.json may have half of it

_IN_MEMFD = 1
_ERROR_FIELDS = ("operation", "subject", "cause", "errno")


class BadRecord(errors.CapsuleError):
    """A record that is not what its header says."""

    def __init__(self, cause: str) -> None:
        errors.CapsuleError.__init__(self, "read record", "", cause)


def send(fd: int, document: dict) -> None:
    """Send one record.

    Raises CapsuleError for what JSON cannot hold or is too large, OSError of sendmsg(2).
    """
    try:
        body = json.dumps(document)
    except ValueError as err:
        raise errors.CapsuleError("write record", "", str(err)) from err
    if len(body) > SIZE_MAX:
        raise errors.CapsuleError("write record", "", f"{len(body)} bytes are more than {SIZE_MAX}")
    if len(body) <= INLINE_MAX:
        fdpass.send(fd, header(len(body), 0) + body)
        return
    body_fd = proc.memfd("capsule-request", body)
    try:
        fdpass.send(fd, header(len(body), _IN_MEMFD), (body_fd,))
    finally:
        posix.close(body_fd)


def receive(fd: int) -> dict | None:
    """Receive one record; None at end of file.

    Raises BadRecord, OSError.
    """
    data, fds = fdpass.recv(fd, HEADER_SIZE + INLINE_MAX)
    try:
        if not data:
            return None
        length, in_memfd = read_header(data)
        if not in_memfd:
            if fds or length != len(data) - HEADER_SIZE:
                raise BadRecord("header and length disagree")
            return decode(data[HEADER_SIZE:])
        if len(fds) != 1 or len(data) != HEADER_SIZE:
            raise BadRecord("header and length disagree")
        return decode(_read_all(fds[0], length))
    finally:
        for each in fds:
            posix.close(each)


def header(length: int, flags: int) -> bytes:
    """Return the header of a record."""
    return MAGIC + b"".join([_u32(VERSION), _u32(flags), _u32(length), _u32(0)])


def read_header(data: bytes) -> tuple:
    """Check a header; return (length, whether the body is in a memfd).

    Raises BadRecord.
    """
    if len(data) < HEADER_SIZE or data[:8] != MAGIC:
        raise BadRecord("it does not begin like one")
    version, flags, length, zero = [_number(data, at) for at in (8, 12, 16, 20)]
    if version != VERSION:
        raise BadRecord(f"its version is {version}, not {VERSION}")
    if zero != 0 or flags not in (0, _IN_MEMFD):
        raise BadRecord("unknown flags")
    if length > SIZE_MAX:
        raise BadRecord(f"{length} bytes are more than {SIZE_MAX}")
    return length, flags == _IN_MEMFD


def decode(body: bytes) -> dict:
    """Read the JSON object of a record.

    Raises BadRecord.
    """
    try:
        document = json.loads(body)
    except ValueError as err:
        raise BadRecord(str(err)) from err
    if not isinstance(document, dict):
        raise BadRecord("it is not an object")
    return document


def error_fields(err: Exception) -> dict:
    """Return what an answer carries of an error: class, the four fields, and what its class adds."""
    if not isinstance(err, errors.CapsuleError):
        return {"class": "CapsuleError", "operation": "internal error", "subject": type(err).__name__,
                "cause": str(err), "errno": getattr(err, "errno", 0) or 0}
    fields: dict = {"class": _public_class(type(err)).__name__}
    for name in _ERROR_FIELDS:
        fields[name] = getattr(err, name)
    if isinstance(err, errors.ChildError):
        fields["stage"], fields["step"] = err.stage, err.step
    for name, value in err.__dict__.items():
        if name not in fields and type(value) in (str, int, bool):
            fields[name] = value
    return fields


def error_from(fields: object) -> errors.CapsuleError:
    """Build the error that an answer carries.

    Raises BadRecord where the fields are not an error's.
    """
    if not isinstance(fields, dict):
        raise BadRecord("its error is not an object")
    operation, subject, cause, errno = [fields.get(name) for name in _ERROR_FIELDS]
    if not (type(operation) is type(subject) is type(cause) is str and type(errno) is int):
        raise BadRecord("its error lacks a field")
    found = getattr(errors, str(fields.get("class")), None)
    if not isinstance(found, type) or not issubclass(found, errors.CapsuleError):
        found = errors.CapsuleError
    # Not through the class's own __init__: a subclass may build its message from other arguments.
    err = found.__new__(found)
    errors.CapsuleError.__init__(err, str(operation), str(subject), str(cause))
    err.errno = errno
    for name, value in fields.items():
        if name not in _ERROR_FIELDS and name != "class" and not name.startswith("_"):
            setattr(err, name, value)
    return err


def _public_class(found: type) -> type:
    """Return the nearest class that `capsule.errors` exports, which the other side can build."""
    while getattr(errors, found.__name__, None) is not found:
        found = found.__bases__[0]
    return found


def _read_all(fd: int, length: int) -> bytes:
    """Read a memfd whose size must be `length`.

    Raises BadRecord.
    """
    if posix.fstat(fd).st_size != length:
        raise BadRecord("header and length disagree")
    chunks: list = []
    at = 0
    while at < length:
        chunk = posix.pread(fd, length - at, at)
        if not chunk:
            raise BadRecord("it is cut short")
        chunks.append(chunk)
        at += len(chunk)
    return b"".join(chunks)


def _u32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], sys.byteorder)
