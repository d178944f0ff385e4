"""_ended: what the relay of an image's container starts at its end."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.image import lookup


def run(invocation: Invocation) -> int:
    """Remove the container, then let go of its image."""
    id, store, image = invocation.positionals
    verbs.delete(runtime_root(invocation), id, force=True)
    lookup.release(store, image, id)
    return 0
