"""Stop points: builds of the launcher in which a process stops itself where a test says.

The process that reaches the point named by $CAPSULE_STOP raises SIGSTOP on itself; the test looks
at what is there, then continues or kills it. The names are read from the sources, so that a new
stop point is tested from the day it is written.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from . import process
from .runtime import ENVIRONMENT, Running, Runtime
from .wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
CALL = re.compile(r"""\b(?:capsule_proc_)?(?:CAPSULE_)?stop_point\(\s*b?["']([\w.:-]+)["']""",
                  re.IGNORECASE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def names(*directories: str) -> list[str]:
    """Return the names of all stop points in the sources."""
    found = set()
    for directory in directories or ("capsule", "csrc"):
        for path in sorted((ROOT / directory).rglob("*")):
            if path.suffix in (".py", ".pyx") or path.suffix == ".c" and directory == "csrc":
                text = path.read_text(encoding="utf-8")
                found.update(CALL.findall(COMMENT.sub("", text) if path.suffix == ".c" else text))
    return sorted(found)


class Stopped:
    """A call of which one process has stopped itself."""

    def __init__(self, running: Running, pid: int) -> None:
        self.running, self.pid = running, pid

    @property
    def is_runtime(self) -> bool:
        """Tell a stop in R itself from one in a process it made."""
        return self.pid == self.running.pid

    def proceed(self) -> None:
        """Let it go on; fine when the runtime has killed it meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def stop_at(runtime: Runtime, name: str, *words: str | Path, timeout: float = 10.0,
            past: Callable[[], bool] = lambda: False, **how: object) -> Stopped | None:
    """Start a call and wait until it stops at the point.

    None when it ends without reaching it, or when `past` says that it will not reach it any more.
    """
    env = {**ENVIRONMENT, "CAPSULE_STOP": name}
    running = runtime.spawn(*words, env=env, **how)  # type: ignore[arg-type]
    found = wait_until(lambda: _stopped(running) or running.popen.poll() is not None or past(), timeout,
                       f"a stop at {name}")
    return None if found is True else Stopped(running, found)


def _stopped(running: Running) -> int:
    for pid in [running.pid, *process.descendants(running.pid)]:
        if process.state(pid) == "T":
            return pid
    return 0
