"""Process 1 of an enclosure: give it mounts of its own, then reap orphans until the end.

Runs as `python -I -S inside.py KIND OPTIONS POINT ...`, three words for each cgroup hierarchy, in new mount, network,
pid and cgroup namespaces.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

PRIVATE = ("/run", "/dev/shm")  # empty inside: sockets, locks and state of the host's own engines are out of reach
COPIED = ("/etc", "/opt", "/var/lib", "/var/log")  # readable inside; what is written there is gone with the enclosure


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def separate(hierarchies: list[tuple[str, str, str]]) -> None:
    """Mount kernel file systems that show the new namespaces, and hide what engines share by name."""
    subprocess.run(["umount", "--lazy", "--recursive", "/sys"], check=True)
    mount("-t", "sysfs", "sysfs", "/sys")
    if any(point.startswith("/sys/fs/cgroup/") for _, _, point in hierarchies):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/sys/fs/cgroup")
    for kind, options, point in hierarchies:
        os.makedirs(point, exist_ok=True)
        mount("-t", kind, *(["-o", options] if options else []), kind, point)
    for path in PRIVATE:
        mount("-t", "tmpfs", "-o", "mode=1777" if path == "/dev/shm" else "mode=755", "tmpfs", path)
    os.makedirs("/run/layers")
    for number, path in enumerate(COPIED):
        upper, work = f"/run/layers/{number}", f"/run/layers/{number}.work"
        os.mkdir(upper)
        os.mkdir(work)
        mount("-t", "overlay", "-o", f"lowerdir={path},upperdir={upper},workdir={work}", "overlay", path)
    os.mkdir("/run/lock")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def reap() -> None:
    """Wait for every child, for ever: monitors and shims are orphans by design."""
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    arguments = iter(sys.argv[1:])
    separate(list(zip(arguments, arguments, arguments, strict=True)))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    os.write(1, b"ready\n")
    reap()
