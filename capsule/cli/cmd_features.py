"""features: print what this build supports (runtime-spec features.md)."""

from __future__ import annotations

from capsule._version import VERSION
from capsule.cli import output
from capsule.cli.cmd_version import built
from capsule.cli.scanner import Invocation
from capsule.spec.features import features


def run(invocation: Invocation) -> int:
    """Print the features document."""
    annotations = {"capsule.version": VERSION, "capsule.commit": built("commit")}
    output.print_json(features(annotations=annotations), pretty=True)
    return 0
