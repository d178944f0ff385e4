"""The record format that the tail's and the relay's plan share; csrc/plan.h is its other half.

A plan is a header and records, native (little) byte order, each payload padded with zeros to 8 bytes.
"""
from __future__ import annotations

VERSION = 1
SIZE_MAX = 16 << 20
HEADER_SIZE = 24
NO_FD = -1


def u16(value: int) -> bytes:
    """Pack an unsigned 16-bit number."""
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    """Pack a 32-bit number; -1 becomes all ones."""
    return (0xFFFFFFFF if value == -1 else value).to_bytes(4, "little")


def u64(value: int) -> bytes:
    """Pack an unsigned 64-bit number."""
    return value.to_bytes(8, "little")


def pack_strings(strings: list[bytes]) -> bytes:
    """End each string with a NUL and join them.

    Raises ValueError when a string contains a NUL.
    """
    for string in strings:
        if b"\0" in string:
            raise ValueError(f"encode plan {string!r}: embedded NUL")
    return b"\0".join(strings) + b"\0" if strings else b""


def pack_list(strings: list[bytes]) -> bytes:
    """Pack a count and its strings."""
    return u32(len(strings)) + pack_strings(strings)


def pack(magic: bytes, records: list[tuple[int, bytes]]) -> bytes:
    """Frame records as a plan.

    Raises ValueError when the plan exceeds SIZE_MAX.
    """
    parts = []
    size = HEADER_SIZE
    for number, payload in records:
        padding = -len(payload) % 8
        parts.append(u16(number) + u16(0) + u32(len(payload)) + payload + bytes(padding))
        size += 8 + len(payload) + padding
    if size > SIZE_MAX:
        raise ValueError(f"encode plan: {size} bytes exceed the limit of {SIZE_MAX}")
    return magic + u32(VERSION) + u32(len(records)) + u64(size) + b"".join(parts)


def number(data: bytes, offset: int, size: int = 4) -> int:
    """Read an unsigned number."""
    return int.from_bytes(data[offset:offset + size], "little")


def signed(data: bytes, offset: int) -> int:
    """Read a signed 32-bit number."""
    return int.from_bytes(data[offset:offset + 4], "little", signed=True)


def unpack_strings(data: bytes, count: int) -> list[bytes]:
    """Split exactly count NUL-ended strings.

    Raises ValueError when their number differs.
    """
    strings = data.split(b"\0")
    if strings.pop() or len(strings) != count:
        raise ValueError("decode plan: wrong number of strings")
    return strings


def unpack_list(data: bytes) -> list[bytes]:
    """Read what pack_list packed."""
    return unpack_strings(data[4:], number(data, 0))


def unpack(magic: bytes, data: bytes) -> list[tuple[int, bytes]]:
    """Return the records of a plan.

    Raises ValueError when the frame is not what pack makes.
    """
    if data[:8] != magic or number(data, 8) != VERSION or number(data, 16, 8) != len(data):
        raise ValueError("decode plan: not such a plan")
    records = []
    offset = HEADER_SIZE
    while offset + 8 <= len(data):
        size = number(data, offset + 4)
        end = offset + 8 + size
        if number(data, offset + 2, 2) or end > len(data):
            raise ValueError("decode plan: truncated record")
        records.append((number(data, offset, 2), data[offset + 8:end]))
        offset = end + -size % 8
    if offset != len(data) or len(records) != number(data, 12):
        raise ValueError("decode plan: wrong number of records")
    return records
