"""RDMA handles and objects on cgroup v1 (admin-guide/cgroup-v1/rdma)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need

LIMITS = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
FILES = tuple([(key, "rdma.max", f"DEVICE {word}=N") for key, word in LIMITS])


def check(paths: dict[str, str], rdma: dict, *, update: bool) -> None:
    """Refuse limits where there is no rdma controller.

    Raises CgroupError.
    """
    need(paths, "rdma", "RDMA", "rdma.max")


def apply(paths: dict[str, str], rdma: dict) -> None:
    """Limit each device that is given.

    Raises CgroupError.
    """
    found = lines(rdma)
    if found:
        cgroupfs.write_all(paths["rdma"], "rdma.max", found)


def lines(rdma: dict) -> list[str]:
    """Return what is written to rdma.max, a line for each device; both versions read the same."""
    found = []
    for device, limits in rdma.items():
        words = [f"{word}={limits[key]}" for key, word in LIMITS if limits.get(key) is not None]
        if words:
            found.append(" ".join([device, *words]))
    return found
