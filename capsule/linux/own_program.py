"""How to run this very program again."""

from __future__ import annotations

import posix


def program_argv() -> list[bytes]:
    """The words that start this program: the launcher's file, or this interpreter with our package."""
    executable = posix.readlink(b"/proc/self/exe")
    try:
        from capsule import _launcher
    except ImportError:
        package = __file__.rpartition("/capsule/")[0]
        start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from capsule.__main__ import main; main()"
        return [executable, b"-I", b"-S", b"-c", start.encode(), package.encode("utf-8", "surrogateescape")]
    del _launcher
    return [executable]
