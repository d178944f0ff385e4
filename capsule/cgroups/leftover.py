"""The cgroups of a create that was interrupted: a journal names directories, not which controllers they are of."""

from __future__ import annotations

from capsule.cgroups import cgroupfs

# A file that a non-root cgroup of the hierarchy has; freezing and killing need to know these, no others.
_MARKS = (("freezer.state", "freezer"), ("cgroup.freeze", ""), ("devices.list", "devices"), ("pids.max", "pids"))


def identify(directories: list[str]) -> dict[str, str]:
    """Return {controller: directory} of the container's own cgroups among those that exist.

    A directory with another one of the list below it is a parent, which others may use by now: it is left out.
    Where the controller is of no importance, the directory stands for it.
    """
    parents = {directory.rpartition("/")[0] for directory in directories}
    found = {}
    for directory in directories:
        if directory not in parents and cgroupfs.has(directory, "cgroup.procs"):
            found[_controller(directory)] = directory
    return found


def _controller(directory: str) -> str:
    for file, controller in _MARKS:
        if cgroupfs.has(directory, file):
            return controller
    return directory
