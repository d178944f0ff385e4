"""Words of global options that no value is: said before anything is touched."""

from __future__ import annotations

from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, Unsupported


def check_cgroup_choices(invocation: Invocation) -> None:
    """Refuse words that choose nothing; they matter where cgroups are made. Raises CapsuleError."""
    values = invocation.globals
    manager, rootless = values["cgroup_manager"], values["rootless"]
    if manager not in ("", "cgroupfs", "systemd", "disabled"):
        raise CapsuleError(f"invalid cgroup-manager: {manager}")
    if rootless not in ("", "auto", "true", "false"):
        raise CapsuleError(f"invalid rootless: {rootless}")


def refuse_cgroup_choices(command: str, invocation: Invocation) -> None:
    """Refuse every choice of cgroups but the default, for commands that have no other yet. Raises CapsuleError."""
    check_cgroup_choices(invocation)
    values = invocation.globals
    for option, chosen in (("--systemd-cgroup", values["systemd_cgroup"]),
                           ("--cgroup-manager", values["cgroup_manager"] not in ("", "cgroupfs")),
                           ("--rootless", values["rootless"] == "true")):
        if chosen:
            raise Unsupported(command, option, "is not built yet for this command; create and run have it")


def cgroup_access(invocation: Invocation) -> str:
    """Return the word for Process.cgroup_access that the options stand for."""
    values = invocation.globals
    if values["cgroup_manager"] == "disabled":
        return "disabled"
    return "" if values["rootless"] == "auto" else values["rootless"]
