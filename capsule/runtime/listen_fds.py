"""Socket activation: descriptors from 3 on that systemd passes to the program of a container (sd_listen_fds(3))."""

from __future__ import annotations

import posix

_MANY = 65536  # more than any limit lets a process have open


def take(config, process) -> None:
    """Pass the announced descriptors on, before those of --preserve-fds, and tell the program as systemd would.

    Only where they were meant for us: LISTEN_PID is our pid.
    """
    pid, count = posix.environ.get(b"LISTEN_PID", b""), posix.environ.get(b"LISTEN_FDS", b"")
    if config.process is None or not (pid.isdigit() and int(pid) == posix.getpid() and count.isdigit()):
        return
    number = int(count[:6])
    if not 0 < number < _MANY:
        return
    process.preserve_fds += number
    # The program is the first process of its pid namespace, or at least believes so with runc.
    config.process.env = [*config.process.env, f"LISTEN_FDS={number}", "LISTEN_PID=1"]
