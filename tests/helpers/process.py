"""Processes of the host, read from /proc; the test session as the reaper of its orphans."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from .wait import wait_until

PR_SET_CHILD_SUBREAPER = 36

_owned: set[int] = set()  # children that a Popen of the kit will reap


def become_subreaper() -> None:
    """Make every orphan below this process its child, so that a leaked one can be found and ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl PR_SET_CHILD_SUBREAPER")


def own(pid: int) -> None:
    """Leave the reaping of pid to whoever started it."""
    _owned.add(pid)


def disown(pid: int) -> None:
    _owned.discard(pid)


def stat(pid: int) -> tuple[str, str, int] | None:
    """Return (name, state letter, parent pid), or None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, fields[0], int(fields[1])


def state(pid: int) -> str:
    """Return the state letter of /proc/PID/stat, "" when the process is gone."""
    found = stat(pid)
    return found[1] if found else ""


def waits_for_a_lock(pid: int) -> bool:
    """Tell whether a process sleeps in the kernel until somebody lets go of a file's lock (flock(2))."""
    try:
        return "lock" in Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    return state(pid) not in ("", "Z", "X")


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(parent: int) -> list[int]:
    """Return the children of a process, zombies included (proc_pid_task(5), children)."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass  # the process, or one of its threads, has ended
    return found


def descriptors(pid: int | str) -> dict[str, str]:
    """Return what the open file descriptors of a process lead to, by number."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[name] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass  # closed since; of this process: the fd of this very listing
    return found


def descendants(root: int) -> list[int]:
    """Return everything below a process, nearest first."""
    parents: dict[int, list[int]] = {}
    for pid in all_pids():
        facts = stat(pid)
        if facts:
            parents.setdefault(facts[2], []).append(pid)
    found, queue = [], [root]
    while queue:
        for pid in parents.get(queue.pop(0), []):
            found.append(pid)
            queue.append(pid)
    return found


def reap_orphans() -> None:
    """Collect dead children that no Popen waits for: ended containers that were orphaned to us."""
    for pid in children(os.getpid()):
        if pid not in _owned and state(pid) == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def strangers() -> dict[int, str]:
    """Return living or dead children of this process that nobody owns, with their names."""
    found = {}
    for pid in children(os.getpid()):
        facts = stat(pid)
        if facts and pid not in _owned:
            found[pid] = f"{facts[0]} ({facts[1]})"
    return found


def end(pid: int, timeout: float = 5.0) -> None:
    """Kill one process by its pid, reap it when it is ours, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return

    def gone() -> bool:
        reap_orphans()
        return not is_alive(pid)

    wait_until(gone, timeout, f"the end of pid {pid}")
