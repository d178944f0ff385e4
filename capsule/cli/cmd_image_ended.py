"""_ended: what the relay or the monitor of an engine's container starts at the end of a run."""

from __future__ import annotations

import time

from capsule import verbs
from capsule.bundle import containers as records, removal, running
from capsule.bundle.containers import Containers
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import NotFound

AGAIN = 64  # exit status for the monitor: this, and the step of the back-off (csrc/monitor.c)


def run(invocation: Invocation) -> int:
    """Clean up; returns what the monitor is to do."""
    store, place, id = invocation.positionals
    places = running.Places(runtime_root(invocation), store, place)
    containers = Containers(place)
    try:
        entry = containers.open(id, lock=True)
    except NotFound:
        verbs.delete(places.runtime, id, force=True)
        return 0
    try:
        record = records.read(entry)
        verbs.delete(places.runtime, id, force=True)
        if record.remove:
            removal.remove(places, containers, entry, record, volumes=True)
            return 0
        step = running.restart_pause(record, records.end_of(entry, record), time.time_ns() - record.started_ns)
        if step < 0:
            record.wanted = False
        else:
            record.restarts += 1
        records.save(entry, record)
        return 0 if step < 0 else AGAIN + step
    finally:
        entry.close()
