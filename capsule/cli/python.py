"""Start the click front where there is no launcher: the same interpreter again, isolated, with its packages."""

from __future__ import annotations

import posix
import sys

_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from capsule.cli.front import main; sys.exit(main(sys.argv[1:]))"
)


def exec_python(argv: list) -> int:
    """Replace this process by `python -I` running the front on the same command line; does not return."""
    package = __file__[: -len("/capsule/cli/python.py")] if __file__.endswith("/capsule/cli/python.py") else ""
    command = [sys.executable.encode(), b"-I", b"-c", _START.encode(), package.encode("utf-8", "surrogateescape")]
    posix.execv(command[0], command + argv)
    return 1
