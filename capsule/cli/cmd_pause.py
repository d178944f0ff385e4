"""pause: suspend the processes of a container."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Pause the container."""
    verbs.pause(runtime_root(invocation), invocation.positionals[0])
    return 0
