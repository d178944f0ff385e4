"""What the command line knows and this build does not do: said before anything is touched."""

from __future__ import annotations

from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, Unsupported


def refuse_cgroup_choices(invocation: Invocation) -> None:
    """Refuse the global options that choose a cgroup manager other than ours; they matter where cgroups are made.

    Raises Unsupported, and CapsuleError for a word that no option value is.
    """
    values = invocation.globals
    manager = values["cgroup_manager"]
    if manager == "disabled":
        raise Unsupported(invocation.command, "--cgroup-manager=disabled", "not built yet")
    if manager not in ("", "cgroupfs", "systemd"):
        raise CapsuleError(f"invalid cgroup-manager: {manager}")
    rootless = values["rootless"]
    if rootless == "true":
        raise Unsupported(invocation.command, "--rootless=true", "not built yet")
    if rootless not in ("", "auto", "false"):
        raise CapsuleError(f"invalid rootless: {rootless}")
