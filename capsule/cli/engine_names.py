"""Verbs of the runtime for containers of the engine, which have names: tried where the runtime knows no such id."""

from __future__ import annotations

from capsule.bundle.containers import Containers
from capsule.cli.paths import containers_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError

VERBS = ("start", "exec", "kill", "delete", "state", "pause", "resume", "update", "events", "ps", "top", "port", "why")


def translate(invocation: Invocation) -> bool:
    """Put the id in the place of a name, or of the beginning of an id; tell whether that changes anything."""
    words = invocation.positionals
    if invocation.command not in VERBS or not words:
        return False
    try:
        id = Containers(containers_root(invocation)).find(words[0])
    except CapsuleError:
        return False
    changed = words[0] != id
    words[0] = id
    return changed
