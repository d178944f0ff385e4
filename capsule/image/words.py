"""Words of a Dockerfile's line: quotes, escapes and variables, as its reference has them."""

from __future__ import annotations

from collections.abc import Mapping

from capsule.errors import ImageError

_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"
_SPACES = " \t"


class _Reader:
    def __init__(self, text: str, values: Mapping[str, str], escape: str) -> None:
        self.text = text
        self.values = values
        self.escape = escape
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        self.at += 1
        return char

    def word(self, ends: str) -> str:
        """Read up to one of `ends` that is not quoted, or to the end."""
        found = ""
        while (char := self.peek()) and char not in ends:
            self.take()
            if char == "'":
                found += self._until_quote()
            elif char == '"':
                found += self._quoted()
            elif char == self.escape:
                found += self.take() or char
            elif char == "$":
                found += self._variable()
            else:
                found += char
        return found

    def _until_quote(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            raise ImageError("read", repr(self.text), "a ' has no end")
        found, self.at = self.text[self.at : end], end + 1
        return found

    def _quoted(self) -> str:
        found = ""
        while (char := self.take()) != '"':
            if not char:
                raise ImageError("read", repr(self.text), 'a " has no end')
            if char == self.escape and self.peek() in ('"', "$", self.escape):
                found += self.take()
            elif char == "$":
                found += self._variable()
            else:
                found += char
        return found

    def _name(self) -> str:
        begin = self.at
        while self.peek() and self.peek() in _NAME:
            self.at += 1
        return self.text[begin : self.at]

    def _variable(self) -> str:
        if self.peek() != "{":
            name = self._name()
            return self.values.get(name, "") if name else "$"
        self.take()
        name = self._name()
        sign = self.take()
        if sign == "}" and name:
            return self.values.get(name, "")
        colon = sign == ":"
        if colon:
            sign = self.take()
        if not name or sign not in ("-", "+"):
            raise ImageError("read", repr(self.text), "a variable is $NAME, ${NAME}, ${NAME:-WORD} or ${NAME:+WORD}")
        other = self.word("}")
        if self.take() != "}":
            raise ImageError("read", repr(self.text), "a ${ has no end")
        value = self.values.get(name)
        given = bool(value) if colon else value is not None
        if sign == "-":
            return (value or "") if given else other
        return other if given else ""


def expand(text: str, values: Mapping[str, str], escape: str = "\\") -> str:
    """Return a line as one word, without its quotes. Raises ImageError."""
    return _Reader(text, values, escape).word("")


def split(text: str, values: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Return the words of a line; what a variable holds is never split. Raises ImageError."""
    reader = _Reader(text, values, escape)
    found: list[str] = []
    while True:
        while reader.peek() and reader.peek() in _SPACES:
            reader.take()
        if not reader.peek():
            return found
        found.append(reader.word(_SPACES))
