"""Patterns of names and paths with *, ?, [...] and **: matched in time that grows with the name and no faster.

A pattern and the names it is held against are strangers' words, so nothing is tried twice: what a pattern may have come
to is a set of places in it, the bits of a number, and each character moves all of them at once.
"""

from __future__ import annotations

from capsule.errors import ImageError

_LONGEST = 4096  # characters of a pattern, as of a path
_KNOWN_MAX = 1024  # characters whose places are remembered
_ANY_DEPTH = "**"

_Test = tuple[bool, list[tuple[str, str]]]  # whether it is negated, and the ranges


class Name:
    """What one name of a path must look like. Raises ImageError for what is no pattern."""

    def __init__(self, text: str) -> None:
        self._tests: list[_Test] = []
        self._stars = 0
        for token in _tokens(text):
            if token is None:
                self._stars |= 1 << len(self._tests)
                self._tests.append((False, []))
            else:
                self._tests.append(token)
        self._start = self._closed(1)
        self._known: dict[str, int] = {}

    def fits(self, name: str) -> bool:
        """Tell whether the whole name is meant."""
        places = self._start
        for char in name:
            places = self._closed((places & self._places_of(char)) << 1 | places & self._stars)
            if not places:
                return False
        return bool(places >> len(self._tests) & 1)

    def _closed(self, places: int) -> int:
        """Add the places that no character leads to: a star may stand for nothing. No two stars are neighbours."""
        return places | (places & self._stars) << 1

    def _places_of(self, char: str) -> int:
        found = self._known.get(char)
        if found is None:
            found = 0
            for index, (is_negated, ranges) in enumerate(self._tests):
                if any(low <= char <= high for low, high in ranges) != is_negated:
                    found |= 1 << index
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[char] = found
        return found


def _tokens(text: str) -> list[_Test | None]:
    """Read a pattern: a test of one character after the other, None for a star."""
    if len(text) > _LONGEST:
        raise ImageError("read pattern", repr(text[:40] + "..."), f"longer than {_LONGEST} characters")
    found: list[_Test | None] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            if found[-1:] != [None]:
                found.append(None)
        elif char == "?":
            found.append((True, []))
        elif char == "[":
            test, at = _class(text, at)
            found.append(test)
        else:
            if char == "\\" and at < len(text):
                char, at = text[at], at + 1
            found.append((False, [(char, char)]))
    return found


def _class(text: str, at: int) -> tuple[_Test, int]:
    """Read what stands behind a [; returns where it goes on."""
    is_negated = text[at : at + 1] in ("^", "!") and at < len(text)
    at += is_negated
    ranges: list[tuple[str, str]] = []
    while True:
        low, at, is_escaped = _literal(text, at)
        if low == "]" and ranges and not is_escaped:
            return (is_negated, ranges), at
        high = low
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            high, at, _ = _literal(text, at + 1)
        if high < low:
            raise ImageError("read pattern", repr(text), f"the range {low}-{high} runs backwards")
        ranges.append((low, high))


def _literal(text: str, at: int) -> tuple[str, int, bool]:
    is_escaped = text[at : at + 1] == "\\" and at + 1 < len(text)
    at += is_escaped
    if at >= len(text):
        raise ImageError("read pattern", repr(text), "a [ has no end")
    return text[at], at + 1, is_escaped


class Path:
    """What a path must look like; ** stands for names of any number, at the end for one at least."""

    def __init__(self, text: str) -> None:
        self._names: list[Name | None] = []
        for part in [part for part in text.split("/") if part not in ("", ".")]:
            if part != _ANY_DEPTH:
                self._names.append(Name(part))
            elif self._names[-1:] != [None]:
                self._names.append(None)
        if self._names[-1:] == [None]:
            self._names.insert(-1, Name("*"))

    def __bool__(self) -> bool:
        return bool(self._names)

    def fits(self, parts: list[str]) -> bool:
        """Tell whether a path, or a directory that it lies in, is meant."""
        places = self._closed({0})
        for part in parts:
            places = self._closed({index + (name is not None) for index in places if index < len(self._names)
                                   for name in (self._names[index],) if name is None or name.fits(part)})
            if len(self._names) in places:
                return True
        return False

    def _closed(self, places: set[int]) -> set[int]:
        """Add what lies behind a **, which may stand for nothing."""
        return places | {index + 1 for index in places if index < len(self._names) and self._names[index] is None}
