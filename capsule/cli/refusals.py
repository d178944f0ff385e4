"""Words of global options that no value is: said before anything is touched."""

from __future__ import annotations

from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError


def check_cgroup_choices(invocation: Invocation) -> None:
    """Refuse words that choose nothing; they matter where cgroups are made. Raises CapsuleError."""
    values = invocation.globals
    manager, rootless = values["cgroup_manager"], values["rootless"]
    if manager not in ("", "cgroupfs", "systemd", "disabled"):
        raise CapsuleError(f"invalid cgroup-manager: {manager}")
    if rootless not in ("", "auto", "true", "false"):
        raise CapsuleError(f"invalid rootless: {rootless}")


def cgroup_access(invocation: Invocation) -> str:
    """Return the word for Process.cgroup_access that the options stand for."""
    values = invocation.globals
    if values["cgroup_manager"] == "disabled":
        return "disabled"
    return "" if values["rootless"] == "auto" else values["rootless"]
