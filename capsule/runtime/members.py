"""The processes of a container that has no cgroup: found by its pid namespace, or by descent where it has none.

Imported only for such a container. Where the pid namespace is the runtime's, a process whose parents have ended
cannot be told from others (docs/rootless.md).
"""

from __future__ import annotations

import posix

from capsule.errors import KernelError

_ESRCH = 3


def of(init_pid: int, *, private_pids: bool) -> list[int]:
    """Return the pids, in our pid namespace, of the container's processes; none when the first has gone."""
    parents = _parents()
    wanted = _namespace(init_pid) if private_pids else 0
    members = {init_pid} if init_pid in parents else set()
    if wanted:
        members |= {pid for pid in parents if _namespace(pid) == wanted}
    # Below a member: its children, and what lives in pid namespaces that were made inside.
    rest = [pid for pid in parents if pid not in members]
    while found := [pid for pid in rest if parents[pid] in members]:
        members.update(found)
        rest = [pid for pid in rest if pid not in members]
    return sorted(members)


def kill(init_pid: int, sig: int, *, private_pids: bool) -> None:
    """Signal them all. Raises KernelError."""
    for pid in of(init_pid, private_pids=private_pids):
        try:
            posix.kill(pid, sig)
        except OSError as err:
            if err.errno != _ESRCH:
                raise KernelError("kill", str(pid), errno=err.errno or 0) from err


def _parents() -> dict[int, int]:
    """Return {pid: parent's pid} of every process in sight."""
    parents = {}
    for name in posix.listdir("/proc"):
        if name.isdecimal():
            parent = _parent(int(name))
            if parent >= 0:
                parents[int(name)] = parent
    return parents


def _parent(pid: int) -> int:
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            text = posix.read(fd, 1024)
        finally:
            posix.close(fd)
    except OSError:
        return -1  # it has gone
    return int(text.rpartition(b")")[2].split()[1])


def _namespace(pid: int) -> int:
    """Return what identifies a process's pid namespace, 0 where we may not know."""
    try:
        return posix.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0
