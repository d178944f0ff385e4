"""Cpus and memory nodes on cgroup v1 (admin-guide/cgroup-v1/cpusets)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need

_FILES = (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems"))


def check(paths: dict[str, str], cpu: dict, *, update: bool) -> None:
    """Refuse cpus and mems where there is no cpuset controller.

    Raises CgroupError.
    """
    for key, file in _FILES:
        if cpu.get(key):
            need(paths, "cpuset", key, file)


def apply(paths: dict[str, str], cpu: dict) -> None:
    """Set cpus and mems; the manager has filled both from the parent already."""
    for key, file in _FILES:
        if cpu.get(key):
            cgroupfs.write(paths["cpuset"], file, cpu[key])
