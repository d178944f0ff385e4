"""What a container uses, in the shape of runc's `events`: absent where runc leaves a zero out.

Times are in nanoseconds, sizes in bytes. Sources: admin-guide/cgroup-v1, admin-guide/cgroup-v2.
"""

from __future__ import annotations

import errno

from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError

UNIFIED = ""
UNLIMITED = (1 << 64) - 1  # how runc writes a limit of "max"


def collect(paths: dict[str, str]) -> dict:
    """Return the statistics of the cgroups. Raises CgroupError, ENOENT or ENODEV when they have gone."""
    if len(paths) == 1 and UNIFIED in paths:
        from capsule.cgroups.v2 import stats as unified

        found = unified.collect(paths[UNIFIED])
    else:
        from capsule.cgroups.v1 import stats as legacy

        found = legacy.collect(paths)
    found["intel_rdt"] = {}
    found["network_interfaces"] = None
    return found


def read(directory: str, name: str) -> str:
    """Return a file's text, "" where the kernel does not offer it or has nothing to say. Raises CgroupError."""
    try:
        return cgroupfs.read(directory, name)
    except CgroupError as err:
        if err.errno in (errno.ENOENT, errno.EOPNOTSUPP) and cgroupfs.has(directory, "cgroup.procs"):
            return ""
        raise


def number(directory: str, name: str, unlimited: int = UNLIMITED) -> int:
    """Return the one number of a file, 0 where there is none, `unlimited` for "max" and -1."""
    text = read(directory, name)
    if text in ("max", "-1"):
        return unlimited
    return int(text) if text.isdigit() else 0


def table(directory: str, name: str) -> dict[str, int]:
    """Return the `word number` lines of a file."""
    found = {}
    for line in read(directory, name).splitlines():
        word, _, value = line.partition(" ")
        if value.isdigit():
            found[word] = int(value)
    return found


def without_zeros(values: dict, keep: tuple = ()) -> dict:
    """Return values without those that runc leaves out: 0, empty and None, unless named."""
    return {key: value for key, value in values.items() if value or key in keep}


def page_sizes(directory: str, end: str) -> list[str]:
    """Return the sizes of huge pages that have a file `hugetlb.SIZE` + `end`, sorted."""
    return sorted([
        name[len("hugetlb.") : -len(end)]
        for name in cgroupfs.names(directory)
        if name.startswith("hugetlb.") and name.endswith(end) and name.count(".") == 1 + end.count(".")
    ])


def block_entries(text: str) -> list[dict]:
    """Return the `MAJOR:MINOR [Op] value` lines of a v1 blkio file."""
    found = []
    for line in text.splitlines():
        words = line.split()
        major, colon, minor = words[0].partition(":") if words else ("", "", "")
        if not colon or not words[-1].isdigit() or len(words) not in (2, 3):
            continue  # the total of all devices
        op = words[1] if len(words) == 3 else ""
        found.append(block_entry(major, minor, op, int(words[-1])))
    return found


def block_entry(major: str, minor: str, op: str, value: int) -> dict:
    """Return one entry of a device."""
    return without_zeros({"major": int(major), "minor": int(minor), "op": op, "value": value})
