"""`linux.resources`: what schema.py cannot say, so that no cgroup file sees a half-checked value.

Whether a controller exists is for capsule.cgroups. runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

from capsule.spec.check import problem, quote, required

# Files that move, stop or end processes, or say what a cgroup is, rather than limit.
UNIFIED_REFUSED = (
    "cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.type", "cgroup.freeze", "cgroup.subtree_control",
)
WEIGHT_MIN = 10  # man: Documentation/block/bfq-iosched and config-linux.md#block-io; 0 is "not set" to engines
SWAPPINESS_MAX = 100
SWAPPINESS_UNSET = (1 << 64) - 1  # how engines write "not set" in a u64


def check_resources(tree: dict, at: str) -> dict:
    """Check a tree that has passed schema.RESOURCES and return it."""
    prefix = f"{at}." if at else ""
    _check_devices(tree.get("devices", []), f"{prefix}devices")
    if "memory" in tree:
        _check_memory(tree["memory"], f"{prefix}memory")
    if "cpu" in tree:
        _check_cpu(tree["cpu"], f"{prefix}cpu")
    if "blockIO" in tree:
        _check_block_io(tree["blockIO"], f"{prefix}blockIO")
    for index, item in enumerate(tree.get("hugepageLimits", [])):
        _check_huge_page(item, f"{prefix}hugepageLimits[{index}]")
    if "network" in tree:
        for index, item in enumerate(tree["network"].get("priorities", [])):
            where = f"{prefix}network.priorities[{index}]"
            required(item, "name", where)
            required(item, "priority", where)
    _check_unified(tree.get("unified", {}), f"{prefix}unified")
    return tree


def check_cgroups_path(path: str) -> str:
    """Refuse a path that climbs; any other is the cgroup manager's to understand."""
    if ".." in path.split("/"):
        raise problem("linux.cgroupsPath", f"expected a path without .., got {quote(path)}")
    return path


def _check_devices(items: list[dict], where: str) -> None:
    for index, item in enumerate(items):
        required(item, "allow", f"{where}[{index}]")
        access = item.get("access", "")
        if access.strip("rwm") or len(access) > 3:
            raise problem(f"{where}[{index}].access", f"expected letters of rwm, got {quote(access)}")


def _check_memory(memory: dict, where: str) -> None:
    swappiness = memory.get("swappiness", 0)
    if swappiness == SWAPPINESS_UNSET:
        del memory["swappiness"]
    elif swappiness > SWAPPINESS_MAX:
        raise problem(f"{where}.swappiness", f"expected an integer from 0 to {SWAPPINESS_MAX}, got {swappiness}")
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if limit > 0 and 0 < swap < limit:
        raise problem(f"{where}.swap", f"expected memory and swap together, at least {limit}, got {swap}")


def _check_cpu(cpu: dict, where: str) -> None:
    quota, burst = cpu.get("quota", 0), cpu.get("burst", 0)
    if 0 < quota < burst:
        raise problem(f"{where}.burst", f"expected at most the quota, {quota}, got {burst}")


def _check_block_io(block_io: dict, where: str) -> None:
    _check_weights(block_io, where)
    for index, item in enumerate(block_io.get("weightDevice", [])):
        _check_device_number(item, f"{where}.weightDevice[{index}]")
        _check_weights(item, f"{where}.weightDevice[{index}]")
    for key in ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"):
        for index, item in enumerate(block_io.get(key, [])):
            at = f"{where}.{key}[{index}]"
            _check_device_number(item, at)
            required(item, "rate", at)


def _check_device_number(item: dict, where: str) -> None:
    required(item, "major", where)
    required(item, "minor", where)


def _check_weights(item: dict, where: str) -> None:
    for key in ("weight", "leafWeight"):
        weight = item.get(key, 0)
        if 0 < weight < WEIGHT_MIN:
            raise problem(f"{where}.{key}", f"expected an integer from {WEIGHT_MIN} to 1000, got {weight}")


def _check_huge_page(item: dict, where: str) -> None:
    size = required(item, "pageSize", where)
    required(item, "limit", where)
    digits = size[:-2]
    if size[-2:] not in ("KB", "MB", "GB") or not (digits.isascii() and digits.isdigit()) or digits[0] == "0":
        raise problem(f"{where}.pageSize", f"expected a size such as 2MB, got {quote(size)}")


def _check_unified(unified: dict, where: str) -> None:
    for key in unified:
        at = f"{where}[{quote(key)}]"
        if "/" in key or key in ("", ".", ".."):
            raise problem(at, "expected the name of a file in a cgroup")
        if key in UNIFIED_REFUSED:
            raise problem(at, "moves, stops or ends processes; only settings can be given")
