"""capsule without a launcher: `python -I -S capsule/__main__.py ARGUMENTS`, slower and otherwise equal.

Also what the `script` variant of the launcher starts. Loads no more of the library than the launcher has.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public one loads enum; typeshed has only that
import posix
import sys


def command_line() -> list[bytes]:
    """Return the words of the command line as the kernel gave them."""
    encoding = sys.getfilesystemencoding()
    return [b"capsule"] + [word.encode(encoding, "surrogateescape") for word in sys.argv[1:]]


def main() -> None:
    """Run the command line and leave with its status; does not return."""
    # As in the launcher: a closed pipe or Ctrl-C ends this program, and no handler reaches a container.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    sys.dont_write_bytecode = True

    from capsule.cli.main import main as run

    posix._exit(run(command_line()))


if __name__ == "__main__":
    if not __package__:
        sys.path.insert(0, __file__.rpartition("/capsule/")[0] or "..")
    main()
