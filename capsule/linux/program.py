"""Run a helper program to its end: bytes on its stdin, a time limit, its wait status."""

from __future__ import annotations

import posix

from capsule._ext import proc

_SIGKILL = 9


class TimedOut(Exception):
    """The program was killed because it ran longer than it may."""


def run(path: str, args: list[str], env: list[str], *, stdin: bytes, timeout_ms: int = -1,
        cwd: str | None = None) -> int:
    """Run a program with our stdout and stderr and wait for it; returns its wait status (wait(2)).

    Raises OSError when it cannot be started, TimedOut when it was killed after timeout_ms.
    """
    # A sealed memfd and not a pipe: a program that does not read its stdin can neither block nor signal us.
    stdin_fd = proc.memfd("capsule-stdin", stdin)
    try:
        posix.lseek(stdin_fd, 0, 0)
        pid = proc.spawn(_bytes(path), [_bytes(arg) for arg in args], [_bytes(entry) for entry in env],
                         stdin_fd, 1, 2, cwd=None if cwd is None else _bytes(cwd))
    finally:
        posix.close(stdin_fd)
    if timeout_ms >= 0:
        _kill_after(pid, timeout_ms)
    return proc.wait_pid(pid)[1]


def _kill_after(pid: int, timeout_ms: int) -> None:
    pidfd = proc.pidfd_open(pid)
    try:
        if not proc.poll([(pidfd, proc.POLLIN)], timeout_ms):
            proc.pidfd_send_signal(pidfd, _SIGKILL)
            proc.wait_pid(pid)
            raise TimedOut
    finally:
        posix.close(pidfd)


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
