"""GVariant text, as annotations `org.systemd.property.NAME` give values (docs.gtk.org/glib/gvariant-text-format.html).

What a property of a unit can have is read: booleans, numbers, strings, byte strings, arrays, tuples, dictionaries,
variants, with types where the text names them. A type that the text leaves open is int32, double or string.
"""

from __future__ import annotations

from capsule.cgroups.systemd.wire import BASIC, WireError, split

_KEYWORDS = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x",
    "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_RANGES = {
    "y": (0, 1 << 8), "n": (-(1 << 15), 1 << 15), "q": (0, 1 << 16), "i": (-(1 << 31), 1 << 31), "u": (0, 1 << 32),
    "x": (-(1 << 63), 1 << 63), "t": (0, 1 << 64),
}  # fmt: skip
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SPACE = " \t\n\r\f\v"
_DIGITS = "0123456789"
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._")
_DEPTH_MAX = 32


def parse(text: str) -> tuple[str, object]:
    """Return (signature, value) of a whole text. Raises ValueError that says what is wrong and where."""
    parser = _Parser(text)
    found = parser.value("", 0)
    parser.end()
    return found


class _Parser:
    __slots__ = ("text", "offset")

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0

    def wrong(self, cause: str) -> ValueError:
        return ValueError(f"{cause} at character {self.offset + 1}")

    def peek(self) -> str:
        """Skip white space and return the next character, "" at the end."""
        while self.text[self.offset : self.offset + 1] and self.text[self.offset] in _SPACE:
            self.offset += 1
        return self.text[self.offset : self.offset + 1]

    def accept(self, char: str) -> bool:
        if self.peek() != char:
            return False
        self.offset += 1
        return True

    def expect(self, char: str) -> None:
        if not self.accept(char):
            raise self.wrong(f"expected {char!r}")

    def end(self) -> None:
        if self.peek():
            raise self.wrong("something behind the value")

    def value(self, wanted: str, depth: int) -> tuple[str, object]:
        """Read one value, of the type `wanted` unless that is ""; return its type and itself."""
        if depth > _DEPTH_MAX:
            raise self.wrong("values nest too deep")
        char = self.peek()
        if char == "@":
            return self._typed(wanted, depth)
        if char == "[":
            return self._array(wanted, depth)
        if char == "(":
            return self._tuple(wanted, depth)
        if char == "{":
            return self._dictionary(wanted, depth)
        if char == "<":
            self.offset += 1
            inner = self.value("", depth + 1)
            self.expect(">")
            return self._checked("v", wanted, inner)
        if char in ("'", '"') and char:
            return self._string_as(wanted, self._quoted())
        if char == "b" and self.text[self.offset + 1 : self.offset + 2] in ("'", '"'):
            self.offset += 1
            return self._checked("ay", wanted, self._bytes())
        return self._word_value(wanted, depth)

    def _checked(self, kind: str, wanted: str, value) -> tuple[str, object]:
        if wanted not in ("", kind):
            raise self.wrong(f"a value of type {kind} where {wanted} is expected")
        return kind, value

    def _typed(self, wanted: str, depth: int) -> tuple[str, object]:
        self.offset += 1
        start = self.offset
        while self.text[self.offset : self.offset + 1] not in ("", *_SPACE):
            self.offset += 1
        kind = self.text[start : self.offset]
        try:
            if len(split(kind)) != 1:
                raise WireError(kind)
        except WireError as err:
            self.offset = start
            raise self.wrong(f"{kind!r} is no type") from err
        self._checked(kind, wanted, None)
        return self.value(kind, depth + 1)

    def _word_value(self, wanted: str, depth: int) -> tuple[str, object]:
        start = self.offset
        while self.text[self.offset : self.offset + 1] and self.text[self.offset] in _WORD:
            self.offset += 1
        word = self.text[start : self.offset]
        if word in ("true", "false"):
            return self._checked("b", wanted, word == "true")
        if word in _KEYWORDS:
            kind = _KEYWORDS[word]
            self._checked(kind, wanted, None)
            return self.value(kind, depth + 1)
        if word and (word[0] in _DIGITS or word[0] in "+-."):
            return self._number(word, wanted, start)
        self.offset = start
        raise self.wrong("expected a value")

    def _number(self, word: str, wanted: str, start: int) -> tuple[str, object]:
        kind = wanted or ("d" if _is_double(word) else "i")
        self_end, self.offset = self.offset, start
        if kind == "d":
            try:
                number = float(word)
            except ValueError:
                raise self.wrong(f"{word!r} is no number") from None
            self.offset = self_end
            return "d", number
        if kind not in _RANGES:
            raise self.wrong(f"a number where {wanted} is expected")
        value = _integer(word)
        if value is None:
            raise self.wrong(f"{word!r} is no integer")
        low, high = _RANGES[kind]
        if not low <= value < high:
            hint = "" if wanted else "; write its type before it, such as uint64"
            raise self.wrong(f"{word} is out of the range of type {kind}{hint}")
        self.offset = self_end
        return kind, value

    def _string_as(self, wanted: str, text: str) -> tuple[str, object]:
        if wanted not in ("", "s", "o", "g"):
            raise self.wrong(f"a string where {wanted} is expected")
        if "\0" in text:
            raise self.wrong("a string with a zero byte")
        return wanted or "s", text

    def _quoted(self) -> str:
        quote = self.text[self.offset]
        self.offset += 1
        out: list[str] = []
        while True:
            char = self.text[self.offset : self.offset + 1]
            if not char:
                raise self.wrong("a string without an end")
            self.offset += 1
            if char == quote:
                return "".join(out)
            out.append(self._escape() if char == "\\" else char)

    def _escape(self) -> str:
        char = self.text[self.offset : self.offset + 1]
        self.offset += 1
        if char in ("u", "U"):
            size = 4 if char == "u" else 8
            digits = self.text[self.offset : self.offset + size]
            self.offset += size
            if len(digits) != size or digits.strip("0123456789abcdefABCDEF"):
                raise self.wrong("an escape without its digits")
            number = int(digits, 16)
            if number > 0x10FFFF or 0xD800 <= number < 0xE000:
                raise self.wrong("an escape of no character")
            return chr(number)
        return _ESCAPES.get(char, char)

    def _bytes(self) -> bytes:
        """Read a byte string: octal escapes besides the others, a zero byte at its end."""
        quote = self.text[self.offset]
        self.offset += 1
        out = bytearray()
        while True:
            char = self.text[self.offset : self.offset + 1]
            if not char:
                raise self.wrong("a string without an end")
            self.offset += 1
            if char == quote:
                return bytes(out) + b"\0"
            if char == "\\":
                octal = self._octal()
                if octal is not None:
                    out.append(octal)
                    continue
                char = self._escape()
            out.extend(char.encode("utf-8", "surrogateescape"))

    def _octal(self) -> int | None:
        digits = ""
        for char in self.text[self.offset : self.offset + 3]:
            if char not in "01234567":
                break
            digits += char
        if not digits:
            return None
        self.offset += len(digits)
        return int(digits, 8) & 0xFF

    def _array(self, wanted: str, depth: int) -> tuple[str, object]:
        if wanted and wanted[0] != "a":
            raise self.wrong(f"an array where {wanted} is expected")
        self.offset += 1
        element = wanted[1:]
        values: list = []
        while not self.accept("]"):
            if values:
                self.expect(",")
            kind, value = self.value(element, depth + 1)
            element = element or kind
            values.append(value)
        if not element:
            raise self.wrong("an empty array without a type, such as @as []")
        return "a" + element, bytes(values) if element == "y" else values

    def _tuple(self, wanted: str, depth: int) -> tuple[str, object]:
        if wanted and wanted[0] != "(":
            raise self.wrong(f"a tuple where {wanted} is expected")
        self.offset += 1
        members = split(wanted[1:-1]) if wanted else []
        kinds: list[str] = []
        values: list = []
        while not self.accept(")"):
            if values:
                self.expect(",")
                if self.accept(")"):
                    break
            if wanted and len(values) == len(members):
                raise self.wrong(f"more members than {wanted} has")
            kind, value = self.value(members[len(values)] if wanted else "", depth + 1)
            kinds.append(kind)
            values.append(value)
        if not values or (wanted and len(values) != len(members)):
            raise self.wrong("a tuple that lacks members")
        return f"({''.join(kinds)})", tuple(values)

    def _dictionary(self, wanted: str, depth: int) -> tuple[str, object]:
        if wanted and not wanted.startswith("a{"):
            raise self.wrong(f"a dictionary where {wanted} is expected")
        self.offset += 1
        key, kind = (wanted[2], wanted[3:-1]) if wanted else ("", "")
        entries: list = []
        while not self.accept("}"):
            if entries:
                self.expect(",")
            key, name = self.value(key, depth + 1)
            if key not in BASIC:
                raise self.wrong(f"a key of type {key}")
            self.expect(":")
            kind, value = self.value(kind, depth + 1)
            entries.append((name, value))
        if not kind:
            raise self.wrong("an empty dictionary without a type")
        return f"a{{{key}{kind}}}", entries


def _is_double(word: str) -> bool:
    return not word.lower().lstrip("+-").startswith("0x") and any([char in word for char in ".eE"])


def _integer(word: str) -> int | None:
    """Read a decimal, 0x hexadecimal or 0 octal integer, as strtoull(3) with base 0."""
    sign, digits = (-1, word[1:]) if word[0] == "-" else (1, word.removeprefix("+"))
    base, alphabet = 10, _DIGITS
    if digits[:2] in ("0x", "0X"):
        base, alphabet, digits = 16, "0123456789abcdefABCDEF", digits[2:]
    elif len(digits) > 1 and digits[0] == "0":
        base, alphabet, digits = 8, "01234567", digits[1:]
    if not digits or len(digits) > 64 or digits.strip(alphabet):
        return None
    return sign * int(digits, base)
