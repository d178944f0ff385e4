"""Find the program that `process.args[0]` names, as execvp would inside the container."""

from __future__ import annotations

import errno
import posix

from capsule._ext import openbeneath
from capsule.errors import CapsuleError

_S_IFMT = 0o170000
_S_IFREG = 0o100000
_X_ANY = 0o111


def find_executable(root_fd: int | None, args0: str, path_env: str | None, cwd: str) -> str:
    """Return the path to execute: args0 itself if it has a slash, else the first executable file on PATH.

    root_fd None: the caller's own root. Whether this user may execute it is left to execve(2).
    Raises CapsuleError.
    """
    if "/" in args0:
        return args0
    own = root_fd is None or root_fd < 0
    fd = root_fd
    if fd is None or own:
        fd = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
    try:
        if args0 and path_env:
            for directory in path_env.split(":"):
                path = f"{directory or '.'}/{args0}"
                if _is_executable(fd, path if path[0] == "/" else f"{cwd}/{path}"):
                    return path
    finally:
        if own:
            posix.close(fd)
    raise CapsuleError(f'exec: "{args0}"', "", "executable file not found in $PATH", errno=errno.ENOENT)


def _is_executable(root_fd: int, path: str) -> bool:
    try:
        fd = openbeneath.open_in_root(root_fd, path)
    except OSError:
        return False
    mode = posix.fstat(fd).st_mode
    posix.close(fd)
    return mode & _S_IFMT == _S_IFREG and mode & _X_ANY != 0
