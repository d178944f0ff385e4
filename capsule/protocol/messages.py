"""The sync channel's words (csrc/messages.h) and the error record that S1 and S2 send.

A message is `u32 type, u32 length, payload` in native byte order; descriptors travel beside it.
"""

from __future__ import annotations

import sys

from capsule import errors
from capsule._ext import fdpass

USERMAP = 1
TIMENS = 2
STAGE2 = 3
HOOKS = 4
SOURCE = 5
CONSOLE = 6
READY = 7
ERROR = 8
ACK = 9
TAIL = 10
START = 11
EXITED = 12
FAILED = 13
STOP = 14

NAMES = ("", "USERMAP", "TIMENS", "STAGE2", "HOOKS", "SOURCE", "CONSOLE", "READY", "ERROR", "ACK", "TAIL",
         "START", "EXITED", "FAILED", "STOP")

#: The flags of SOURCE: with what is mounted below; ids mapped, as the map says whose number (of RootfsPlan.idmaps)
#: stands from bit 8 on; and of all that is mounted below as well.
RECURSIVE, MAPPED, MAPPED_TREE = 1, 2, 4
_MAP_SHIFT = 8

MAX_SIZE = 65536  # bytes, header included
_HEADER = 8


def send(fd: int, kind: int, payload: bytes = b"", fds: tuple[int, ...] | list[int] = ()) -> None:
    """Send one message.

    Raises OSError: EPIPE when the other side has gone.
    """
    fdpass.send(fd, kind.to_bytes(4, sys.byteorder) + len(payload).to_bytes(4, sys.byteorder) + payload, fds)


def receive(fd: int) -> tuple[int, bytes, list[int]]:
    """Receive one message as (type, payload, fds); (0, b"", []) at end of file.

    Raises OSError: EBADMSG when header and message disagree.
    """
    data, fds = fdpass.recv(fd, MAX_SIZE)
    if not data:
        return 0, b"", []
    kind = int.from_bytes(data[:4], sys.byteorder)
    if len(data) < _HEADER or int.from_bytes(data[4:8], sys.byteorder) != len(data) - _HEADER:
        raise OSError(74, "receive message: header and length disagree")
    return kind, data[_HEADER:], fds


def words(payload: bytes) -> list[int]:
    """Read a payload as unsigned 32-bit words."""
    return [int.from_bytes(payload[at:at + 4], sys.byteorder) for at in range(0, len(payload) - 3, 4)]


def mapped_source(index: int, tree: bool) -> int:
    """Return the flags of SOURCE for a mount whose ids are mapped."""
    return MAPPED | (MAPPED_TREE if tree else 0) | index << _MAP_SHIFT


def map_index(flags: int) -> int:
    """Return the number of the map that flags with MAPPED name."""
    return flags >> _MAP_SHIFT


def word(value: int) -> bytes:
    """Write one unsigned 32-bit word."""
    return value.to_bytes(4, sys.byteorder)


def encode_failure(error: BaseException) -> bytes:
    """Write an exception as the payload of FAILED, cut to what one message holds."""
    if isinstance(error, errors.CapsuleError):
        name, errno = type(error).__name__, error.errno
        fields = (error.operation, error.subject, error.cause)
    elif isinstance(error, OSError):
        name, errno = "KernelError", error.errno or 0
        operation, _, cause = str(error.strerror or error).partition(": ")
        fields = (operation, str(error.filename or ""), cause)
    else:
        name, errno = "ChildError", 0
        fields = (type(error).__name__, "", str(error))
    text = "\0".join((name, *(field.replace("\0", "?")[:4000] for field in fields))).encode("utf-8", "replace")
    output = error.details.get("hook_output", "") if isinstance(error, errors.CapsuleError) else ""
    if output:
        room = MAX_SIZE - _HEADER - 4 - len(text) - 1
        text += b"\0" + output.replace("\0", "?").encode("utf-8", "replace")[-room:]
    return errno.to_bytes(4, sys.byteorder, signed=True) + text


def decode_failure(payload: bytes) -> errors.CapsuleError:
    """Read the payload of FAILED back into an exception of the same class."""
    errno = int.from_bytes(payload[:4], sys.byteorder, signed=True)
    fields = payload[4:].decode("utf-8", "replace").split("\0")
    if len(fields) not in (4, 5):
        return errors.ChildError("read the child's error record", "", "malformed")
    kind = getattr(errors, fields[0], None)
    if not isinstance(kind, type) or not issubclass(kind, errors.CapsuleError):
        kind = errors.ChildError
    error = kind(fields[1], fields[2], fields[3], errno=errno)
    if len(fields) == 5:
        error.details["hook_output"] = fields[4]
    return error
