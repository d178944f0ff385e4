"""Cpus and memory nodes on cgroup v2 (admin-guide/cgroup-v2, Cpuset). What is not given is the parent's."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.v2 import controllers

CONTROLLER = "cpuset"
FILES = (("cpus", "cpuset.cpus", None), ("mems", "cpuset.mems", None))


def is_given(cpu: dict) -> bool:
    """Tell whether there is anything to limit."""
    return bool(cpu.get("cpus") or cpu.get("mems"))


def check(paths: dict[str, str], cpu: dict, *, update: bool) -> None:
    """Refuse cpus and mems where the controller cannot be had.

    Raises CgroupError.
    """
    for key, file, _ in FILES:
        if cpu.get(key):
            controllers.need(paths, CONTROLLER, key, file)


def apply(paths: dict[str, str], cpu: dict) -> None:
    """Set what is given.

    Raises CgroupError.
    """
    for key, file, _ in FILES:
        if cpu.get(key):
            cgroupfs.write(paths[controllers.UNIFIED], file, cpu[key])
