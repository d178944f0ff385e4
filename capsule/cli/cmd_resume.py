"""resume: let the processes of a paused container go on."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Resume the container."""
    verbs.resume(runtime_root(invocation), invocation.positionals[0])
    return 0
