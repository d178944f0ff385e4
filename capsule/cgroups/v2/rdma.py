"""RDMA handles and objects on cgroup v2 (admin-guide/cgroup-v2, RDMA)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.v1.rdma import LIMITS, lines
from capsule.cgroups.v2 import controllers

CONTROLLER = "rdma"
FILES = tuple([(key, "rdma.max", f"DEVICE {word}=N") for key, word in LIMITS])


def is_given(rdma: dict) -> bool:
    """Tell whether there is anything to limit."""
    return bool(rdma)


def check(paths: dict[str, str], rdma: dict, *, update: bool) -> None:
    """Refuse limits where the controller cannot be had.

    Raises CgroupError.
    """
    controllers.need(paths, CONTROLLER, "RDMA", "rdma.max")


def apply(paths: dict[str, str], rdma: dict) -> None:
    """Limit each device that is given.

    Raises CgroupError.
    """
    found = lines(rdma)
    if found:
        cgroupfs.write_all(paths[controllers.UNIFIED], "rdma.max", found)
