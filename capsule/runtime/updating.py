"""update: new limits for a container that is there. What is not named keeps its value."""

from __future__ import annotations

from capsule.cgroups import undo
from capsule.errors import CapsuleError, StateError, Unsupported
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
    manager = container.manager()
    with undo.Undo():
        if manager.unit is not None and "devices" in manager.paths:
            from capsule.runtime import guard

            guard.while_marked(container, lambda: manager.update(resources))  # it freezes meanwhile
        else:
            manager.update(resources)
    container.record.extra["resources"] = merge(in_force(container), resources)
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
        elif key == "devices":
            if value:
                merged[key] = value  # an ordered list: what is in force is the last one, whole
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


def update_with_shares(container, resources: dict, l3_cache: str, memory_bandwidth: str) -> None:
    """Apply limits and change the shares of the container's resctrl group: all or, after an error, none.

    Raises StateError, SpecError, CgroupError, Unsupported.
    """
    if not (l3_cache or memory_bandwidth):
        update(container, resources)
        return
    group = _own_group(container, l3_cache, memory_bandwidth)
    from capsule.cgroups import cgroupfs, resctrl
    from capsule.spec.rdt import check_rdt

    texts = resctrl.texts(check_rdt({"l3CacheSchema": l3_cache, "memBwSchema": memory_bandwidth}))
    root, before = resctrl.find_root(), cgroupfs.read(group, "schemata")
    resctrl.write_shares(root, group, texts)
    try:
        update(container, resources)
    except CapsuleError:
        resctrl.write_shares(root, group, [before])
        raise


def _own_group(container, l3_cache: str, memory_bandwidth: str) -> str:
    """Return the group that create made for a container. Raises StateError, Unsupported."""
    option = "--l3-cache-schema" if l3_cache else "--mem-bw-schema"
    found = container.record.extra.get("resctrl")
    if found:
        group = found["groups"][0]
        if group in found["made"]:
            return group
        raise Unsupported("update", option, f"{group} was there before container {container.id} and is not changed")
    if _RESCTRL not in mountinfo.read_text("/proc/self/mountinfo"):
        if l3_cache:
            raise StateError("Intel RDT/CAT: l3 cache schema is not enabled")
        raise StateError("Intel RDT/MBA: memory bandwidth schema is not enabled")
    raise Unsupported("update", option, f"container {container.id} has no resctrl group (linux.intelRdt)")
