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


def main(argv: list) -> int:
    """Return 0 when text, files, errors and marshal work and no other module can be imported."""
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
    try:
        __import__("os")
    except ImportError:
        return 0
    return 5
