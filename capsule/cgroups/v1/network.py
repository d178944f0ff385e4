"""Traffic class and priorities on cgroup v1 (admin-guide/cgroup-v1/net_cls, net_prio)."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need

FILES = (
    ("classID", "net_cls.classid", None),
    ("priorities", "net_prio.ifpriomap", "INTERFACE PRIORITY"),
)


def check(paths: dict[str, str], network: dict, *, update: bool) -> None:
    """Refuse settings where their controller is not mounted.

    Raises CgroupError.
    """
    if network.get("classID"):
        need(paths, "net_cls", "network class", "net_cls.classid")
    if network.get("priorities"):
        need(paths, "net_prio", "network priority", "net_prio.ifpriomap")


def apply(paths: dict[str, str], network: dict) -> None:
    """Set what is given; a class of 0 is "not given".

    Raises CgroupError.
    """
    if network.get("classID"):
        cgroupfs.write(paths["net_cls"], "net_cls.classid", str(network["classID"]))
    if network.get("priorities"):
        lines = [f"{entry['name']} {entry['priority']}" for entry in network["priorities"]]
        cgroupfs.write_all(paths["net_prio"], "net_prio.ifpriomap", lines)
