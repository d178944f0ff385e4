"""The number of processes on cgroup v2 (admin-guide/cgroup-v2, PID)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.v1.pids import maximum
from capsule.cgroups.v2 import controllers

CONTROLLER = "pids"
FILES = (("limit", "pids.max", maximum),)


def is_given(pids: dict) -> bool:
    """Tell whether there is anything to limit."""
    return pids.get("limit") is not None and pids["limit"] >= 0


def check(paths: dict[str, str], pids: dict, *, update: bool) -> None:
    """Refuse a limit where the controller cannot be had.

    Raises CgroupError.
    """
    if is_given(pids):
        controllers.need(paths, CONTROLLER, "pids", "pids.max")


def apply(paths: dict[str, str], pids: dict) -> None:
    """Set the limit; a negative one is none.

    Raises CgroupError.
    """
    directory = paths[controllers.UNIFIED]
    if is_given(pids) or (pids.get("limit") is not None and cgroupfs.has(directory, "pids.max")):
        cgroupfs.write(directory, "pids.max", maximum(pids["limit"]))
