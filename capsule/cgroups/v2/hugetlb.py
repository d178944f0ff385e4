"""Huge pages on cgroup v2 (admin-guide/cgroup-v2, HugeTLB). Limits are in bytes."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.v1.hugetlb import check_sizes, write
from capsule.cgroups.v2 import controllers

CONTROLLER = "hugetlb"
FILES = (("pageSize, limit", "hugetlb.SIZE.max", None), ("pageSize, limit", "hugetlb.SIZE.rsvd.max", "where it exists"))


def is_given(limits: list[dict]) -> bool:
    """Tell whether there is anything to limit."""
    return bool(limits)


def check(paths: dict[str, str], limits: list[dict], *, update: bool) -> None:
    """Refuse page sizes that are none, and limits where the controller cannot be had.

    Raises SpecError, CgroupError.
    """
    check_sizes(limits)
    if limits:
        controllers.need(paths, CONTROLLER, "huge page", f"hugetlb.{limits[0]['pageSize']}.max")


def apply(paths: dict[str, str], limits: list[dict]) -> None:
    """Limit use, and reservation where the kernel can (Linux 5.7).

    Raises CgroupError.
    """
    directory = paths[controllers.UNIFIED]
    for entry in limits:
        name = f"hugetlb.{entry['pageSize']}"
        write(directory, name, ".max", str(entry["limit"]))
        if cgroupfs.has(directory, f"{name}.rsvd.max"):
            cgroupfs.write(directory, f"{name}.rsvd.max", str(entry["limit"]))
