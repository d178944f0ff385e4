"""`linux.resources`: which subject applies which key, in which order, and what is refused beforehand.

A subject is a module with check(paths, value, update=...) and apply(paths, value); most containers need one or two,
so they are imported as asked for. Keys and units: runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

from capsule.errors import CgroupError, SpecError, Unsupported

# cpuset stands first: a process must not run on cpus that it is about to lose. Both read the key "cpu".
EARLY = (
    ("cpuset", "cpu"),
    ("cpu", "cpu"),
    ("blkio", "blockIO"),
    ("hugetlb", "hugepageLimits"),
    ("network", "network"),
    ("rdma", "rdma"),
)
LATE = (("memory", "memory"), ("pids", "pids"))


def check(paths: dict[str, str], resources: dict, *, update: bool) -> None:
    """Refuse what cannot be applied.

    Raises SpecError, CgroupError, Unsupported.
    """
    if len(paths) == 1 and "" in paths:
        _refuse_v2(resources)
        return
    if resources.get("unified"):
        raise SpecError("invalid configuration", "linux.resources.unified", "it needs cgroup v2")
    if resources.get("devices"):
        if update:
            raise Unsupported("update", "linux.resources.devices", "device rules are set at create only")
        from capsule.cgroups.v1 import devices

        devices.check(paths, resources["devices"])
    for subject, key in EARLY + LATE:
        if resources.get(key):
            _subject(subject).check(paths, resources[key], update=update)


def apply_early(paths: dict[str, str], resources: dict) -> None:
    """Apply all but devices, memory and pids.

    Raises CgroupError.
    """
    _apply(EARLY, paths, resources)


def apply_late(paths: dict[str, str], resources: dict) -> None:
    """Apply memory and pids.

    Raises CgroupError.
    """
    _apply(LATE, paths, resources)


def _apply(order: tuple, paths: dict[str, str], resources: dict) -> None:
    for subject, key in order:
        if resources.get(key):
            _subject(subject).apply(paths, resources[key])


def _refuse_v2(resources: dict) -> None:
    for key, value in resources.items():
        if value:
            raise Unsupported("apply", f"linux.resources.{key}", "limits on cgroup v2 are not built")


def _subject(name: str):
    # Written out: the launcher's importer knows linked modules only, and the build finds them by these lines.
    if name == "pids":
        from capsule.cgroups.v1 import pids

        return pids
    if name == "memory":
        from capsule.cgroups.v1 import memory

        return memory
    if name == "cpu":
        from capsule.cgroups.v1 import cpu

        return cpu
    if name == "cpuset":
        from capsule.cgroups.v1 import cpuset

        return cpuset
    if name == "blkio":
        from capsule.cgroups.v1 import blkio

        return blkio
    if name == "hugetlb":
        from capsule.cgroups.v1 import hugetlb

        return hugetlb
    if name == "network":
        from capsule.cgroups.v1 import network

        return network
    from capsule.cgroups.v1 import rdma

    return rdma


def need(paths: dict[str, str], controller: str, limit: str, file: str) -> str:
    """Return a controller's directory.

    Raises CgroupError when it is not mounted.
    """
    try:
        return paths[controller]
    except KeyError as err:
        cause = f"the {controller} controller is not mounted, so there is no {file}"
        if not paths:
            cause = "container could not join or create cgroup: the runtime might make none, or was told to do without"
        raise CgroupError(f"cannot set {limit} limit", "", cause) from err
