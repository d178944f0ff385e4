"""Verbs of the runtime for containers of the engine, which have names: tried where the runtime knows no such id."""

from __future__ import annotations

from capsule.bundle.containers import Containers
from capsule.cli.paths import containers_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError

VERBS = ("start", "exec", "kill", "delete", "state", "pause", "resume", "update", "events", "ps", "top", "port", "why")
_SECOND = ("network connect", "network disconnect")  # the network comes first


def translate(invocation: Invocation) -> bool:
    """Put the id in the place of a name, or of the beginning of an id; tell whether that changes anything."""
    words = invocation.positionals
    at = 1 if invocation.command in _SECOND else 0
    if invocation.command not in VERBS + _SECOND or len(words) <= at:
        return False
    try:
        id = Containers(containers_root(invocation)).find(words[at])
    except CapsuleError:
        return False
    changed = words[at] != id
    words[at] = id
    return changed
