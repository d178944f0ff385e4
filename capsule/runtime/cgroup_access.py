"""Which cgroups create may use where that is not a matter of course: --rootless, --cgroup-manager=disabled, no root.

As runc's --rootless: "auto" tolerates a lack of permission for who is not root, "true" for everybody, "false" for
nobody. Imported only where one of these is in play.
"""

from __future__ import annotations

from capsule import cgroups
from capsule.cgroups import manager as managers, unprivileged
from capsule.errors import CgroupError, Unsupported

DISABLED = "disabled"  # of --cgroup-manager
ALWAYS, NEVER = "true", "false"  # of --rootless


def open_manager(id: str, config, process, *, rootless: bool):
    """Find the container's cgroups, or those of them that we may make; make nothing yet.

    Raises CgroupError for a limit that is lost with its cgroup, Unsupported, SpecError.
    """
    manager = _open(id, config, process, rootless=rootless)
    manager.restricts_devices = not rootless
    return manager


def _open(id: str, config, process, *, rootless: bool):
    kinds = dict(config.namespaces)
    private_pids = "pid" in kinds and kinds["pid"] is None
    tolerant = process.cgroup_access == ALWAYS or (rootless and process.cgroup_access != NEVER)
    if process.cgroup_access == DISABLED:
        manager = _open_quietly(id)
        _refuse_limits(config.resources)
        manager.leave(manager.hierarchies)
        unprivileged.tell(private_pids=private_pids)
        return manager
    try:
        manager = cgroups.open_manager(config.cgroups_path, id, systemd=process.systemd_cgroup,
                                       annotations=config.annotations)
    except CgroupError:
        if process.systemd_cgroup or not tolerant or config.cgroups_path or _limits(config.resources):
            raise
        unprivileged.tell(private_pids=private_pids)  # no hierarchy is mounted where we are
        return managers.Manager({}, [], fresh=True)
    if tolerant and not process.systemd_cgroup:
        unprivileged.settle(manager, config.resources, path_given=bool(config.cgroups_path), private_pids=private_pids)
    return manager


def _open_quietly(id: str):
    """Find the hierarchies, for the cgroup mount shows them all the same; none where none is mounted."""
    try:
        return cgroups.open_manager(None, id)
    except CgroupError:
        return managers.Manager({}, [], fresh=True)


def _limits(resources: dict) -> list[str]:
    return [key for key, value in resources.items() if value and key != "devices"]


def _refuse_limits(resources: dict) -> None:
    for key in _limits(resources):
        raise Unsupported("apply", f"linux.resources.{key}",
                          "--cgroup-manager=disabled leaves the container without a cgroup")
