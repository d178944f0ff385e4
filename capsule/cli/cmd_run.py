"""run: create a container and start its process."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import making_options, runtime_root
from capsule.cli.refusals import refuse_cgroup_choices, refuse_options
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Run the container; in the foreground this process becomes its relay and does not return."""
    refuse_cgroup_choices(invocation)
    refuse_options(invocation, ("pidfd_socket",))
    options = invocation.options
    return verbs.run(
        runtime_root(invocation), invocation.positionals[0], detach=options["detach"], keep=options["keep"],
        **making_options(invocation),
    )
