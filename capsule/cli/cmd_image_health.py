"""_health: what the monitor starts when it is time to look after a container's health."""

from __future__ import annotations

from capsule.bundle import containers as records, health, running
from capsule.bundle.containers import Containers
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Look once."""
    store, place, id = invocation.positionals
    with Containers(place).open(id) as entry:
        health.look(running.Places(runtime_root(invocation), store, place), entry, records.read(entry))
    return 0
