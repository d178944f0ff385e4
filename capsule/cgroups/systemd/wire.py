"""D-Bus marshalling (D-Bus specification, "Message Protocol"): values to bytes by a signature, and back.

Values: int for y n q i u x t, bool for b, float for d, str for s o g, bytes for ay, list for other arrays, a tuple
for a struct or dict entry, and (signature, value) for a variant. What is read comes from another process: every
length is compared with what is there before it is used, and nesting is bounded.
"""

from __future__ import annotations

MESSAGE_MAX = 1 << 24  # bytes; the protocol permits 128 MiB, systemd's answers to us have hundreds
ARRAY_MAX = 1 << 26
SIGNATURE_MAX = 255
DEPTH_MAX = 32  # arrays and structs each, and variants within variants

# type -> (size and alignment in bytes, signed)
_INTEGERS = {
    "y": (1, False), "n": (2, True), "q": (2, False), "i": (4, True), "u": (4, False), "x": (8, True), "t": (8, False),
}  # fmt: skip
_ALIGNMENT = {
    "y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "s": 4, "o": 4, "g": 1, "v": 1, "a": 4,
    "(": 8, "{": 8,
}  # fmt: skip
BASIC = "ybnqiuxtdsog"


class WireError(ValueError):
    """Bytes that are no message, or a value that its signature does not permit."""


def split(signature: str) -> list[str]:
    """Return the complete types of a signature. Raises WireError for what is no signature."""
    if len(signature) > SIGNATURE_MAX:
        raise WireError(f"signature of {len(signature)} characters")
    types = []
    offset = 0
    while offset < len(signature):
        end = _end_of_type(signature, offset, 0, 0)
        types.append(signature[offset:end])
        offset = end
    return types


def _end_of_type(signature: str, offset: int, arrays: int, structs: int) -> int:
    """Return where the complete type that begins at `offset` ends."""
    if arrays > DEPTH_MAX or structs > DEPTH_MAX:
        raise WireError(f"signature {signature!r} nests too deep")
    char = signature[offset : offset + 1]
    if char and char in BASIC + "v":
        return offset + 1
    if char == "a":
        if signature[offset + 1 : offset + 2] != "{":
            return _end_of_type(signature, offset + 1, arrays + 1, structs)
        return _end_of_entry(signature, offset + 1, arrays + 1, structs + 1)
    if char == "(" and signature[offset + 1 : offset + 2] != ")":
        offset += 1
        while signature[offset : offset + 1] != ")":
            offset = _end_of_type(signature, offset, arrays, structs + 1)
        return offset + 1
    raise WireError(f"{signature!r} is no signature")


def _end_of_entry(signature: str, offset: int, arrays: int, structs: int) -> int:
    key = signature[offset + 1 : offset + 2]
    if not key or key not in BASIC:
        raise WireError(f"{signature!r} is no signature")
    end = _end_of_type(signature, offset + 2, arrays, structs)
    if signature[end : end + 1] != "}":
        raise WireError(f"{signature!r} is no signature")
    return end + 1


def marshal(signature: str, values) -> bytes:
    """Return the body of a message: one value for each complete type, little-endian. Raises WireError."""
    types = split(signature)
    if len(types) != len(values):
        raise WireError(f"{len(values)} values for signature {signature!r}")
    out = bytearray()
    for kind, value in zip(types, values, strict=True):
        write(out, kind, value)
    return bytes(out)


def align(out: bytearray, alignment: int) -> None:
    """Pad with zeros up to a multiple of `alignment`."""
    out.extend(bytes(-len(out) % alignment))


def write(out: bytearray, kind: str, value) -> None:
    """Append one value of the complete type `kind`. Raises WireError."""
    first = kind[0]
    align(out, _ALIGNMENT[first])
    if first in _INTEGERS:
        size, signed = _INTEGERS[first]
        try:
            out.extend(value.to_bytes(size, "little", signed=signed))
        except (AttributeError, OverflowError) as err:
            raise WireError(f"{value!r} is not of type {kind}") from err
    elif first == "b":
        out.extend((1 if value else 0).to_bytes(4, "little"))
    elif first == "d":
        double = memoryview(bytearray(8)).cast("d")
        double[0] = value
        out.extend(double.tobytes())
    elif first in "sog":
        _write_text(out, first, value)
    elif first == "v":
        write(out, "g", value[0])
        write(out, _one_type(value[0]), value[1])
    elif first == "a":
        _write_array(out, kind[1:], value)
    else:
        members = split(kind[1:-1])
        if len(members) != len(value):
            raise WireError(f"{value!r} is not of type {kind}")
        for member, one in zip(members, value, strict=True):
            write(out, member, one)


def _one_type(signature: str) -> str:
    if len(split(signature)) != 1:
        raise WireError(f"{signature!r} is not one complete type")
    return signature


def _write_text(out: bytearray, kind: str, value: str) -> None:
    try:
        encoded = value.encode()
    except (AttributeError, UnicodeEncodeError) as err:
        raise WireError(f"{value!r} is not of type {kind}") from err
    if b"\0" in encoded or (kind == "g" and len(encoded) > SIGNATURE_MAX):
        raise WireError(f"{value!r} is not of type {kind}")
    out.extend(len(encoded).to_bytes(1 if kind == "g" else 4, "little"))
    out.extend(encoded)
    out.append(0)


def _write_array(out: bytearray, element: str, values) -> None:
    at = len(out)
    out.extend(bytes(4))
    align(out, _ALIGNMENT[element[0]])  # counts neither as part of the array's length nor of an element
    start = len(out)
    if element == "y" and isinstance(values, bytes):
        out.extend(values)
    else:
        for value in values:
            write(out, element, value)
    size = len(out) - start
    if size > ARRAY_MAX:
        raise WireError(f"array of {size} bytes")
    out[at : at + 4] = size.to_bytes(4, "little")


def unmarshal(signature: str, data: bytes, order: str = "little") -> list:
    """Return the values of a body, which must have nothing behind them. Raises WireError."""
    reader = Reader(data, order)
    values = [reader.read(kind) for kind in split(signature)]
    if reader.offset != len(data):
        raise WireError(f"{len(data) - reader.offset} bytes after the last value")
    return values


class Reader:
    """Reads values from bytes that nobody has checked yet."""

    __slots__ = ("data", "order", "offset", "depth")

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.order = order  # "little" or "big"
        self.offset = 0
        self.depth = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self.offset + size
        if end > len(self.data):
            raise WireError(f"cut short: {size} bytes wanted, {len(self.data) - self.offset} there")
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def skip_to(self, alignment: int) -> None:
        """Skip padding, which must be zeros."""
        if self.take(-self.offset % alignment).strip(b"\0"):
            raise WireError("padding that is not zero")

    def integer(self, kind: str) -> int:
        """Return an integer of a type such as "u"."""
        size, signed = _INTEGERS[kind]
        self.skip_to(size)
        if self.order == "little":
            return int.from_bytes(self.take(size), "little", signed=signed)
        return int.from_bytes(self.take(size), "big", signed=signed)

    def read(self, kind: str):
        """Return one value of the complete type `kind`."""
        first = kind[0]
        if first in _INTEGERS:
            return self.integer(first)
        if first == "b":
            value = self.integer("u")
            if value > 1:
                raise WireError(f"boolean {value}")
            return value == 1
        if first == "d":
            return self._double()
        if first in "sog":
            return self._text(first)
        self.depth += 1
        if self.depth > 2 * DEPTH_MAX:
            raise WireError("values nest too deep")
        value = self._container(first, kind)
        self.depth -= 1
        return value

    def _container(self, first: str, kind: str):
        if first == "v":
            signature = self._text("g")
            return signature, self.read(_one_type(signature))
        if first == "a":
            return self._array(kind[1:])
        self.skip_to(8)
        return tuple([self.read(member) for member in split(kind[1:-1])])

    def _double(self) -> float:
        self.skip_to(8)
        data = self.take(8)
        return memoryview(data if self.order == "little" else data[::-1]).cast("d")[0]

    def _text(self, kind: str) -> str:
        size = self.integer("y" if kind == "g" else "u")
        data = self.take(size)
        if self.take(1) != b"\0" or b"\0" in data:
            raise WireError("text that is not ended by its zero byte")
        try:
            text = data.decode()
        except UnicodeDecodeError as err:
            raise WireError("text that is not UTF-8") from err
        if kind == "g":
            split(text)
        return text

    def _array(self, element: str) -> list | bytes:
        size = self.integer("u")
        if size > ARRAY_MAX:
            raise WireError(f"array of {size} bytes")
        self.skip_to(_ALIGNMENT[element[0]])
        end = self.offset + size
        if end > len(self.data):
            raise WireError(f"cut short: array of {size} bytes, {len(self.data) - self.offset} there")
        if element == "y":
            return self.take(size)
        values = []
        while self.offset < end:
            values.append(self.read(element))
        if self.offset != end:
            raise WireError("array that ends within an element")
        return values
