"""What cgroup files say, kept over a change of a unit's properties.

With any property systemd writes anew all that it knows of the unit, and it rounds: a quota of 12.3 ms becomes 13 ms
when the number of tasks is changed. The files are what the container was promised.
"""

from __future__ import annotations

import errno

from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError

UNIFIED = ""

# controller on v1, or "" for v2 -> the files that systemd may write, in an order that fits
_FILES = {
    UNIFIED: ("cpu.idle", "cpu.weight", "cpu.max", "cpuset.cpus", "cpuset.mems", "io.weight", "io.bfq.weight",
              "memory.max", "memory.swap.max", "memory.high", "memory.low", "memory.min", "pids.max"),
    "cpu": ("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us"),
    "memory": ("memory.limit_in_bytes",),
    "pids": ("pids.max",),
    "blkio": ("blkio.weight", "blkio.bfq.weight"),
    "devices": ("devices.list",),
}

Texts = dict[tuple[str, str], str]


def read(paths: dict[str, str]) -> Texts:
    """Return {(directory, file): text} of the files that there are."""
    texts = {}
    for controller, names in _FILES.items():
        if controller in paths:
            for name in names:
                try:
                    texts[(paths[controller], name)] = cgroupfs.read(paths[controller], name)
                except CgroupError as err:
                    if err.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                        raise
    return texts


def put_back(texts: Texts, denied: list[str]) -> None:
    """Write again what differs by now; `denied` is what v1's devices.list does not tell. Raises CgroupError."""
    for (directory, name), text in list(texts.items()):
        if name == "devices.list":
            del texts[(directory, name)]
            _put_back_devices(directory, text, denied)
    left = [(directory, name, text) for (directory, name), text in texts.items()]
    while left:
        refused = []
        failure = None
        for directory, name, text in left:
            if cgroupfs.read(directory, name) == text or _is_idle(texts, directory, name):
                continue
            try:
                cgroupfs.write_all(directory, name, text.splitlines() or ["\n"])  # a write of nothing is none
            except CgroupError as err:
                # v1's period and quota are checked against each other: the other may have to go first.
                if err.errno != errno.EINVAL:
                    raise
                failure = failure or err
                refused.append((directory, name, text))
        if failure is not None and len(refused) == len(left):
            raise failure
        left = refused


def completed(paths: dict[str, str], resources: dict) -> dict:
    """Return changed limits with those in force that make up one property, or the amount of one, together with them.

    Quota and period are one number to systemd, and swap is counted without the memory beside it. To be called when the
    files have been written. Raises CgroupError.
    """
    found = dict(resources)
    cpu, memory, unified = resources.get("cpu") or {}, resources.get("memory") or {}, resources.get("unified") or {}
    if cpu.get("quota") or cpu.get("period"):
        found["cpu"] = {**cpu, **_bandwidth(paths)}
    if UNIFIED in paths and (memory.get("swap") or 0) > 0 and not memory.get("limit"):
        found["memory"] = {**memory, "limit": int(cgroupfs.read(paths[UNIFIED], "memory.max"))}
    if "cpu.max" in unified:
        found["unified"] = {**unified, "cpu.max": cgroupfs.read(paths[UNIFIED], "cpu.max")}
    return found


def _bandwidth(paths: dict[str, str]) -> dict:
    if "cpu" in paths:
        return {"quota": int(cgroupfs.read(paths["cpu"], "cpu.cfs_quota_us")),
                "period": int(cgroupfs.read(paths["cpu"], "cpu.cfs_period_us"))}
    if not cgroupfs.has(paths.get(UNIFIED, ""), "cpu.max"):
        return {}  # no limit was asked for, and none is kept
    quota, period = cgroupfs.read(paths[UNIFIED], "cpu.max").split()
    return {"quota": -1 if quota == "max" else int(quota), "period": int(period)}


def _is_idle(texts: Texts, directory: str, name: str) -> bool:
    """Tell whether a file is the weight of an idle cgroup, which has none to write."""
    return name == "cpu.weight" and texts.get((directory, "cpu.idle")) == "1"


def _put_back_devices(directory: str, text: str, denied: list[str]) -> None:
    lines = text.splitlines()
    if "a *:* rwm" in lines:
        # Everything but exceptions, which the kernel keeps to itself.
        if denied:
            cgroupfs.write_all(directory, "devices.deny", denied)
    elif set(cgroupfs.read(directory, "devices.list").splitlines()) != set(lines):
        cgroupfs.write(directory, "devices.deny", "a")
        cgroupfs.write_all(directory, "devices.allow", lines)
