"""events: one JSON object a line for statistics and for each time that memory ran out, in runc's shape.

Without an id: what happens to containers of the engine (engine_events).
"""

from __future__ import annotations

from capsule import verbs
from capsule.cli import output, quantities
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError

_DEFAULT_INTERVAL = "5s"


def run(invocation: Invocation) -> int:
    """Print statistics once, or events until the container ends."""
    options = invocation.options
    if not invocation.positionals:
        from capsule.cli import engine_events

        return engine_events.run(invocation)
    interval_ns = quantities.duration_ns("interval", options["interval"] or _DEFAULT_INTERVAL)
    if interval_ns <= 0:
        raise CapsuleError("duration interval must be greater than 0")
    root, container_id = runtime_root(invocation), invocation.positionals[0]

    def emit(kind: str, data: dict | None) -> None:
        event = {"type": kind, "id": container_id}
        if data is not None:
            event["data"] = data
        output.print_json(event, pretty=False)

    if options["stats"]:
        emit("stats", verbs.stats(root, container_id))
    else:
        verbs.watch(root, container_id, interval_ns=interval_ns, emit=emit)
    return 0
