"""Are the engine's containers whole? What a crash left of one is found here and, with `fix`, taken to its end."""

from __future__ import annotations

import posix
import time

from capsule import verbs
from capsule.bundle import containers as records, layers, life, removal, running
from capsule.bundle.containers import NAMES, Containers, Record
from capsule.cgroups import cgroupfs
from capsule.errors import CapsuleError, NotFound, StateError
from capsule.image import lookup

_PATIENCE_NS = 2_000_000_000  # for a verb that is nearly done, or has just died


def check(places: running.Places, *, fix: bool) -> list[tuple[str, str, bool]]:
    """Return (subject, what is wrong, whether it is repaired) of each fault.

    Those that a verb has locked are left alone. One that a dead call had frozen runs on, whether `fix` is given or not:
    any look at it does that. Raises CapsuleError.
    """
    found = Containers(places.containers)
    faults = []
    for id in found.store.ids():
        try:
            entry = found.open(id)
            at_rest = cgroupfs.wait_until(entry.try_lock, time.monotonic_ns() + _PATIENCE_NS)
        except NotFound:
            continue
        try:
            # Otherwise somebody is at work on it: makes it, starts it, removes it.
            faults += _check_one(places, found, entry, fix) if at_rest else []
        finally:
            entry.close()
    return faults + _check_names(found, fix) + _check_holds(places, found, fix)


def _check_one(places: running.Places, found: Containers, entry, fix: bool) -> list[tuple[str, str, bool]]:
    subject = f"container {entry.id[: records.SHORT]}"
    try:
        record = records.read(entry)
    except StateError as err:
        if not _is_unfinished(entry):
            # A newer capsule's, or one that cannot be read now: its layers and volumes are somebody's data.
            return [(subject, f"{err.cause}; `capsule rm --force` removes it", False)]
        return [_repaired(subject, err.cause, fix, removal.remove_leftover, places, found, entry)]
    left = [(subject, "a call that has died had frozen it", True)] if verbs.settle(places.runtime, entry.id) else []
    return left + _check_life(places, found, entry, record, fix)


def _check_life(places: running.Places, found: Containers, entry, record: Record, fix: bool) -> list:
    subject = f"container {entry.id[: records.SHORT]}"
    if life.is_alive(entry):
        return []
    seen = life.observe(places.runtime, entry, record)
    if seen.is_up:
        return [_repaired(subject, "it runs, and nobody looks after it", fix,
                          life.clear, places.runtime, record.id)]
    if record.removing or (record.remove and record.runs):
        return [_repaired(subject, "its removal did not finish", fix, _remove, places, found, entry, record)]
    faults = []
    if life.has_leftover(places.runtime, record.id):
        faults.append(_repaired(subject, "its last run was not cleaned up", fix, life.clear,
                                places.runtime, record.id))
    if not _has_name(found, record):
        faults.append(_repaired(subject, f"its name {record.name} does not lead to it", fix,
                                found.take_name, record.name, record.id))
    return faults


def _is_unfinished(entry) -> bool:
    try:
        data = entry.marked(records.RECORD)
        # Throw-away ones are not synced: the machine's crash may leave an empty record, and they have no layers.
        return data is None or not data.strip(b"\0") and not layers.are_there(entry.dir_fd)
    except (StateError, OSError):
        return False


def _has_name(found: Containers, record: Record) -> bool:
    try:
        return found.find(record.name) == record.id
    except StateError:
        return False


def _check_names(found: Containers, fix: bool) -> list[tuple[str, str, bool]]:
    try:
        names = posix.listdir(f"{found.root}/{NAMES}")
    except FileNotFoundError:
        return []
    faults = []
    for name in names:
        try:
            found.find(name)
        except NotFound:
            faults.append(_repaired(f"name {name}", "its container has gone", fix, found.drop_name, name, ""))
    return faults


def _check_holds(places: running.Places, found: Containers, fix: bool) -> list[tuple[str, str, bool]]:
    """Find holds on images of containers that are no more; others than ours do not have names of that length."""
    try:
        images = posix.listdir(f"{places.store}/{lookup.HOLDS}")
    except FileNotFoundError:
        return []
    faults = []
    for image in images:
        for user in lookup.holders(places.store, f"sha256:{image}"):
            if len(user) == 2 * records.ID_BYTES and not posix.access(f"{found.root}/{user}", posix.F_OK):
                faults.append(_repaired(f"image {image[: records.SHORT]}", f"held by container "
                                        f"{user[: records.SHORT]}, which has gone", fix,
                                        lookup.release, places.store, f"sha256:{image}", user))
    return faults


def _remove(places: running.Places, found: Containers, entry, record: Record) -> None:
    removal.remove(places, found, entry, record, volumes=record.remove)


def _repaired(subject: str, fault: str, fix: bool, repair, *args) -> tuple[str, str, bool]:
    if not fix:
        return subject, fault, False
    try:
        repair(*args)
    except (CapsuleError, OSError) as err:
        return subject, f"{fault}; {err}", False
    return subject, fault, True
