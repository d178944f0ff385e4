"""The eight kinds of namespaces(7): the spec's word, the clone flag, the file under /proc/PID/ns."""

from __future__ import annotations

import posix

# spec word: (CLONE_NEW* flag, /proc/PID/ns file, key in the saved record)
KINDS = {
    "user": (0x10000000, "user", "NEWUSER"),
    "cgroup": (0x02000000, "cgroup", "NEWCGROUP"),
    "ipc": (0x08000000, "ipc", "NEWIPC"),
    "uts": (0x04000000, "uts", "NEWUTS"),
    "network": (0x40000000, "net", "NEWNET"),
    "pid": (0x20000000, "pid", "NEWPID"),
    "mount": (0x00020000, "mnt", "NEWNS"),
    "time": (0x00000080, "time", "NEWTIME"),
}

_INITIAL_USER = 0xEFFFFFFD  # PROC_USER_INIT_INO, linux/proc_ns.h


def is_initial_user() -> bool:
    """Tell whether we are in the machine's own user namespace, where uid 0 is root over all. One system call."""
    try:
        return posix.stat("/proc/self/ns/user").st_ino == _INITIAL_USER
    except OSError:
        return True  # no procfs, or a kernel without user namespaces


def record_paths(pid: int) -> dict[str, str]:
    """Name the namespace files of a process under the keys of the saved record."""
    return {key: f"/proc/{pid}/ns/{name}" for _, name, key in KINDS.values()}
