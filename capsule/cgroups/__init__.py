"""Control groups: making, joining, limiting, freezing and removing a container's cgroups (docs/cgroups.md)."""

from __future__ import annotations


def open_manager(cgroups_path: str | None, container_id: str, *, systemd: bool = False,
                 annotations: dict[str, str] | None = None):
    """Return the Manager of a container about to be created; `annotations` of the config count where `systemd` does.

    Raises SpecError for a path that leaves its hierarchy or names no unit, Unsupported, CgroupError.
    """
    if systemd:
        from capsule.cgroups.systemd import driver

        return driver.open_manager(cgroups_path, container_id, annotations or {})
    from capsule.cgroups import manager

    return manager.open_manager(cgroups_path, container_id)


def from_record(paths: dict, made: list, unit: dict | None = None):
    """Return the Manager of an existing container from its record's cgroup_paths, cgroup_made and extra["unit"].

    Without paths, `made` and `unit` are what the journal of an interrupted create names.
    """
    from capsule.cgroups import manager

    if not paths and made:
        from capsule.cgroups import leftover

        paths = leftover.identify(made)
    if unit is not None:
        from capsule.cgroups.systemd import driver

        return driver.SystemdManager(unit, dict(paths), list(made))
    return manager.Manager(dict(paths), list(made))
