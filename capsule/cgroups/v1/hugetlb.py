"""Huge pages on cgroup v1 (admin-guide/cgroup-v1/hugetlb). Limits are in bytes."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need
from capsule.errors import SpecError

_DIGITS = "0123456789"


def check(paths: dict[str, str], limits: list[dict], *, update: bool) -> None:
    """Refuse page sizes that are none, and limits where there is no hugetlb controller.

    Raises SpecError, CgroupError.
    """
    for index, entry in enumerate(limits):
        size = entry["pageSize"]
        # It becomes part of a file name.
        if size[-2:-1] not in ("K", "M", "G") or size[-1:] != "B" or size[:1] == "0" or not _is_number(size[:-2]):
            path = f"linux.resources.hugepageLimits[{index}].pageSize"
            raise SpecError("invalid configuration", path, f"{size!r} is not a page size such as 2MB")
        need(paths, "hugetlb", "huge page", f"hugetlb.{size}.limit_in_bytes")


def apply(paths: dict[str, str], limits: list[dict]) -> None:
    """Limit use, and reservation where the kernel can (Linux 5.7).

    Raises CgroupError.
    """
    for entry in limits:
        name = f"hugetlb.{entry['pageSize']}"
        cgroupfs.write(paths["hugetlb"], f"{name}.limit_in_bytes", str(entry["limit"]))
        if cgroupfs.has(paths["hugetlb"], f"{name}.rsvd.limit_in_bytes"):
            cgroupfs.write(paths["hugetlb"], f"{name}.rsvd.limit_in_bytes", str(entry["limit"]))


def _is_number(text: str) -> bool:
    return text != "" and not text.strip(_DIGITS)
