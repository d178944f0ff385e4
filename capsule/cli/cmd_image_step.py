"""_step: run one RUN of a build, as its file says, and become the relay of its container (capsule.bundle.build_run)."""

from __future__ import annotations

from capsule import verbs
from capsule._ext import json
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.linux import files
from capsule.protocol.relay_plan import MonitorPlan
from capsule.spec.load import build_config


def run(invocation: Invocation) -> int:
    """Run it; its status is ours."""
    id, path, lock = invocation.positionals
    step: dict = json.loads(files.read(path))  # type: ignore[assignment]  # ours, written in one step
    tree = step["config"]
    return verbs.run(runtime_root(invocation), id, bundle="/", config=build_config(tree, json.dumps(tree)),
                     overlay=step["overlay"], finish=lambda plan, container: _finish(plan, int(lock)))


def _finish(plan, lock_fd: int) -> None:
    """Have the relay leave the end of the container to `delete --force`, which it has the words of.

    It keeps the lock of the staging area that the container's root lies in, were the build to be killed.
    """
    plan.fallback_always = True
    plan.monitor = MonitorPlan()
    plan.monitor.alive_fd = lock_fd
