"""`linux.resources`: which subject applies which key, in which order, and what is refused beforehand.

A subject is a module with FILES (key, file, conversion), check(paths, value, update=...) and apply(paths, value), one
for each version; most containers need one or two, so they are imported as asked for. Beside v1, v2 has the controllers
that no v1 hierarchy has. Keys and units: runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

from capsule.errors import CgroupError, SpecError, Unsupported

UNIFIED = ""

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
    if resources.get("devices"):
        _check_devices(paths, resources["devices"], update)
    for subject, key in EARLY + LATE:
        if resources.get(key):
            _subject(paths, subject).check(paths, resources[key], update=update)
    if resources.get("unified"):
        if not _is_pure(paths):
            raise SpecError("invalid configuration", "linux.resources.unified", "it needs cgroup v2 alone")
        from capsule.cgroups.v2 import unified

        unified.check(paths, resources)


def apply_early(paths: dict[str, str], resources: dict) -> None:
    """Apply all but devices, memory and pids; on v2 all controllers are handed down first.

    Raises CgroupError.
    """
    if UNIFIED in paths:
        required = _required(paths, resources)
        if required or _is_pure(paths):
            from capsule.cgroups.v2 import controllers

            controllers.enable(paths[UNIFIED], required)
    _apply(EARLY, paths, resources)
    if resources.get("unified"):
        from capsule.cgroups.v2 import unified

        unified.apply(paths, resources, late=False)


def apply_late(paths: dict[str, str], resources: dict) -> None:
    """Apply memory and pids.

    Raises CgroupError.
    """
    _apply(LATE, paths, resources)
    if resources.get("unified"):
        from capsule.cgroups.v2 import unified

        unified.apply(paths, resources, late=True)


def _apply(order: tuple, paths: dict[str, str], resources: dict) -> None:
    for subject, key in order:
        if resources.get(key):
            _subject(paths, subject).apply(paths, resources[key])


def _check_devices(paths: dict[str, str], rules: list[dict], update: bool) -> None:
    if "devices" not in paths and UNIFIED in paths:
        from capsule.cgroups.v2 import devices as unified_devices

        if update and unified_devices.is_powerless():
            raise Unsupported("update", "linux.resources.devices", "only the host's root may restrict devices")
        unified_devices.check(rules)
        return
    if update:
        raise Unsupported("update", "linux.resources.devices", "device rules are set at create only")
    from capsule.cgroups.v1 import devices

    devices.check(paths, rules)


def _required(paths: dict[str, str], resources: dict) -> set[str]:
    """Return the v2 controllers that the limits need."""
    required = set()
    for subject, key in EARLY + LATE:
        if resources.get(key) and _is_unified(paths, subject):
            module = _subject(paths, subject)
            if module.is_given(resources[key]):
                required.add(module.CONTROLLER)
    if resources.get("unified"):
        from capsule.cgroups.v2 import unified

        required |= unified.needed(resources["unified"])
    return required


def _is_pure(paths: dict[str, str]) -> bool:
    return len(paths) == 1 and UNIFIED in paths


def _is_unified(paths: dict[str, str], subject: str) -> bool:
    """Tell whether v2 limits a subject: where v1 is not, or has not the controller and v2 has."""
    if subject in paths or UNIFIED not in paths:
        return False
    if _is_pure(paths):
        return True
    from capsule.cgroups.v2 import controllers

    # The controllers of `network` have never been on v2.
    return subject != "network" and controllers.offered(paths[UNIFIED], "io" if subject == "blkio" else subject)


def _subject(paths: dict[str, str], name: str):
    if _is_unified(paths, name):
        from capsule.cgroups.v2 import subjects

        return subjects.find(name)
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
