"""Memory on cgroup v2 (admin-guide/cgroup-v2, Memory). Sizes are in bytes, -1 is unlimited, 0 is "not given".

The specification counts memory and swap together, as v1 did; v2 counts swap alone.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule.cgroups import cgroupfs
from capsule.cgroups.v1.memory import check_sizes, refuse_kernel_memory
from capsule.cgroups.v2 import controllers, convert
from capsule.errors import CgroupError, SpecError

CONTROLLER = "memory"
MAX, LOW, SWAP = "memory.max", "memory.low", "memory.swap.max"
FILES = (
    ("limit", MAX, convert.number),
    ("reservation", LOW, convert.number),
    ("swap", SWAP, "swap − limit; -1 becomes max; max too where the limit is -1 and swap is not given"),
)
REFUSED = ("swappiness", "disableOOMKiller")

_PATH = "linux.resources.memory"


def is_given(memory: dict) -> bool:
    """Tell whether there is anything to limit."""
    return any([(memory.get(key) or 0) > 0 for key, _, _ in FILES])


def check(paths: dict[str, str], memory: dict, *, update: bool) -> None:
    """Refuse limits that contradict each other or that v2 has not, or where the controller cannot be had.

    Raises SpecError, Unsupported, CgroupError.
    """
    check_sizes(memory, update=update)
    refuse_kernel_memory(memory)
    if memory.get("swappiness") is not None:
        raise controllers.no_counterpart("memory.swappiness")
    if memory.get("disableOOMKiller"):
        raise controllers.no_counterpart("memory.disableOOMKiller")
    for key, file, _ in FILES:
        if (memory.get(key) or 0) > 0:
            controllers.need(paths, CONTROLLER, key if key != "limit" else "memory", file)


def apply(paths: dict[str, str], memory: dict) -> None:
    """Set what is given.

    Raises CgroupError, SpecError when swap is to be limited and memory is not.
    """
    directory = paths[controllers.UNIFIED]
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit == -1 and swap == 0:
        swap = -1  # unlimited is what the one who asks for it sees of both
    if memory.get("checkBeforeUpdate"):
        _check_usage(directory, limit, swap)
    if swap:
        _write_swap(directory, swap_alone(directory, limit, swap))
    if limit:
        _write(directory, MAX, convert.number(limit))
    if memory.get("reservation"):
        _write(directory, LOW, convert.number(memory["reservation"]))


def swap_alone(directory: str, limit: int, swap: int) -> str:
    """Return memory.swap.max for memory and swap together; without a limit given, the one in force counts.

    Raises CgroupError, SpecError.
    """
    if swap < 0:
        return "max"
    if limit == 0:
        text = cgroupfs.read(directory, MAX)
        limit = -1 if text == "max" else int(text)
    if limit < 0:
        raise SpecError("invalid configuration", f"{_PATH}.swap", "it is less than the unlimited memory limit")
    if swap < limit:
        raise SpecError("invalid configuration", f"{_PATH}.swap", f"{swap} is less than the memory limit {limit}")
    return str(swap - limit)


def _write_swap(directory: str, value: str) -> None:
    if value == "0" and not cgroupfs.has(directory, SWAP) and not _swaps():
        log.warning(f"{_PATH}.swap: swap is not counted here ({SWAP} is missing); there is none to use at present")
        return
    _write(directory, SWAP, value)


def _swaps() -> bool:
    """Tell whether the machine swaps anywhere (man 5 proc_swaps)."""
    return posix.access("/proc/swaps", posix.F_OK) and "\n" in cgroupfs.read("/proc", "swaps")


def _check_usage(directory: str, limit: int, swap: int) -> None:
    usage = int(cgroupfs.read(directory, "memory.current"))
    if 0 < limit < usage:
        raise CgroupError(f"rejecting memory limit {limit}", "", f"{usage} bytes are in use")
    if swap > 0:
        if cgroupfs.has(directory, "memory.swap.current"):
            usage += int(cgroupfs.read(directory, "memory.swap.current"))
        if swap < usage:
            raise CgroupError(f"rejecting memory+swap limit {swap}", "", f"{usage} bytes are in use")


def _write(directory: str, file: str, value: str) -> None:
    # What is unlimited as long as nothing limits it needs no file.
    if value != "max" or cgroupfs.has(directory, file):
        cgroupfs.write(directory, file, value)
