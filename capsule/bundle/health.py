"""A container's health: a command run in it by exec tells; the monitor says when (docs/engine.md)."""

from __future__ import annotations

import posix
import time

from capsule import verbs
from capsule._ext import json, proc
from capsule.bundle import running
from capsule.bundle.containers import Record
from capsule.state.record import format_time
from capsule.state.store import Entry

FILE = "health.json"
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
_LOOKS = 5  # that are remembered
_OUTPUT_MAX = 4096
_TIMED_OUT = -1  # exit code of a look that took too long
_KILL, _STOP = 9, 19


def read(entry: Entry, record: Record) -> dict:
    """Return {status, failing, looks} of the present run; {} where nobody looks.

    looks: the last ones, {start, end, exit_code (-1: it took too long), output}.
    """
    if not record.health:
        return {}
    data = entry.marked(FILE)
    try:
        tree = json.loads(data) if data is not None else None
    except ValueError:
        tree = None
    if not isinstance(tree, dict) or tree.get("run") != record.runs or not isinstance(tree.get("looks"), list):
        return {"status": STARTING, "failing": 0, "looks": []}
    return {"status": tree["status"], "failing": tree["failing"], "looks": tree["looks"]}


def look(places: running.Places, entry: Entry, record: Record) -> None:
    """Look once and write down what is known now. Raises StateError."""
    start_ns = time.time_ns()
    exit_code, output = _run(places, record)
    known = read(entry, record)
    _count(known, record, exit_code, (start_ns - record.started_ns) // 1_000_000)
    known["looks"] = [*known["looks"], {
        "start": format_time(start_ns), "end": format_time(time.time_ns()), "exit_code": exit_code,
        "output": output.decode("utf-8", "replace"),
    }][-_LOOKS:]
    entry.replace(FILE, json.dumps({"run": record.runs, **known}) + b"\n")


def _count(known: dict, record: Record, exit_code: int, age_ms: int) -> None:
    if exit_code == 0:
        known["status"], known["failing"] = HEALTHY, 0
    elif known["status"] != STARTING or age_ms >= record.health["start_period_ms"]:
        known["failing"] += 1
        if known["failing"] >= record.health["retries"]:
            known["status"] = UNHEALTHY


def _run(places: running.Places, record: Record) -> tuple[int, bytes]:
    """Return (exit code, the beginning of what it said)."""
    argv = verbs.launcher_argv(places.runtime, "exec", record.id, *record.health["command"])
    null_fd = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    read_fd, write_fd = posix.pipe2(posix.O_CLOEXEC)
    try:
        pid = proc.spawn(argv[0], argv, [], null_fd, write_fd, write_fd, cwd=b"/")
    finally:
        posix.close(write_fd)
        posix.close(null_fd)
    pidfd = proc.pidfd_open(pid)
    try:
        output, in_time = _listen(read_fd, pidfd, record.health["timeout_ms"])
        if not in_time:
            _kill_session(pid, pidfd)
    finally:
        posix.close(read_fd)
        posix.close(pidfd)
    _, status = proc.wait_pid(pid)
    return posix.waitstatus_to_exitcode(status) if in_time else _TIMED_OUT, output


def _kill_session(pid: int, pidfd: int) -> None:
    """End the call of exec, and the session of the command it has started: what that left behind would pile up."""
    proc.pidfd_send_signal(pidfd, _STOP)  # whom it does not reap keeps its number
    try:
        fd = posix.open(f"/proc/{pid}/task/{pid}/children", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            children = posix.read(fd, _OUTPUT_MAX).split()
        finally:
            posix.close(fd)
        for child in map(int, children):
            if posix.getpgid(child) == child:
                posix.killpg(child, _KILL)
    except OSError:
        pass  # it ends with who has started it
    proc.pidfd_send_signal(pidfd, _KILL)


def _listen(read_fd: int, pidfd: int, timeout_ms: int) -> tuple[bytes, bool]:
    """Read until the process ends; returns the beginning, and whether it ended in time."""
    output, open_fds = b"", [(pidfd, proc.POLLIN), (read_fd, proc.POLLIN)]
    due = time.monotonic_ns() + timeout_ms * 1_000_000
    while True:
        left = max(due - time.monotonic_ns(), 0) // 1_000_000
        ready = [fd for fd, _ in proc.poll(open_fds, left)]
        if read_fd in ready:
            data = posix.read(read_fd, _OUTPUT_MAX)
            output += data[: _OUTPUT_MAX - len(output)]
            if not data:
                open_fds = open_fds[:1]
            continue
        if pidfd in ready:
            return output, True
        if due <= time.monotonic_ns():
            return output, False
