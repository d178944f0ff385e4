"""Start the launcher: posix_spawn with clean signals and exactly the descriptors it is meant to have.

The host program is never forked: threads, event loops and large heaps in it do not matter, and its SIGCHLD handling
neither (children are reaped by pidfd, waitid(2) P_PIDFD, so `wait` calls of the host do not meet ours).
"""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import sys
import sysconfig
import threading
from collections.abc import Sequence
from pathlib import Path

from capsule._ext import fdpass
from capsule.client.process import Stream
from capsule.errors import CapsuleError

LAUNCHER_VARIABLE = "CAPSULE_LAUNCHER"  # names the launcher to test; nothing else should set it
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FIRST_FREE = 3
# pidfds of launchers that run on although nobody holds their handle any more. Appended to by __del__, which may run
# at any point of any thread: single list operations only, no lock.
_orphans: list[int] = []


class Launched:
    """A started launcher: its socket and its pidfd, which are open as long as the object lives."""

    __slots__ = ("pid", "pidfd", "socket_fd", "status", "_lock")

    def __init__(self, pid: int, pidfd: int, socket_fd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.socket_fd = socket_fd
        self.status: int | None = None  # exit status, 128 + signal; -1 where somebody else has reaped it
        self._lock = threading.Lock()

    def __del__(self) -> None:
        os.close(self.socket_fd)
        if self.pidfd >= 0:
            if self.status is None and _reap(self.pidfd, os.WNOHANG) is None:
                _orphans.append(self.pidfd)
            else:
                os.close(self.pidfd)

    def reap(self) -> int:
        """Wait for the end; return the exit status."""
        with self._lock:
            if self.status is None:
                self.status = _reap(self.pidfd, 0)
            assert self.status is not None
            return self.status


def _reap(pidfd: int, options: int) -> int | None:
    """Reap one child; None where it runs and `options` say not to wait."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | options)
    except OSError:
        # ECHILD: the host ignores SIGCHLD or waits for any child, and the status went there. EBADF: as _open_pidfd.
        return -1
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def start(streams: Sequence[Stream], preserve_fds: Sequence[int] = ()) -> Launched:
    """Start the launcher to serve one request, with these for 0-2 and from 3 on.

    Raises CapsuleError where there is no launcher or it cannot be started.
    """
    reap_finished()
    ours_fd, theirs_fd = fdpass.seqpacket_pair()
    copies: list[int] = []
    try:
        socket_number = _FIRST_FREE + len(preserve_fds)
        # Copied first above every number that one of them is moved to, so that no move overwrites another's source.
        least = socket_number + 1
        for number, stream in enumerate(streams):
            copies.append(_copy(stream, number, least))
        for fd in (*preserve_fds, theirs_fd):
            copies.append(_duplicate(fd, least))
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(copies)]
        argv = [*command(), "_serve", str(socket_number)]
        try:
            pid = os.posix_spawn(
                argv[0], argv, _environment(), file_actions=actions, setsid=True, setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )  # fmt: skip
        except OSError as err:
            raise CapsuleError("start launcher", argv[0], errno=err.errno or 0) from err
    except BaseException:
        os.close(ours_fd)
        raise
    finally:
        os.close(theirs_fd)
        for fd in copies:
            os.close(fd)
    return Launched(pid, _open_pidfd(pid), ours_fd)


def reap_finished() -> None:
    """Reap what has ended and nobody holds."""
    for _ in range(len(_orphans)):
        try:
            pidfd = _orphans.pop(0)
        except IndexError:
            return
        if _reap(pidfd, os.WNOHANG) is None:
            _orphans.append(pidfd)
        else:
            os.close(pidfd)


def command() -> list[str]:
    """Return the words that start capsule: the launcher, or this Python where none was built."""
    chosen = os.environ.get(LAUNCHER_VARIABLE)
    if chosen:
        return [chosen]
    tree = os.path.realpath(Path(__file__).parents[2])
    for path in _places(tree):
        if os.access(path, os.X_OK):
            return [path]
    return [sys.executable, "-I", "-S", f"{tree}/capsule/__main__.py"]


@functools.cache
def _places(tree: str) -> list[str]:
    """List where the launcher of the package in `tree` may be: with the scripts of the same installation (a
    distribution, a user and a virtual environment each have their own place), or where a source tree's build leaves it.
    """
    found = []
    for scheme in sysconfig.get_scheme_names():
        if os.path.realpath(sysconfig.get_path("platlib", scheme)) == tree:
            found.append(os.path.join(sysconfig.get_path("scripts", scheme), "capsule"))
    return [*found, f"{tree}/build/capsule"]


def _environment() -> dict[str, str]:
    """Return what the runtime may see: nothing of the host's that could change what it does."""
    return {"PATH": _PATH}


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        # It ended and the kernel reaped it, for the host ignores SIGCHLD. The socket still tells how it went.
        return -1


def _copy(stream: Stream, number: int, least: int) -> int:
    """Return a copy of what becomes descriptor `number`; the caller's own for None, /dev/null where that is closed."""
    if stream is None:
        try:
            return _duplicate(number, least)
        except OSError:
            null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                return _duplicate(null_fd, least)
            finally:
                os.close(null_fd)
    return _duplicate(stream if isinstance(stream, int) else stream.fileno(), least)


def _duplicate(fd: int, least: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
