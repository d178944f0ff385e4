"""Apply scheduling, I/O priority, affinity, execution domain and memory policy. Few configs have any of it.

What only a process can set for itself, S2 sets before it becomes the tail, which inherits it; the rest R sets
on the tail, in the container's cgroup already and with nothing of the program run. man 2 sched_setattr, man 2
ioprio_set, man 2 personality, man 2 set_mempolicy, man 2 sched_setaffinity.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import attributes as ext, proc
from capsule.errors import KernelError, Unsupported

# linux/sched.h, linux/ioprio.h, linux/personality.h, linux/mempolicy.h
POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}
MEMORY_POLICIES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_POLICY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15,
}


class Attributes:
    """What a process gets; a field is None where the config leaves it alone."""

    __slots__ = ("scheduler", "io_priority", "affinity", "personality", "memory_policy")

    def __init__(self, process, config, *, is_exec: bool) -> None:
        self.scheduler = process.scheduler
        self.io_priority = process.io_priority
        # Of the first process the specification wants it ignored.
        self.affinity = process.cpu_affinity if is_exec else None
        self.personality = config.personality
        self.memory_policy = config.memory_policy

    def set_own(self) -> None:
        """Set, in S2, what the tail inherits. Raises KernelError, Unsupported."""
        if self.affinity is not None and self.affinity[0]:
            _set_affinity(0, self.affinity[0], "initial")
        if self.personality is not None:
            try:
                ext.set_personality(PERSONALITIES[self.personality])
            except OSError as err:
                raise KernelError("set personality", self.personality, errno=err.errno) from err
        if self.memory_policy is not None:
            _set_memory_policy(*self.memory_policy)

    def set_on(self, pid: int) -> None:
        """Set, in R, the rest on the tail. Raises KernelError."""
        if self.affinity is None:
            proc.sched_reset_affinity(pid)
        elif self.affinity[1]:
            _set_affinity(pid, self.affinity[1], "final")
        elif not self.affinity[0]:
            proc.sched_reset_affinity(pid)
        if self.io_priority is not None:
            _set_io_priority(pid, *self.io_priority)
        # After the affinity, which SCHED_DEADLINE does not let anybody narrow any more.
        if self.scheduler is not None:
            _set_scheduler(pid, self.scheduler)


def _set_affinity(pid: int, cpus: list[int], name: str) -> None:
    try:
        posix.sched_setaffinity(pid, cpus)
    except OSError as err:
        cause = "none of these CPUs is online and allowed" if err.errno == errno.EINVAL else ""
        subject = f"execCPUAffinity.{name} {numbers(cpus)}"
        raise KernelError("set CPU affinity", subject, cause, errno=err.errno or 0) from err


def _set_io_priority(pid: int, io_class: str, level: int) -> None:
    try:
        ext.set_io_priority(pid, IO_CLASSES[io_class], level)
    except OSError as err:
        cause = ""
        if err.errno == errno.EPERM and io_class == "IOPRIO_CLASS_RT":
            cause = "operation not permitted (it needs CAP_SYS_NICE or CAP_SYS_ADMIN)"
        raise KernelError("set I/O priority", f"{io_class} {level}", cause, errno=err.errno or 0) from err


def _set_scheduler(pid: int, wanted: dict) -> None:
    policy = wanted["policy"]
    flags = 0
    for name in wanted.get("flags", []):
        flags |= SCHEDULER_FLAGS[name]
    try:
        ext.set_scheduler(pid, POLICIES[policy], flags, wanted.get("nice", 0), wanted.get("priority", 0),
                          wanted.get("runtime", 0), wanted.get("deadline", 0), wanted.get("period", 0))
    except OSError as err:
        raise KernelError("set scheduler", policy, _scheduler_cause(err.errno, policy), errno=err.errno or 0) from err


def _scheduler_cause(number: int | None, policy: str) -> str:
    if number == errno.EPERM and policy in ("SCHED_FIFO", "SCHED_RR"):
        return ("operation not permitted (it needs CAP_SYS_NICE and, where cgroup v1 shares out real time, "
                "linux.resources.cpu.realtimeRuntime)")
    if number == errno.EPERM:
        return "operation not permitted (it needs CAP_SYS_NICE)"
    if number == errno.EBUSY:
        return "the machine has not as much real time left"
    if number == errno.EOPNOTSUPP:
        return "this kernel has no utilization clamping"
    return ""


def _set_memory_policy(mode: str, nodes: list[int], flags: list[str]) -> None:
    number = MEMORY_POLICIES[mode]
    for name in flags:
        number |= MEMORY_POLICY_FLAGS[name]
    subject = " ".join([mode, numbers(nodes), *flags]).replace("  ", " ").strip()
    try:
        ext.set_memory_policy(number, nodes)
        return
    except OSError as err:
        if err.errno == errno.ENOSYS:
            raise Unsupported("set memory policy", subject, "this kernel has no NUMA memory policies") from err
        if err.errno != errno.EINVAL:
            raise KernelError("set memory policy", subject, errno=err.errno or 0) from err
    # The kernel says the same of a mode that it lacks and of nodes that it does not give us.
    allowed = ext.allowed_nodes()
    try:
        ext.set_memory_policy(number, allowed if nodes else [])
    except OSError as err:
        raise Unsupported("set memory policy", subject, "this kernel lacks the mode or a flag") from err
    raise KernelError("set memory policy", subject, f"the nodes allowed are {numbers(allowed)}", errno=errno.EINVAL)


def numbers(listed: list[int]) -> str:
    """Write numbers as the kernel lists them: 0-3,7."""
    parts: list[str] = []
    ordered = sorted(set(listed))
    start = 0
    for index, value in enumerate(ordered):
        if index + 1 < len(ordered) and ordered[index + 1] == value + 1:
            continue
        parts.append(str(value) if ordered[start] == value else f"{ordered[start]}-{value}")
        start = index + 1
    return ",".join(parts)
