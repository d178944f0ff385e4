"""Entry of the probe launcher: checks, at build time, that a variant starts and has what the hot path needs."""

from __future__ import annotations

import _io
import errno
import marshal
import posix
import sys
import time


class _Lines:
    """A class with a generator, so that method and generator types are exercised too."""

    __slots__ = ("names",)

    def __init__(self, names: list) -> None:
        self.names = names

    def __iter__(self):
        yield from self.names


class _MoreLines(_Lines):
    """A derived class, whose member comes behind its base's."""

    __slots__ = ("more",)

    def __init__(self, names: list, more: str) -> None:
        _Lines.__init__(self, names)
        self.more = more


class _Failure(ValueError):
    """An exception with text and attributes of its own."""

    def __init__(self, name: str) -> None:
        ValueError.__init__(self, name)
        self.name = name

    def __str__(self) -> str:
        return "failed: " + self.name


class _DerivedFailure(_Failure):
    """An exception that inherits both."""


def _classes_work() -> bool:
    lines = _MoreLines(["a"], "b")
    try:
        raise _DerivedFailure("c")
    except _Failure as err:
        text = f"{err} {err.args} {type(err).__name__} {type(err).__module__}"
    try:
        lines.absent = 1
    except AttributeError:
        return list(lines) + [lines.more] == ["a", "b"] and text == f"failed: c ('c',) _DerivedFailure {__name__}"
    return False


def main(argv: list) -> int:
    """Return 0 when text, files, classes, errors and marshal work and no other module can be imported."""
    try:
        posix.stat(b"/proc/self/none/such".decode("utf-8", "surrogateescape"))
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.ENOTDIR):
            return 2
    if marshal.loads(marshal.dumps(list(_Lines(argv)))) != argv or time.monotonic() <= 0:
        return 3
    if _io.BytesIO(b"x").read() != b"x" or not sys.version_info >= (3, 11):
        return 4
    try:
        bytes([0xFF]).decode()
        return 6
    except UnicodeDecodeError:
        pass
    if not _classes_work():
        return 7
    try:
        __import__("os")
    except ImportError:
        return 0
    return 5
