"""Block I/O on cgroup v1 (admin-guide/cgroup-v1/blkio-controller). Rates are u64, per second."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.limits import need

_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)
_WEIGHTS = (("weight", "weight"), ("leafWeight", "leaf_weight"))
_OR_BFQ = "blkio.bfq. instead of blkio. where BFQ is there"
FILES = (
    *[(key, f"blkio.{name}", _OR_BFQ) for key, name in _WEIGHTS],
    *[("weightDevice", f"blkio.{name}_device", f"MAJOR:MINOR WEIGHT; {_OR_BFQ}") for _, name in _WEIGHTS],
    *[(key, file, "MAJOR:MINOR RATE") for key, file in _THROTTLES],
)


def check(paths: dict[str, str], block_io: dict, *, update: bool) -> None:
    """Refuse limits where there is no blkio controller.

    Raises CgroupError.
    """
    for key, file, _ in FILES:
        if block_io.get(key):
            need(paths, "blkio", f"blockIO {key}", file)


def apply(paths: dict[str, str], block_io: dict) -> None:
    """Set what is given; a weight of 0 is "not given".

    Raises CgroupError.
    """
    for key, file in _WEIGHTS:
        if block_io.get(key):
            _write_weight(paths["blkio"], file, str(block_io[key]))
    for entry in block_io.get("weightDevice") or ():
        for key, file in _WEIGHTS:
            if entry.get(key):
                _write_weight(paths["blkio"], f"{file}_device", f"{entry['major']}:{entry['minor']} {entry[key]}")
    for key, file in _THROTTLES:
        entries = block_io.get(key)
        if entries:
            lines = [f"{entry['major']}:{entry['minor']} {entry['rate']}" for entry in entries]
            cgroupfs.write_all(paths["blkio"], file, lines)


def _write_weight(directory: str, name: str, value: str) -> None:
    # Weights belong to the I/O scheduler: CFQ up to Linux 4.20, BFQ since; its files exist where it is built in.
    old = f"blkio.{name}"
    cgroupfs.write(directory, old if cgroupfs.has(directory, old) else f"blkio.bfq.{name}", value)
