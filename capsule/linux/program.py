"""Run a helper program to its end: bytes on its stdin, a time limit, its wait status, the end of its output."""

from __future__ import annotations

import posix
import time

from capsule._ext import proc

_SIGKILL = 9


OUTPUT_MAX = 65536  # bytes of a program's output that are kept unless a caller wants more: the last ones
_CHUNK = 65536
_DRAINS = 32  # reads after the program's end: what it left in the pipe, at most 1 MiB (man 7 pipe)


class TimedOut(Exception):
    """The program was killed because it ran longer than it may; `output` is what it had said."""

    def __init__(self, output: bytes) -> None:
        Exception.__init__(self)
        self.output = output


def run(path: str, args: list[str], env: list[str], *, stdin: bytes, timeout_ms: int = -1,
        cwd: str | None = None, keep: int = OUTPUT_MAX) -> tuple[int, bytes]:
    """Run a program to its end; returns its wait status (wait(2)) and the last `keep` bytes of its stdout and stderr.

    Raises OSError when it cannot be started, TimedOut when it was killed after timeout_ms.
    """
    # A sealed memfd and not a pipe: a program that does not read its stdin can neither block nor signal us.
    stdin_fd = proc.memfd("capsule-stdin", stdin)
    output_fd, write_fd = posix.pipe()
    try:
        try:
            posix.lseek(stdin_fd, 0, 0)
            pid = proc.spawn(_bytes(path), [_bytes(arg) for arg in args], [_bytes(entry) for entry in env],
                             stdin_fd, write_fd, write_fd, cwd=None if cwd is None else _bytes(cwd))
        finally:
            posix.close(stdin_fd)
            posix.close(write_fd)
        return _follow(pid, output_fd, timeout_ms, keep)
    finally:
        posix.close(output_fd)


def _follow(pid: int, output_fd: int, timeout_ms: int, keep: int) -> tuple[int, bytes]:
    """Read what a program says until it has ended; not to the end of the pipe, which its children may keep open."""
    posix.set_blocking(output_fd, False)
    deadline = time.monotonic() + timeout_ms / 1000
    waited = [(proc.pidfd_open(pid), proc.POLLIN), (output_fd, proc.POLLIN)]
    pidfd = waited[0][0]
    output = b""
    try:
        while True:
            left = -1 if timeout_ms < 0 else max(0, int((deadline - time.monotonic()) * 1000))
            ready = [fd for fd, _ in proc.poll(waited, left)]
            if output_fd in ready:
                chunk = _read(output_fd)
                if chunk == b"":
                    del waited[1:]
                output = (output + (chunk or b""))[-keep:]
            if pidfd in ready:
                return proc.wait_pid(pid)[1], _drain(output_fd, output, keep)
            if timeout_ms >= 0 and time.monotonic() >= deadline:
                proc.pidfd_send_signal(pidfd, _SIGKILL)
                proc.wait_pid(pid)
                raise TimedOut(_drain(output_fd, output, keep))
    finally:
        posix.close(pidfd)


def _drain(output_fd: int, output: bytes, keep: int) -> bytes:
    for _ in range(_DRAINS):
        chunk = _read(output_fd)
        if not chunk:
            break
        output = (output + chunk)[-keep:]
    return output


def _read(fd: int) -> bytes | None:
    """Return what is there, b"" at the end of the file, None when there is nothing now."""
    try:
        return posix.read(fd, _CHUNK)
    except BlockingIOError:
        return None


def describe_status(status: int) -> str:
    """Say a wait status in words: `exit status 3`, `killed by signal 9`."""
    if status & 0x7F:
        return f"killed by signal {status & 0x7F}"
    return f"exit status {status >> 8 & 0xFF}"


def exit_code(status: int) -> int:
    """Turn a wait status into a shell's exit code: the program's own, or 128 + signal."""
    return 128 + (status & 0x7F) if status & 0x7F else status >> 8 & 0xFF


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
