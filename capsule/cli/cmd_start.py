"""start: let the process of a created container run."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import StateError


def run(invocation: Invocation) -> int:
    """Start the container; several, or --all, are of the engine."""
    if len(invocation.positionals) != 1 or invocation.options["filter"]:
        from capsule.cli import cmd_life

        return cmd_life.run(invocation)
    try:
        verbs.start(runtime_root(invocation), invocation.positionals[0])
    except StateError:
        # A stopped container of the engine has nothing in the runtime, or what a killed monitor left there.
        from capsule.cli import cmd_life

        if not cmd_life.start(invocation):
            raise
    return 0
