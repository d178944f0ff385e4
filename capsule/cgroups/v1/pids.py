"""The number of processes on cgroup v1 (admin-guide/cgroup-v1/pids)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need


def maximum(limit: int) -> str:
    """-1 becomes max, 0 becomes 1"""
    # With 0 the kernel would refuse the init itself (EAGAIN from clone): the least a container can have is 1.
    return "max" if limit < 0 else str(max(limit, 1))


FILES = (("limit", "pids.max", maximum),)


def check(paths: dict[str, str], pids: dict, *, update: bool) -> None:
    """Refuse a limit where there is no pids controller.

    Raises CgroupError.
    """
    if pids.get("limit") is not None and pids["limit"] >= 0:
        need(paths, "pids", "pids", "pids.max")


def apply(paths: dict[str, str], pids: dict) -> None:
    """Set the limit; a negative one is none.

    Raises CgroupError.
    """
    limit = pids.get("limit")
    if limit is None or (limit < 0 and "pids" not in paths):
        return
    cgroupfs.write(paths["pids"], "pids.max", maximum(limit))
