"""Scheduling, I/O priority, CPU affinity, execution domain, memory policy: rules of more than one field.

runtime-spec config.md#linux-process, config-linux.md#personality, config-linux.md#memory-policy; man 7 sched,
man 2 ioprio_set, man 2 set_mempolicy. Imported only for a config that has one of them.
"""

from __future__ import annotations

from capsule.errors import Unsupported
from capsule.spec.check import problem, quote, required

NICE_POLICIES = ("SCHED_OTHER", "SCHED_BATCH")
REAL_TIME_POLICIES = ("SCHED_FIFO", "SCHED_RR")
DEADLINE = "SCHED_DEADLINE"
DEADLINE_FLAGS = ("SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN")

CPUS_MAX = 8192  # the largest CONFIG_NR_CPUS
NODES_MAX = 1024  # the largest 1 << CONFIG_NODES_SHIFT

WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
NEED_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")
BALANCING, RELATIVE, STATIC = "MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"


def check_scheduler(tree: dict, where: str) -> dict:
    """Check the object `scheduler` for combinations that sched_setattr(2) would refuse or ignore."""
    policy = required(tree, "policy", where)
    if policy == "SCHED_ISO":
        raise Unsupported("config.json", f"{where}.policy", "no Linux kernel has SCHED_ISO")
    if tree.get("nice") and policy not in NICE_POLICIES:
        raise problem(f"{where}.nice", f"{policy} takes no nice value")
    priority = tree.get("priority", 0)
    if policy in REAL_TIME_POLICIES and not priority:
        raise problem(f"{where}.priority", f"{policy} needs a priority from 1 to 99")
    if priority and policy not in REAL_TIME_POLICIES:
        raise problem(f"{where}.priority", f"{policy} takes no priority")
    for index, flag in enumerate(tree.get("flags", [])):
        if flag in DEADLINE_FLAGS and policy != DEADLINE:
            raise problem(f"{where}.flags[{index}]", f"{flag} needs {DEADLINE}")
    for name in ("runtime", "deadline", "period"):
        if tree.get(name) and policy != DEADLINE:
            raise problem(f"{where}.{name}", f"needs {DEADLINE}, got {policy}")
    if policy == DEADLINE:
        _check_deadline(tree, where)
    return tree


def _check_deadline(tree: dict, where: str) -> None:
    runtime, deadline, period = tree.get("runtime", 0), tree.get("deadline", 0), tree.get("period", 0)
    if not runtime:
        raise problem(f"{where}.runtime", f"{DEADLINE} needs a runtime in nanoseconds")
    if runtime > deadline:
        raise problem(f"{where}.deadline", f"expected at least the runtime, {runtime}, got {deadline}")
    if period and deadline > period:
        raise problem(f"{where}.period", f"expected at least the deadline, {deadline}, got {period}")


def check_io_priority(tree: dict, where: str) -> tuple[str, int]:
    """Return class and level of the object `ioPriority`."""
    return required(tree, "class", where), tree.get("priority", 0)


def check_affinity(tree: dict, where: str) -> tuple[list[int], list[int]]:
    """Return the CPUs of `execCPUAffinity` before and after the process joins its cgroup; [] leaves them alone."""
    return (
        parse_list(tree.get("initial", ""), CPUS_MAX, f"{where}.initial"),
        parse_list(tree.get("final", ""), CPUS_MAX, f"{where}.final"),
    )


def check_personality(tree: dict) -> str:
    """Return the execution domain; the specification names no flag that could be honoured."""
    flags = tree.get("flags", [])
    if flags:
        raise problem("linux.personality.flags[0]", f"the specification has no flags yet, got {quote(flags[0])}")
    return required(tree, "domain", "linux.personality")


def check_memory_policy(tree: dict) -> tuple[str, list[int], list[str]]:
    """Return mode, nodes and flags of `linux.memoryPolicy`."""
    where = "linux.memoryPolicy"
    mode, flags = required(tree, "mode", where), tree.get("flags", [])
    nodes = parse_list(tree.get("nodes", ""), NODES_MAX, f"{where}.nodes")
    if nodes and mode in WITHOUT_NODES:
        raise problem(f"{where}.nodes", f"{mode} takes no nodes")
    if not nodes and mode in NEED_NODES:
        raise problem(f"{where}.nodes", f"{mode} needs nodes, such as 0-3,7")
    for index, flag in enumerate(flags):
        at = f"{where}.flags[{index}]"
        if flag == BALANCING and mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
            raise problem(at, f"{flag} needs MPOL_BIND or MPOL_PREFERRED_MANY")
        if flag != BALANCING and not nodes:
            raise problem(at, f"{flag} needs nodes")
        if flag == RELATIVE and STATIC in flags:
            raise problem(at, f"{RELATIVE} and {STATIC} exclude each other")
    return mode, nodes, flags


def parse_list(text: str, limit: int, where: str) -> list[int]:
    """Read a kernel's list of numbers below `limit`, such as "0-3,7"; "" is none."""
    numbers: list[int] = []
    for part in text.split(",") if text.strip() else []:
        first, dash, last = part.strip().partition("-")
        low = _number(first, limit)
        high = _number(last, limit) if dash else low
        if low < 0 or high < low:
            raise problem(where, f"expected a list such as 0-3,7 of numbers below {limit}, got {quote(text)}")
        numbers += range(low, high + 1)
    return numbers


def _number(text: str, limit: int) -> int:
    """Return a decimal number below limit, or -1."""
    if not 0 < len(text) <= 5 or not text.isascii() or not text.isdigit() or int(text) >= limit:
        return -1
    return int(text)
