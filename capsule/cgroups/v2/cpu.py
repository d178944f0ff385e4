"""Cpu time on cgroup v2 (admin-guide/cgroup-v2, CPU). Times are in microseconds; cpu.max is `QUOTA PERIOD`."""

from __future__ import annotations

import errno

from capsule.cgroups import cgroupfs
from capsule.cgroups.v2 import controllers, convert
from capsule.errors import CgroupError

CONTROLLER = "cpu"
FILES = (
    ("shares", "cpu.weight", convert.cpu_weight),
    ("idle", "cpu.idle", None),
    ("quota", "cpu.max", "first word; -1 becomes max"),
    ("period", "cpu.max", "second word; 100000 by default"),
    ("burst", "cpu.max.burst", None),
)
REFUSED = ("realtimeRuntime", "realtimePeriod")

_ZERO_COUNTS = ("idle", "burst")  # elsewhere engines write 0 for "not given"


def is_given(cpu: dict) -> bool:
    """Tell whether there is anything to limit."""
    return any([_has(cpu, key) and cpu[key] != -1 for key, _, _ in FILES])


def check(paths: dict[str, str], cpu: dict, *, update: bool) -> None:
    """Refuse real time, which v2 has not, and limits where the controller cannot be had.

    Raises Unsupported, CgroupError.
    """
    for key in REFUSED:
        if cpu.get(key):
            raise controllers.no_counterpart(f"cpu.{key}")
    for key, file, _ in FILES:
        if _has(cpu, key) and cpu[key] != -1:
            controllers.need(paths, CONTROLLER, f"cpu {key}", file)


def apply(paths: dict[str, str], cpu: dict) -> None:
    """Set what is given; of quota and period, the one that is not keeps its value.

    Raises CgroupError.
    """
    directory = paths[controllers.UNIFIED]
    # An idle cgroup has the lowest weight of all, and the kernel takes no other; leaving that state resets it.
    if _has(cpu, "idle"):
        cgroupfs.write(directory, "cpu.idle", str(cpu["idle"]))
    if _has(cpu, "shares") and not cpu.get("idle"):
        _write_weight(directory, convert.cpu_weight(cpu["shares"]))
    writes = []
    if _has(cpu, "quota") or _has(cpu, "period"):
        if cgroupfs.has(directory, "cpu.max") or _has(cpu, "period") or cpu["quota"] != -1:
            writes.append(("cpu.max", (_bandwidth(directory, cpu),)))
    if _has(cpu, "burst"):
        writes.append(("cpu.max.burst", (str(cpu["burst"]),)))
    # The burst may not exceed the quota at any moment.
    cgroupfs.write_in_some_order(directory, writes)


def _has(cpu: dict, key: str) -> bool:
    value = cpu.get(key)
    return value is not None and (value != 0 or key in _ZERO_COUNTS)


def _bandwidth(directory: str, cpu: dict) -> str:
    quota, period = cgroupfs.read(directory, "cpu.max").split()
    if _has(cpu, "quota"):
        quota = convert.number(cpu["quota"])
    if _has(cpu, "period"):
        period = str(cpu["period"])
    return f"{quota} {period}"


def _write_weight(directory: str, weight: int) -> None:
    try:
        cgroupfs.write(directory, "cpu.weight", str(weight))
    except CgroupError as err:
        if err.errno != errno.EINVAL or cgroupfs.read(directory, "cpu.idle") != "1":
            raise
        raise CgroupError(err.operation, err.subject, "the cgroup is idle (cpu.idle)", errno=err.errno) from err
