"""The end of an engine's container: its layers, its hold on the image, its name, its record."""

from __future__ import annotations

import posix

from capsule._ext import proc
from capsule.bundle import containers as records, layers, life, running
from capsule.bundle.containers import Containers, Record
from capsule.errors import StateError
from capsule.image import lookup
from capsule.state.store import Entry


def begin(entry: Entry, record: Record, *, volumes: bool) -> None:
    """Write down that a container, locked by the caller, is removed, and with what: whoever goes on does no more.

    Raises StateError.
    """
    if not record.removing or volumes and not record.removing_volumes:
        may_restart = record.wanted and record.restart.get("policy", "no") != "no"
        record.wanted, record.removing = False, True
        record.removing_volumes = record.removing_volumes or volumes
        try:
            records.save(entry, record)
        except StateError as err:
            # Removal makes room on a full disk; only what was asked for is forgotten if it dies on the way.
            if err.errno not in records.FULL or may_restart:
                raise


def remove(places: running.Places, containers: Containers, entry: Entry, record: Record, *, volumes: bool) -> None:
    """Remove a container, locked by the caller, that does not run; with `volumes` those without a name of their own.

    Whatever dies leaves a record that says `removing`, with which another call goes on; what that one was asked for
    is done as well. Raises CapsuleError.
    """
    begin(entry, record, volumes=volumes)
    proc.stop_point("engine-removing")
    if life.has_leftover(places.runtime, record.id):
        life.clear(places.runtime, record.id)
    try:
        layers.remove(entry.dir_fd)
    except OSError as err:
        raise StateError("remove the layers of container", record.name, errno=err.errno) from err
    proc.stop_point("engine-layers-removed")
    if record.image_id:
        lookup.release(places.store, record.image_id, record.id)
    if record.volumes:
        from capsule.bundle.volumes import beside, let_go

        let_go(beside(places.containers), record.id, anonymous=record.removing_volumes)
    containers.forget(entry, record)


def remove_leftover(places: running.Places, containers: Containers, entry: Entry) -> None:
    """Remove what is left of a container whose record cannot be read; its entry is locked. Raises CapsuleError."""
    record = Record(entry.id)
    if life.is_alive(entry):
        raise StateError("remove container", entry.id, "its record is damaged, and somebody looks after it")
    if life.has_leftover(places.runtime, record.id):
        life.clear(places.runtime, record.id)
    try:
        layers.remove(entry.dir_fd)
    except OSError as err:
        raise StateError("remove the layers of container", record.id, errno=err.errno) from err
    release_all(places, record.id)
    from capsule.bundle.volumes import beside, let_go

    # Nobody knows what it was to take along: what has no name is left to `volume prune`.
    let_go(beside(places.containers), record.id, anonymous=False)
    containers.forget(entry, record)


def release_all(places: running.Places, id: str) -> None:
    """Let go of whatever image a container may hold."""
    try:
        images = posix.listdir(f"{places.store}/{lookup.HOLDS}")
    except FileNotFoundError:
        return
    for image in images:
        lookup.release(places.store, f"sha256:{image}", id)
