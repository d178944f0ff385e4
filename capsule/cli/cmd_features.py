"""features: print what this build supports (runtime-spec features.md)."""

from __future__ import annotations

from capsule.cli import output
from capsule.cli.scanner import Invocation
from capsule.spec.features import features


def run(invocation: Invocation) -> int:
    """Print the features document."""
    output.print_json(features(), pretty=True)
    return 0
