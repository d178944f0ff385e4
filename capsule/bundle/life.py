"""What a container of the engine is doing: asked of the kernel, and of who looks after it.

Whoever looks after a run, a relay or a monitor, has `alive` in the container's directory flocked for as long as it
lives, through every restart: whoever waits for that lock waits for the end, whatever the end was.
"""

from __future__ import annotations

import posix

from capsule import verbs
from capsule._ext import proc
from capsule.bundle.containers import Record, end_of
from capsule.errors import StateError
from capsule.linux import proc_stat
from capsule.state.store import Entry

CREATED, RUNNING, PAUSED, RESTARTING, EXITED, REMOVING = (
    "created", "running", "paused", "restarting", "exited", "removing")
ALIVE = "alive"  # pid and start time of who looks after it
LOST = 255  # exit status of a run whose end nobody could write down
_TERM = 15


class Life:
    """The present status; `pid` of the first process, 0 where there is none; `end` of the last run, if it has ended."""

    __slots__ = ("status", "pid", "end")

    def __init__(self, status: str, pid: int = 0, end: dict | None = None) -> None:
        self.status = status
        self.pid = pid
        self.end = end

    @property
    def is_up(self) -> bool:
        """Tell whether there are processes."""
        return self.status in (RUNNING, PAUSED)


def observe(root: str, entry: Entry, record: Record) -> Life:
    """Ask what a container is doing; `root` is the runtime's."""
    status, pid = _runtime_status(root, record.id)
    if pid:
        return Life(PAUSED if status == "paused" else RUNNING, pid)
    if record.removing:
        return Life(REMOVING)
    if not record.runs:
        return Life(CREATED)
    end = end_of(entry, record)
    again = _may_run_again(record, end) and is_alive(entry)
    return Life(RESTARTING if again else EXITED, 0, end or {"reason": "lost", "status": LOST, "time": ""})


def _may_run_again(record: Record, end: dict | None) -> bool:
    """Tell whether a container that has ended, and whose monitor lives, is to run again by its policy."""
    policy = record.restart.get("policy", "no")
    if not record.wanted or policy == "no":
        return False
    return policy != "on-failure" or end is None or end["status"] != 0


def _runtime_status(root: str, id: str) -> tuple[str, int]:
    try:
        state = verbs.state(root, id)
    except StateError:
        return "", 0  # none, or half-made
    return state["status"], state["pid"]


def take(entry: Entry) -> int:
    """Become who looks after a container, which the caller has locked; returns the descriptor to keep."""
    fd = posix.open(ALIVE, posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600,
                    dir_fd=entry.dir_fd)
    proc.flock(fd, proc.LOCK_EX)
    sign(fd)
    return fd


def sign(fd: int) -> None:
    """Write down who we are."""
    seen = proc_stat.read(posix.getpid())
    posix.ftruncate(fd, 0)
    posix.pwrite(fd, f"{posix.getpid()} {seen[1] if seen is not None else 0}".encode(), 0)


def is_alive(entry: Entry) -> bool:
    """Tell whether somebody looks after a container."""
    fd = _open(entry)
    if fd < 0:
        return False
    try:
        proc.flock(fd, proc.LOCK_SH | proc.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        posix.close(fd)
    return False


def await_end(entry: Entry) -> None:
    """Wait until nobody looks after a container any more."""
    fd = _open(entry)
    if fd >= 0:
        proc.flock(fd, proc.LOCK_SH)
        posix.close(fd)


def dismiss(entry: Entry) -> None:
    """Tell a monitor that waits before it runs its container again not to; one whose container runs hears nothing."""
    fd = _open(entry)
    if fd < 0:
        return
    words = posix.read(fd, 64).split()
    posix.close(fd)
    if len(words) != 2 or not is_alive(entry):
        return
    pid, start_time = int(words[0]), int(words[1])
    try:
        pidfd = proc.pidfd_open(pid)
    except OSError:
        return
    try:
        if proc_stat.is_alive(pid, start_time):
            proc.pidfd_send_signal(pidfd, _TERM)
    except OSError:
        pass  # it has just gone
    finally:
        posix.close(pidfd)


def clear(root: str, id: str) -> None:
    """Remove what a run left in the runtime whose end nobody looked after. Raises CapsuleError."""
    verbs.delete(root, id, force=True)


def has_leftover(root: str, id: str) -> bool:
    """Tell whether the runtime has anything of a container."""
    try:
        posix.stat(f"{root}/{id}")
    except OSError:
        return False
    return True


def _open(entry: Entry) -> int:
    try:
        return posix.open(ALIVE, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=entry.dir_fd)
    except FileNotFoundError:
        return -1

