"""Block I/O on cgroup v2 (admin-guide/cgroup-v2, IO; block/bfq-iosched). Rates are u64, per second."""

from __future__ import annotations

from capsule.cgroups import cgroupfs
from capsule.cgroups.v2 import controllers, convert
from capsule.errors import CgroupError

CONTROLLER = "io"
BFQ_WEIGHT, WEIGHT, MAX = "io.bfq.weight", "io.weight", "io.max"
_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)
FILES = (
    ("weight", BFQ_WEIGHT, "where BFQ is there"),
    ("weight", WEIGHT, convert.io_weight),
    ("weightDevice", BFQ_WEIGHT, "where BFQ is there: MAJOR:MINOR WEIGHT"),
    ("weightDevice", WEIGHT, "MAJOR:MINOR WEIGHT, the weight as above"),
    *[(key, MAX, f"MAJOR:MINOR {word}=RATE; rate 0 becomes max") for key, word in _THROTTLES],
)
REFUSED = ("leafWeight",)


def is_given(block_io: dict) -> bool:
    """Tell whether there is anything to limit."""
    return any([block_io.get(key) for key, _, _ in FILES])


def check(paths: dict[str, str], block_io: dict, *, update: bool) -> None:
    """Refuse leaf weights, which v2 has not, and limits where the controller cannot be had.

    Raises Unsupported, CgroupError.
    """
    for entry in (block_io, *(block_io.get("weightDevice") or ())):
        if entry.get("leafWeight"):
            raise controllers.no_counterpart("blockIO.leafWeight")
    for key, file, _ in FILES:
        if block_io.get(key):
            controllers.need(paths, CONTROLLER, f"blockIO {key}", file)


def apply(paths: dict[str, str], block_io: dict) -> None:
    """Set what is given; a weight of 0 is "not given", a rate of 0 none.

    Raises CgroupError.
    """
    directory = paths[controllers.UNIFIED]
    if block_io.get("weight"):
        _write_weight(directory, "", block_io["weight"])
    for entry in block_io.get("weightDevice") or ():
        if entry.get("weight"):
            _write_weight(directory, f"{entry['major']}:{entry['minor']} ", entry["weight"])
    lines = [
        f"{entry['major']}:{entry['minor']} {word}={entry['rate'] or 'max'}"
        for key, word in _THROTTLES for entry in block_io.get(key) or ()
    ]  # fmt: skip
    if lines:
        cgroupfs.write_all(directory, MAX, lines)


def _write_weight(directory: str, device: str, weight: int) -> None:
    # Weights belong to who schedules: BFQ, in the specification's own range, or the cost model (blk-iocost).
    if cgroupfs.has(directory, BFQ_WEIGHT):
        cgroupfs.write(directory, BFQ_WEIGHT, f"{device}{weight}")
    elif cgroupfs.has(directory, WEIGHT):
        cgroupfs.write(directory, WEIGHT, f"{device}{convert.io_weight(weight)}")
    else:
        cause = f"neither {BFQ_WEIGHT} (I/O scheduler bfq) nor {WEIGHT} (CONFIG_BLK_CGROUP_IOCOST) is in {directory}"
        raise CgroupError("cannot set blockIO weight", "", cause)
