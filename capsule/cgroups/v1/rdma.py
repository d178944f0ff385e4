"""RDMA handles and objects on cgroup v1 (admin-guide/cgroup-v1/rdma)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need

_LIMITS = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))


def check(paths: dict[str, str], rdma: dict, *, update: bool) -> None:
    """Refuse limits where there is no rdma controller.

    Raises CgroupError.
    """
    need(paths, "rdma", "RDMA", "rdma.max")


def apply(paths: dict[str, str], rdma: dict) -> None:
    """Limit each device that is given.

    Raises CgroupError.
    """
    lines = []
    for device, limits in rdma.items():
        words = [f"{word}={limits[key]}" for key, word in _LIMITS if limits.get(key) is not None]
        if words:
            lines.append(" ".join([device, *words]))
    if lines:
        cgroupfs.write_all(paths["rdma"], "rdma.max", lines)
