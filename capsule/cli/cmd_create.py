"""create: make a container; its process waits for start."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import making_options, runtime_root
from capsule.cli.refusals import check_cgroup_choices
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Create the container."""
    check_cgroup_choices(invocation)
    verbs.create(runtime_root(invocation), invocation.positionals[0], **making_options(invocation))
    return 0
