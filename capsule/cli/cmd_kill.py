"""kill: send a signal to a container."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.linux.names import signal_number


def run(invocation: Invocation) -> int:
    """Send the signal, SIGTERM unless one is named."""
    words = invocation.positionals
    number = signal_number(words[1] if len(words) > 1 else "TERM")
    verbs.kill(runtime_root(invocation), words[0], number, invocation.options["all"])
    return 0
