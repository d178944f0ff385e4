"""Entry of build/seal-probe: a forked child seals its interpreter and then does one forbidden thing.

`seal_probe ACTION [unsealed]`. The child's exit status is ours: capsule._ext.seal.STATUS when the seal ended it,
10 when the action was possible, 11 when it only raised. Runs in the launcher and in an ordinary Python.
"""

from __future__ import annotations

import posix
import sys

from capsule._ext import seal

POSSIBLE = 10
RAISED = 11
MARK = b"-- sealed --\n"


class _Unraisable:
    def __del__(self):
        raise ValueError("in __del__")


def _import():
    __import__("planted")


def _import_package():
    __import__("encodings.planted")


def _open():
    posix.close(posix.open("planted.py", posix.O_RDONLY))


def _compile():
    compile("1", "planted.py", "eval")


def _exec():
    exec("pass", {})


def _codec():
    encoding = "planted"
    b"x".decode(encoding)


def _unraisable():
    _Unraisable()


def _print_error():
    try:
        raise ValueError("printed")
    except ValueError as err:
        sys.excepthook(type(err), err, err.__traceback__)


def _fork():
    if posix.fork() == 0:
        posix._exit(0)


def _execve():
    posix.execv("/bin/true", ["true"])


def _nothing():
    # What an initializer may do: text, numbers, files by descriptor, errors that are caught.
    posix.write(1, str(len("ä".encode("utf-8", "surrogateescape"))).encode())
    try:
        posix.mkdir("/proc/none")
    except OSError:
        pass


def _names():
    posix.write(1, " ".join(dir(posix)).encode())


ACTIONS = {
    "import": _import,
    "import_package": _import_package,
    "open": _open,
    "compile": _compile,
    "exec": _exec,
    "codec": _codec,
    "unraisable": _unraisable,
    "print_error": _print_error,
    "fork": _fork,
    "execve": _execve,
    "nothing": _nothing,
    "names": _names,
}


def _act(words: list) -> int:
    if "unsealed" not in words[2:]:
        seal.seal()
    posix.write(2, MARK)
    try:
        ACTIONS[words[1]]()
    except Exception:
        return RAISED
    return POSSIBLE


def main(argv: list) -> int:
    """Do the action in a child; return its exit status, or 128 + signal."""
    words = [word.decode() for word in argv]
    pid = posix.fork()
    if pid == 0:
        posix._exit(_act(words))
    status = posix.waitpid(pid, 0)[1]
    return posix.waitstatus_to_exitcode(status) if posix.WIFEXITED(status) else 128 + posix.WTERMSIG(status)
