"""delete: remove a container and all it holds."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Delete the container."""
    root, force = runtime_root(invocation), invocation.options["force"]
    if not verbs.delete(root, invocation.positionals[0], force):
        from capsule.cli import engine_names

        if engine_names.translate(invocation):
            verbs.delete(root, invocation.positionals[0], force)
    return 0
