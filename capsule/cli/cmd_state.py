"""state: print the state of a container as JSON."""

from __future__ import annotations

from capsule import verbs
from capsule.cli import output
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Print the OCI state and runc's keys; with --detail the whole record under `detail`."""
    root = runtime_root(invocation)
    container_id = invocation.positionals[0]
    state = verbs.state(root, container_id)
    if invocation.options["detail"]:
        state["detail"] = verbs.detail(root, container_id)
    output.print_json(state, pretty=True)
    return 0
