"""update: new limits for a container that is there. What is not named keeps its value."""

from __future__ import annotations

from capsule.errors import StateError, Unsupported
from capsule.linux import mountinfo
from capsule.runtime import status as statuses

_RESCTRL = " - resctrl "
# What engines write for "not given"; elsewhere 0 is a value (an idle of 0, a pids limit of 0).
_ZERO_COUNTS = ("idle", "burst", "limit", "swappiness")


def update(container, resources: dict) -> None:
    """Apply limits; the record remembers what is in force from then on.

    Either all of them are set or, after an error, none. The container's lock is held by the caller.
    Raises BadTransition, SpecError, CgroupError, Unsupported.
    """
    status = container.observe()
    if status == statuses.STOPPED:
        raise statuses.not_running("update", container.id)
    previous = in_force(container)
    merged = merge(previous, resources)
    container.manager().update(resources, previous)
    container.record.extra["resources"] = merged
    container.entry.save(container.record)


def in_force(container) -> dict:
    """Return the limits of a container: those of its config, as updates have changed them."""
    return container.record.extra.get("resources") or container.config.resources


def merge(previous: dict, resources: dict) -> dict:
    """Return `previous` with what `resources` gives put over it."""
    merged = dict(previous)
    for key, value in resources.items():
        if isinstance(value, dict):
            merged[key] = merge(merged.get(key) or {}, value)
        elif isinstance(value, list):
            merged[key] = _merge_list(merged.get(key) or [], value)
        elif value or (value == 0 and key in _ZERO_COUNTS):
            merged[key] = value
    return merged


def _merge_list(previous: list, entries: list) -> list:
    """Put entries over those of the same device, page size or interface: the kernel keeps the others."""
    merged = {_subject(entry): entry for entry in previous}
    merged.update({_subject(entry): entry for entry in entries})
    return list(merged.values())


def _subject(entry: dict) -> tuple:
    return tuple([entry.get(key) for key in ("major", "minor", "pageSize", "name")])


def check_schemata(id: str, l3_cache: str, memory_bandwidth: str) -> None:
    """Refuse cache and bandwidth schemata where the kernel has none, and where it has: no group was made.

    Raises StateError, Unsupported.
    """
    if not (l3_cache or memory_bandwidth):
        return
    if _RESCTRL not in mountinfo.read_text("/proc/self/mountinfo"):
        if l3_cache:
            raise StateError("Intel RDT/CAT: l3 cache schema is not enabled")
        raise StateError("Intel RDT/MBA: memory bandwidth schema is not enabled")
    option = "--l3-cache-schema" if l3_cache else "--mem-bw-schema"
    raise Unsupported("update", option, f"container {id} has no resctrl group; intelRdt is not built yet")
