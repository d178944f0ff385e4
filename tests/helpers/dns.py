"""DNS messages for tests (RFC 1035): a query, and what an answer says."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

TYPES = {"A": 1, "PTR": 12, "TXT": 16, "AAAA": 28, "ANY": 255}
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


class Answer(NamedTuple):
    """An answer's return code, addresses and names, and whether it was cut short or is from a table."""

    rcode: str
    records: list[str]
    truncated: bool
    own: bool
    id: int


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def query(name: str, kind: str = "A", *, id: int = 0x1234, edns: int = 0) -> bytes:
    """Return the message that asks for a name; `edns` is the size of an answer that is taken by UDP."""
    question = encode_name(name) + struct.pack("!HH", TYPES[kind], 1)
    extra = b"\0" + struct.pack("!HHIH", 41, edns, 0, 0) if edns else b""
    return struct.pack("!6H", id, 0x0100, 1, 0, 0, 1 if edns else 0) + question + extra


def reply(asked: bytes, *addresses: str, rcode: int = 0, truncated: bool = False) -> bytes:
    """Return a server's answer to a query."""
    end = _skip_name(asked, 12) + 4
    kind = struct.unpack("!H", asked[end - 4:end - 2])[0]
    records = b""
    for text in addresses:
        data = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
        records += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
    flags = 0x8180 | rcode | (0x0200 if truncated else 0)
    return asked[:2] + struct.pack("!5H", flags, 1, len(addresses), 0, 0) + asked[12:end] + records


def parse(message: bytes) -> Answer:
    """Read an answer of one question."""
    id, flags, questions, answers = struct.unpack("!4H", message[:8])
    at = 12
    for _ in range(questions):
        at = _skip_name(message, at) + 4
    records = []
    for _ in range(answers):
        at = _skip_name(message, at)
        kind, _, _, length = struct.unpack("!HHIH", message[at:at + 10])
        data = message[at + 10:at + 10 + length]
        records.append(_text(kind, data))
        at += 10 + length
    return Answer(RCODES[flags & 15], records, bool(flags & 0x0200), bool(flags & 0x0400), id)


def name_of(message: bytes) -> str:
    """Return the name that a query asks for."""
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels)


def _text(kind: int, data: bytes) -> str:
    if kind == TYPES["PTR"]:
        return name_of(bytes(12) + data)
    return socket.inet_ntop(socket.AF_INET6 if kind == TYPES["AAAA"] else socket.AF_INET, data)


def _skip_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1
