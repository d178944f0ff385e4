"""Hooks that run in R: prestart, createRuntime, poststart, poststop."""

from __future__ import annotations

import posix

from capsule import log
from capsule._ext import json
from capsule.errors import HookError
from capsule.protocol import hooks


def state_bytes(container, config, status: str, pid: int) -> bytes:
    """Write the state a hook reads on stdin (runtime-spec runtime.md#state)."""
    state = {"ociVersion": config.oci_version, "id": container.id, "status": status, "pid": pid,
             "bundle": container.bundle}
    if config.annotations:
        state["annotations"] = config.annotations
    return json.dumps(state)


def run(container, kind: str, config, status: str, pid: int) -> None:
    """Run the hooks of one kind; the first failure is raised as HookError."""
    listed = config.hooks.get(kind)
    if listed:
        hooks.run_hooks(kind, listed, state_bytes(container, config, status, pid), cwd=_cwd(container))


def run_poststop(container, config) -> None:
    """Run every poststop hook; a failing one is a warning (runtime-spec runtime.md#lifecycle, step 13)."""
    listed = config.hooks.get("poststop")
    if not listed:
        return
    from capsule.runtime import failure

    for index, hook in enumerate(listed):
        try:
            hooks.run_hook("poststop", index, hook, state_bytes(container, config, "stopped", 0), cwd=_cwd(container))
        except HookError as err:
            log.warning(str(err))
            failure.remember(container.root, container.id, "delete", err, bundle=container.bundle)


def _cwd(container) -> str | None:
    # An engine may have removed the bundle by the time poststop hooks run.
    try:
        posix.stat(container.bundle)
    except OSError:
        return "/"
    return container.bundle
