"""Find the program that `process.args[0]` names, as execvp would inside the container."""

from __future__ import annotations

import errno
import posix

from capsule._ext import openbeneath
from capsule.errors import CapsuleError

_S_IFMT = 0o170000
_S_IFREG = 0o100000
_S_IFDIR = 0o040000
_X_ANY = 0o111


def find_executable(root_fd: int | None, args0: str, path_env: str | None, cwd: str) -> str:
    """Return the path to execute: args0 itself if it has a slash and exists, else the first executable file on PATH.

    root_fd None: the caller's own root. Whether this user may execute it is left to execve(2).
    Raises CapsuleError.
    """
    own = root_fd is None or root_fd < 0
    fd = root_fd
    if fd is None or own:
        fd = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
    try:
        if "/" in args0:
            return _named(fd, args0, cwd)
        if args0 and path_env:
            for directory in path_env.split(":"):
                path = f"{directory or '.'}/{args0}"
                if _is_executable(_mode(fd, path, cwd)):
                    return path
    finally:
        if own:
            posix.close(fd)
    raise CapsuleError(f'exec: "{args0}"', "", "executable file not found in $PATH", errno=errno.ENOENT)


def _named(root_fd: int, path: str, cwd: str) -> str:
    """Check a path with a slash at create, as runc does: engines tell 126 from 127 by this message."""
    mode = _mode(root_fd, path, cwd)
    if isinstance(mode, OSError):
        # Links of procfs and permissions are for execve(2) to judge, with the user's own credentials.
        if mode.errno in (errno.ENOENT, errno.ENOTDIR):
            raise CapsuleError(f'exec: "{path}": stat {path}', "", errno=mode.errno) from mode
        return path
    if mode & _S_IFMT == _S_IFDIR:
        raise CapsuleError(f'exec: "{path}"', "", "is a directory: permission denied", errno=errno.EISDIR)
    if not mode & _X_ANY:
        raise CapsuleError(f'exec: "{path}"', "", "permission denied", errno=errno.EACCES)
    return path


def _mode(root_fd: int, path: str, cwd: str) -> int | OSError:
    try:
        fd = openbeneath.open_in_root(root_fd, path if path[0] == "/" else f"{cwd}/{path}")
    except OSError as err:
        return err
    mode = posix.fstat(fd).st_mode
    posix.close(fd)
    return mode


def _is_executable(mode: int | OSError) -> bool:
    return not isinstance(mode, OSError) and mode & _S_IFMT == _S_IFREG and mode & _X_ANY != 0
