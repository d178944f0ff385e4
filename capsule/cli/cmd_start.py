"""start: let the process of a created container run."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Start the container."""
    verbs.start(runtime_root(invocation), invocation.positionals[0])
    return 0
