"""run: create a container and start its process."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import making_options, runtime_root
from capsule.cli.refusals import check_cgroup_choices
from capsule.cli.scanner import Invocation
from capsule.cli.time_limits import milliseconds
from capsule.errors import CapsuleError, Unsupported


def run(invocation: Invocation) -> int:
    """Run the container; in the foreground this process becomes its relay and does not return."""
    check_cgroup_choices(invocation)
    options = invocation.options
    timeout_ms = kill_after_ms = 0
    if options["timeout"] or options["kill_after"]:
        timeout_ms, kill_after_ms = _time_limit(options)
    return verbs.run(
        runtime_root(invocation), invocation.positionals[0], detach=options["detach"], keep=options["keep"],
        timeout_ms=timeout_ms, kill_after_ms=kill_after_ms, **making_options(invocation),
    )


def _time_limit(options: dict) -> tuple[int, int]:
    """Return the milliseconds of --timeout and --kill-after.

    Raises CapsuleError for what is no time, Unsupported without anybody to watch the clock.
    """
    if options["detach"]:
        raise Unsupported("run", "--timeout", "with --detach nobody stays to watch the time")
    if not options["timeout"]:
        raise CapsuleError("run", "--kill-after", "needs --timeout")
    return (milliseconds("run", "--timeout", options["timeout"]),
            milliseconds("run", "--kill-after", options["kill_after"] or "10"))
