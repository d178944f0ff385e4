"""`linux.resources.unified`: files of cgroup v2 by their own names, written after all that other keys ask for.

runtime-spec config-linux.md#unified; admin-guide/cgroup-v2, "Core Interface Files" and "Controllers".
"""

from __future__ import annotations

from capsule import log
from capsule.cgroups import cgroupfs
from capsule.cgroups.v2 import controllers, subjects
from capsule.errors import SpecError

#: Files of the kernel's core that limit; its others move, freeze or end processes, or hand controllers down.
CORE = ("cgroup.max.descendants", "cgroup.max.depth", "cgroup.pressure")

_LATE = ("memory", "pids")  # as in capsule.cgroups.limits
_KEYS = ("cpu", "cpuset", "blockIO", "hugepageLimits", "rdma", "memory", "pids")
_SUBJECTS = {"blockIO": "blkio", "hugepageLimits": "hugetlb"}


def check(paths: dict[str, str], resources: dict) -> None:
    """Refuse what is no setting, and settings of a controller that cannot be had; tell what is overridden.

    Raises SpecError, CgroupError.
    """
    settings = resources["unified"]
    for name, value in settings.items():
        where = f"linux.resources.unified[{name!r}]"
        controller, dot, _ = name.partition(".")
        if "/" in name or not dot or not controller or name.startswith("cgroup.") and name not in CORE:
            raise SpecError("invalid configuration", where, "is not a setting of a cgroup v2 controller")
        if not value.strip() and controller != "cpuset":
            # The kernel reads nothing as 0 in some files.
            raise SpecError("invalid configuration", where, "has no value")
        if controller != "cgroup":
            controllers.need(paths, controller, "unified", name)
    for key, name in overridden(resources):
        log.warning(f"linux.resources.{key}: linux.resources.unified[{name!r}] is used instead")


def needed(settings: dict[str, str]) -> set[str]:
    """Return the controllers whose files are named."""
    return {name.partition(".")[0] for name in settings} - {"cgroup"}


def overridden(resources: dict) -> list[tuple[str, str]]:
    """Return (key, file) of other keys that ask for a file which `unified` names too."""
    found = []
    for section in _KEYS:
        value = resources.get(section)
        if isinstance(value, dict):
            for subject in ("cpu", "cpuset") if section == "cpu" else (_SUBJECTS.get(section, section),):
                for key, file, _ in subjects.find(subject).FILES:
                    if value.get(key) and file in resources["unified"]:
                        found.append((f"{section}.{key}", file))
    return found


def apply(paths: dict[str, str], resources: dict, *, late: bool) -> None:
    """Write the settings of memory and pids (late) or all others, a write(2) for each line.

    Raises CgroupError.
    """
    writes = [
        (name, value.splitlines() or ["\n"])
        for name, value in resources["unified"].items()
        if (name.partition(".")[0] in _LATE) == late
    ]
    # Two may depend on each other, and a JSON object has no order.
    cgroupfs.write_in_some_order(paths[controllers.UNIFIED], writes)
