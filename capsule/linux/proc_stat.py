"""Who a pid is now: its state letter and start time from /proc/<pid>/stat (man 5 proc_pid_stat).

Pids are reused; a pid together with its start time is not.
"""

from __future__ import annotations

import errno
import posix


def read(pid: int) -> tuple[str, int] | None:
    """Return (state letter, start time in clock ticks since boot) of `pid`, or None when there is no such process."""
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ESRCH):
            return None
        raise
    try:
        data = posix.read(fd, 4096)
    except OSError as err:
        if err.errno == errno.ESRCH:
            return None
        raise
    finally:
        posix.close(fd)
    return parse(data)


def parse(data: bytes) -> tuple[str, int]:
    """Return (state letter, start time) from the text of a stat file."""
    # The second field is the command name, which may itself hold blanks and parentheses.
    fields = data[data.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19])


def is_alive(pid: int, start_time: int) -> bool:
    """Tell whether the process that was given `pid` at `start_time` still runs (a zombie does not)."""
    if pid <= 0:
        return False
    seen = read(pid)
    return seen is not None and seen[1] == start_time and seen[0] not in "ZXx"
