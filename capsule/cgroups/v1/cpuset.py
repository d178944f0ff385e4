"""Cpus and memory nodes on cgroup v1 (admin-guide/cgroup-v1/cpusets)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need

FILES = (
    ("cpus", "cpuset.cpus", "filled from the parent when not given"),
    ("mems", "cpuset.mems", "filled from the parent when not given"),
)


def check(paths: dict[str, str], cpu: dict, *, update: bool) -> None:
    """Refuse cpus and mems where there is no cpuset controller.

    Raises CgroupError.
    """
    for key, file, _ in FILES:
        if cpu.get(key):
            need(paths, "cpuset", key, file)


def apply(paths: dict[str, str], cpu: dict) -> None:
    """Set cpus and mems; the manager has filled both from the parent already."""
    for key, file, _ in FILES:
        if cpu.get(key):
            cgroupfs.write(paths["cpuset"], file, cpu[key])
