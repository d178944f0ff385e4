"""Attendants: small processes beside a network or an endpoint (csrc/attend.h), each with a data file of its own.

The file is made first and the process holds its lock as long as it lives, so the kernel says who attends to what, and
whose file has been removed ends by itself: there is none that nobody knows of. The lock of the networks is held to
start and to stop.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import attendant, proc, programs, sockets
from capsule.errors import NetworkError

_SIGKILL = 9
_DEATH_MS = 5000
_HEAD = 17  # bytes: sixteen digits, odd while the file is being written, and a line break


def holder(path: str) -> int:
    """Return the pid of the attendant of a data file, 0 where none lives. Raises NetworkError."""
    fd = _open(path, posix.O_RDONLY)
    if fd < 0:
        return 0
    try:
        return attendant.holder(fd)
    except OSError as err:
        raise NetworkError("look for the attendant of", path, errno=err.errno) from err
    finally:
        posix.close(fd)


def write(path: str, text: str) -> None:
    """Give the attendant of a data file, or one that is to be started, another text. Raises NetworkError."""
    fd = _open(path, posix.O_RDWR | posix.O_CREAT)
    try:
        data = text.encode()
        head = posix.pread(fd, _HEAD, 0)
        if head and posix.pread(fd, len(data) + 1, _HEAD) == data and head[-2:-1] in b"02468ace":
            return
        number = (int(head[:16], 16) | 1) if len(head) == _HEAD else 1
        posix.pwrite(fd, b"%016x\n" % number, 0)
        posix.pwrite(fd, data, _HEAD)
        posix.ftruncate(fd, _HEAD + len(data))
        posix.pwrite(fd, b"%016x\n" % (number + 1), 0)
    except OSError as err:
        raise NetworkError("write", path, errno=err.errno) from err
    finally:
        posix.close(fd)


def read(path: str) -> bytes:
    """Return what a data file says, b"" where there is none. Raises NetworkError."""
    fd = _open(path, posix.O_RDONLY)
    if fd < 0:
        return b""
    try:
        return posix.pread(fd, 1 << 20, _HEAD)
    except OSError as err:
        raise NetworkError("read", path, errno=err.errno) from err
    finally:
        posix.close(fd)


def start(path: str, argv: list[str], places: list[tuple[int, str, bytes, int]]) -> None:
    """Start the attendant of a data file; `places` are (family, protocol, address, port) of its sockets.

    Raises OSError of bind(2) where a socket cannot be had, NetworkError.
    """
    fds: list[int] = []
    try:
        for family, protocol, address, port in places:
            fds.append(sockets.bind(family, protocol, address, port, absent=True))
        run(path, argv, fds)
    finally:
        for fd in fds:
            posix.close(fd)


def run(path: str, argv: list[str], fds: list[int]) -> None:
    """Start the attendant of a data file with descriptors of ours from 4 on. Raises NetworkError."""
    proc.stop_point("net-attend")
    data_fd = _open(path, posix.O_RDONLY)
    try:
        program_fd = programs.attend()
        try:
            attendant.run(program_fd, [word.encode() for word in argv], data_fd, fds)
        finally:
            posix.close(program_fd)
    except OSError as err:
        raise NetworkError("start", argv[0], errno=err.errno) from err
    finally:
        posix.close(data_fd)
    proc.stop_point("net-attended")


def stop(path: str, *, patience_ms: int = 0) -> None:
    """Remove a data file and end its attendant; fine when there is neither. Raises NetworkError.

    `patience_ms`: how long it may take to end by itself, with what it watches.
    """
    fd = _open(path, posix.O_RDONLY)
    if fd < 0:
        return
    pidfd = -1
    try:
        pidfd = _open_holder(fd)
        posix.unlink(path)  # from here on it ends by itself, whatever becomes of us
        if pidfd >= 0 and not (patience_ms and proc.poll([(pidfd, proc.POLLIN)], patience_ms)):
            proc.pidfd_send_signal(pidfd, _SIGKILL)
            if not proc.poll([(pidfd, proc.POLLIN)], _DEATH_MS):
                raise NetworkError("end the attendant of", path, f"it is there {_DEATH_MS // 1000} s after SIGKILL")
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.ESRCH):
            raise NetworkError("end the attendant of", path, errno=err.errno) from err
    finally:
        for each in (fd, pidfd):
            if each >= 0:
                posix.close(each)


def _open_holder(fd: int) -> int:
    """Return a pidfd of who holds a lock, -1 where nobody does."""
    while True:
        pid = attendant.holder(fd)
        if pid <= 0:
            return -1
        try:
            pidfd = proc.pidfd_open(pid)
        except OSError as err:
            if err.errno == errno.ESRCH:
                continue
            raise
        if attendant.holder(fd) == pid:  # it held the lock after we had its pidfd: the pid was not another one's
            return pidfd
        posix.close(pidfd)


def _open(path: str, flags: int) -> int:
    """Open a data file; -1 where there is none. Raises NetworkError."""
    try:
        return posix.open(path, flags | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return -1
    except OSError as err:
        raise NetworkError("open", path, errno=err.errno) from err
