"""update, events, checkpoint, restore: known words whose verbs this build does not have."""

from __future__ import annotations

from capsule.cli.scanner import Invocation
from capsule.errors import Unsupported


def run(invocation: Invocation) -> int:
    """Refuse.

    Raises Unsupported.
    """
    raise Unsupported(invocation.command, invocation.positionals[0], "not built yet")
