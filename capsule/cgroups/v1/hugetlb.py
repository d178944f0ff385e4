"""Huge pages on cgroup v1 (admin-guide/cgroup-v1/hugetlb). Limits are in bytes."""

from __future__ import annotations

import errno

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need
from capsule.errors import CgroupError, SpecError

FILES = (
    ("pageSize, limit", "hugetlb.SIZE.limit_in_bytes", None),
    ("pageSize, limit", "hugetlb.SIZE.rsvd.limit_in_bytes", "where it exists"),
)

_DIGITS = "0123456789"
_LIMIT = ".limit_in_bytes"


def check(paths: dict[str, str], limits: list[dict], *, update: bool) -> None:
    """Refuse page sizes that are none, and limits where there is no hugetlb controller.

    Raises SpecError, CgroupError.
    """
    check_sizes(limits)
    for entry in limits:
        need(paths, "hugetlb", "huge page", f"hugetlb.{entry['pageSize']}{_LIMIT}")


def check_sizes(limits: list[dict]) -> None:
    """Refuse page sizes that are none. Raises SpecError."""
    for index, entry in enumerate(limits):
        size = entry["pageSize"]
        # It becomes part of a file name.
        if size[-2:-1] not in ("K", "M", "G") or size[-1:] != "B" or size[:1] == "0" or not _is_number(size[:-2]):
            path = f"linux.resources.hugepageLimits[{index}].pageSize"
            raise SpecError("invalid configuration", path, f"{size!r} is not a page size such as 2MB")


def apply(paths: dict[str, str], limits: list[dict]) -> None:
    """Limit use, and reservation where the kernel can (Linux 5.7).

    Raises CgroupError.
    """
    for entry in limits:
        name = f"hugetlb.{entry['pageSize']}"
        write(paths["hugetlb"], name, _LIMIT, str(entry["limit"]))
        if cgroupfs.has(paths["hugetlb"], f"{name}.rsvd{_LIMIT}"):
            cgroupfs.write(paths["hugetlb"], f"{name}.rsvd{_LIMIT}", str(entry["limit"]))


def write(directory: str, name: str, end: str, value: str) -> None:
    """Write the limit of a page size; `end` is how files of limits are called. Raises CgroupError."""
    try:
        cgroupfs.write(directory, name + end, value)
    except CgroupError as err:
        if err.errno != errno.ENOENT:
            raise
        files = [file.split(".") for file in cgroupfs.names(directory) if file.endswith(end)]
        sizes = [words[1] for words in files if len(words) == 3]
        cause = f"the machine has huge pages of {', '.join(sorted(sizes)) or 'no size'}"
        raise CgroupError(err.operation, err.subject, cause, errno=err.errno) from err


def _is_number(text: str) -> bool:
    return text != "" and not text.strip(_DIGITS)
