"""Control groups: making, joining, limiting, freezing and removing a container's cgroups (docs/cgroups.md).

v1 and hybrid layouts are complete; on pure v2 membership, freezing and killing work and limits are refused.
"""

from __future__ import annotations


def open_manager(cgroups_path: str | None, container_id: str, *, systemd: bool = False):
    """Return the Manager of a container about to be created.

    Raises SpecError for a path that leaves its hierarchy, Unsupported, CgroupError.
    """
    from capsule.cgroups import manager

    return manager.open_manager(cgroups_path, container_id, systemd=systemd)


def from_record(paths: dict, made: list):
    """Return the Manager of an existing container from its record's cgroup_paths and cgroup_made.

    Without paths, `made` is what the journal of an interrupted create names.
    """
    from capsule.cgroups import manager

    if not paths and made:
        from capsule.cgroups import leftover

        paths = leftover.identify(made)
    return manager.Manager(dict(paths), list(made))
