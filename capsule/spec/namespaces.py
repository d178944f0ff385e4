"""`linux.namespaces` and what depends on them: id maps, time offsets, names, masks.

runtime-spec config-linux.md#namespaces, #user-namespace-mappings, #offset-for-time-namespace; man 7
user_namespaces, man 7 time_namespaces.
"""

from __future__ import annotations

from capsule.spec.check import absolute, problem, quote, required
from capsule.spec.model import Config

# A map file holds that many lines (UID_GID_MAP_MAX_EXTENTS, Linux 4.15).
MAPPINGS_MAX = 340
NAME_MAX = 64  # __NEW_UTS_LEN, bytes


def take_namespaces(config: Config, tree: dict) -> dict[str, str | None]:
    """Fill the namespaces and what belongs to each; return type to path (None: a new one)."""
    kinds = _namespaces(tree.get("namespaces", []))
    config.namespaces = list(kinds.items())
    _take_mappings(config, tree, kinds)
    _take_time_offsets(config, tree.get("timeOffsets", {}), kinds)
    return kinds


def _namespaces(items: list[dict]) -> dict[str, str | None]:
    kinds: dict[str, str | None] = {}
    for index, item in enumerate(items):
        where = f"linux.namespaces[{index}]"
        kind = required(item, "type", where)
        if kind in kinds:
            raise problem(f"{where}.type", f"{quote(kind)} is given twice")
        path = item.get("path") or None
        kinds[kind] = None if path is None else absolute(path, f"{where}.path")
    return kinds


def _take_mappings(config: Config, tree: dict, kinds: dict[str, str | None]) -> None:
    config.uid_mappings = id_mappings(tree.get("uidMappings", []), "linux.uidMappings")
    config.gid_mappings = id_mappings(tree.get("gidMappings", []), "linux.gidMappings")
    if "user" not in kinds:
        for name, mappings in (("uidMappings", config.uid_mappings), ("gidMappings", config.gid_mappings)):
            if mappings:
                raise problem(f"linux.{name}", "needs a user namespace in linux.namespaces")
    elif kinds["user"] is None:
        for name, mappings in (("uidMappings", config.uid_mappings), ("gidMappings", config.gid_mappings)):
            if not mappings:
                raise problem(f"linux.{name}", "is required for a new user namespace")


def id_mappings(items: list[dict], where: str) -> list[tuple[int, int, int]]:
    """Make (container id, host id, size) of a checked list that the kernel would take."""
    if len(items) > MAPPINGS_MAX:
        raise problem(where, f"expected at most {MAPPINGS_MAX} ranges, got {len(items)}")
    mappings = []
    for index, item in enumerate(items):
        at = f"{where}[{index}]"
        first, host, size = required(item, "containerID", at), required(item, "hostID", at), required(item, "size", at)
        # The last id of each range may be at most 2**32-2: 2**32-1 is "no id".
        if max(first, host) + size > 0xFFFFFFFF:
            raise problem(f"{at}.size", f"the range of {size} ids passes 4294967294")
        mappings.append((first, host, size))
    if len(mappings) > 1:
        _refuse_overlap(mappings, 0, where)
        _refuse_overlap(mappings, 1, where)
    return mappings


def _refuse_overlap(mappings: list[tuple[int, int, int]], side: int, where: str) -> None:
    """Refuse ranges that share ids inside (side 0) or outside (side 1), as the kernel does with EINVAL."""
    ranges = sorted([(mapping[side], mapping[2]) for mapping in mappings])
    end = -1
    for first, size in ranges:
        if first < end:
            raise problem(where, f"{'host' if side else 'container'} id {first} is in two ranges")
        end = first + size


def _take_time_offsets(config: Config, offsets: dict, kinds: dict[str, str | None]) -> None:
    if not offsets:
        return
    if "time" not in kinds:
        raise problem("linux.timeOffsets", "needs a time namespace in linux.namespaces")
    if kinds["time"] is not None:
        raise problem("linux.timeOffsets", "cannot be set in a time namespace that is joined by its path")
    for clock, offset in offsets.items():
        if clock != "monotonic" and clock != "boottime":
            raise problem(f"linux.timeOffsets.{clock}", "expected the clock monotonic or boottime")
        config.time_offsets[clock] = (offset.get("secs", 0), offset.get("nanosecs", 0))


def take_names(config: Config, tree: dict, kinds: dict[str, str | None]) -> None:
    """Fill hostname and domainname, which belong to a UTS namespace."""
    config.hostname = _name(tree, "hostname", kinds)
    config.domainname = _name(tree, "domainname", kinds)


def _name(tree: dict, key: str, kinds: dict[str, str | None]) -> str | None:
    name = tree.get(key) or None
    if name is not None:
        if "uts" not in kinds:
            raise problem(key, "needs a uts namespace in linux.namespaces")
        if len(name.encode()) > NAME_MAX:
            raise problem(key, f"expected at most {NAME_MAX} bytes, got {len(name.encode())}")
    return name


def take_masks(config: Config, tree: dict, kinds: dict[str, str | None]) -> None:
    """Fill maskedPaths and readonlyPaths, which are mounts and so need a mount namespace."""
    config.masked_paths = _mask_paths(tree, "maskedPaths", kinds)
    config.readonly_paths = _mask_paths(tree, "readonlyPaths", kinds)


def _mask_paths(tree: dict, key: str, kinds: dict[str, str | None]) -> list[str]:
    paths = tree.get(key, [])
    for index, path in enumerate(paths):
        absolute(path, f"linux.{key}[{index}]")
    if paths and "mount" not in kinds:
        raise problem(f"linux.{key}", "needs a mount namespace in linux.namespaces")
    return paths
