"""Cpu time on cgroup v1 (scheduler/sched-bwc, scheduler/sched-rt-group). Times are in microseconds."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need
from capsule.errors import CgroupError

FILES = (
    ("shares", "cpu.shares", "out of range is an error"),
    ("idle", "cpu.idle", None),
    ("period", "cpu.cfs_period_us", None),
    ("quota", "cpu.cfs_quota_us", None),
    ("burst", "cpu.cfs_burst_us", None),
    ("realtimePeriod", "cpu.rt_period_us", None),
    ("realtimeRuntime", "cpu.rt_runtime_us", None),
)
_ZERO_COUNTS = ("idle", "burst")  # elsewhere engines write 0 for "not given"


def check(paths: dict[str, str], cpu: dict, *, update: bool) -> None:
    """Refuse cpu limits where there is no cpu controller.

    Raises CgroupError.
    """
    for key, file, _ in FILES:
        if _is_given(cpu, key):
            need(paths, "cpu", f"cpu {key}", file)


def apply(paths: dict[str, str], cpu: dict) -> None:
    """Set what is given.

    Raises CgroupError.
    """
    given = [(file, str(cpu[key])) for key, file, _ in FILES if _is_given(cpu, key)]
    if not given:
        return
    directory = paths["cpu"]
    values = dict(given)
    _write_weight(directory, values)
    # Each of these is checked against the others and the parent's, so the right order depends on what is there now.
    for files in (("cpu.rt_period_us", "cpu.rt_runtime_us"),
                  ("cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.cfs_quota_us")):
        cgroupfs.write_in_some_order(directory, [(file, (values[file],)) for file in files if file in values])


def _is_given(cpu: dict, key: str) -> bool:
    value = cpu.get(key)
    return value is not None and (value != 0 or key in _ZERO_COUNTS)


def _write_weight(directory: str, values: dict[str, str]) -> None:
    # The kernel refuses shares while a cgroup is idle: leave that before, enter it after.
    order = ("cpu.idle", "cpu.shares") if values.get("cpu.idle") == "0" else ("cpu.shares", "cpu.idle")
    for file in order:
        if file in values:
            cgroupfs.write(directory, file, values[file])
    if "cpu.shares" in values:
        _check_shares(directory, int(values["cpu.shares"]))


def _check_shares(directory: str, asked: int) -> None:
    # Out of range the kernel takes its own bound and says nothing.
    taken = int(cgroupfs.read(directory, "cpu.shares"))
    if taken != asked:
        bound = "maximum" if taken < asked else "minimum"
        raise CgroupError(f"write {asked} to", f"{directory}/cpu.shares", f"the {bound} is {taken}")
