"""Memory on cgroup v1 (admin-guide/cgroup-v1/memory). Sizes are in bytes, -1 is unlimited, 0 is "not given"."""

from __future__ import annotations

import errno

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need
from capsule.errors import CgroupError, SpecError, Unsupported

LIMIT = "memory.limit_in_bytes"
SWAP = "memory.memsw.limit_in_bytes"  # memory and swap together, as the spec's key `swap`
KERNEL = ("kernel", "kernelTCP")
USAGE = "memory.usage_in_bytes"
SWAP_USAGE = "memory.memsw.usage_in_bytes"

FILES = (
    ("limit", LIMIT, "-1 lifts memory.swap too where that is not given"),
    ("reservation", "memory.soft_limit_in_bytes", None),
    ("swap", SWAP, None),
    ("swappiness", "memory.swappiness", None),
    ("disableOOMKiller", "memory.oom_control", "true becomes 1"),
)

_PATH = "linux.resources.memory"


def check(paths: dict[str, str], memory: dict, *, update: bool) -> None:
    """Refuse limits that contradict each other, or where there is no memory controller.

    Raises SpecError, CgroupError.
    """
    check_sizes(memory, update=update)
    refuse_kernel_memory(memory)
    swappiness = memory.get("swappiness")
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise SpecError("invalid configuration", f"{_PATH}.swappiness", f"{swappiness} is not in 0..100")
    for key, file, _ in FILES[:3]:
        if memory.get(key):
            need(paths, "memory", key if key != "limit" else "memory", file)
    if swappiness is not None:
        need(paths, "memory", "swappiness", "memory.swappiness")
    if memory.get("disableOOMKiller"):
        need(paths, "memory", "OOM killer", "memory.oom_control")


def check_sizes(memory: dict, *, update: bool) -> None:
    """Refuse memory and swap that contradict each other. Raises SpecError."""
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if swap > 0:
        # In an update the other one is what the container has already; the kernel compares.
        if limit == 0 and not update:
            raise SpecError("invalid configuration", f"{_PATH}.swap", "it needs a memory limit beside it")
        if limit < 0:
            raise SpecError("invalid configuration", f"{_PATH}.swap", "it is less than the unlimited memory limit")
        if swap < limit:
            raise SpecError("invalid configuration", f"{_PATH}.swap", f"{swap} is less than the memory limit {limit}")


def refuse_kernel_memory(memory: dict) -> None:
    """Refuse limits of kernel memory, which the kernel has dropped; no limit is what it has. Raises Unsupported."""
    for key in KERNEL:
        if (memory.get(key) or 0) > 0:
            cause = "kernel memory cannot be limited by itself (dropped in Linux 5.16); it counts towards memory.limit"
            raise Unsupported("apply", f"{_PATH}.{key}", cause)


def apply(paths: dict[str, str], memory: dict) -> None:
    """Set what is given.

    Raises CgroupError.
    """
    directory = paths.get("memory", "")
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if memory.get("checkBeforeUpdate"):
        _check_usage(directory, limit, swap)
    if limit == -1 and swap == 0 and cgroupfs.has(directory, SWAP):
        swap = -1  # memory without bounds is bounded all the same while memory plus swap is
    _set_limits(directory, limit, swap)
    if memory.get("reservation"):
        cgroupfs.write(directory, "memory.soft_limit_in_bytes", str(memory["reservation"]))
    if memory.get("swappiness") is not None:
        cgroupfs.write(directory, "memory.swappiness", str(memory["swappiness"]))
    if memory.get("disableOOMKiller"):
        cgroupfs.write(directory, "memory.oom_control", "1")


def _set_limits(directory: str, limit: int, swap: int) -> None:
    # The kernel keeps memory <= memory plus swap at every moment: raise the outer one first, lower it last.
    swap_first = limit and swap and (swap == -1 or swap > int(cgroupfs.read(directory, LIMIT)))
    if swap_first:
        _write_swap(directory, swap)
    if limit:
        _write_limit(directory, LIMIT, limit, USAGE)
    if swap and not swap_first:
        _write_swap(directory, swap)


def _write_swap(directory: str, swap: int) -> None:
    # Without swap accounting nothing limits swap, and "no limit" is what -1 asks for.
    if swap != -1 or cgroupfs.has(directory, SWAP):
        _write_limit(directory, SWAP, swap, SWAP_USAGE)


def _write_limit(directory: str, file: str, value: int, usage: str) -> None:
    try:
        cgroupfs.write(directory, file, str(value))
    except CgroupError as err:
        if err.errno != errno.EBUSY:
            raise
        cause = f"{cgroupfs.read(directory, usage)} bytes are in use"
        raise CgroupError(err.operation, err.subject, cause, errno=err.errno) from err


def _check_usage(directory: str, limit: int, swap: int) -> None:
    for name, value, file in (("memory", limit, USAGE), ("memory+swap", swap, SWAP_USAGE)):
        if value > 0:
            usage = int(cgroupfs.read(directory, file))
            if usage > value:
                raise CgroupError(f"rejecting {name} limit {value}", "", f"{usage} bytes are in use")
