"""checkpoint, restore: known words whose verbs this build does not have."""

from __future__ import annotations

from capsule.cli.scanner import Invocation
from capsule.errors import Unsupported


def run(invocation: Invocation) -> int:
    """Refuse, before anything is looked at.

    Raises Unsupported.
    """
    raise Unsupported(invocation.command, invocation.positionals[0], "needs criu; not built yet")
