"""delete: remove a container and all it holds."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Delete the container."""
    verbs.delete(runtime_root(invocation), invocation.positionals[0], invocation.options["force"])
    return 0
