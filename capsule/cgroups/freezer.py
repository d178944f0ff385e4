"""Freezing: the v1 freezer controller (admin-guide/cgroup-v1/freezer-subsystem) and v2 cgroup.freeze.

Functions take the map of controllers to directories, so that a container's status can be asked with nothing else.
"""

from __future__ import annotations

import errno
import posix
import time

from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError, Unsupported

UNIFIED = ""


def is_frozen(paths: dict[str, str]) -> bool:
    """Tell whether the processes are frozen or being frozen; a cgroup that is gone is not."""
    try:
        if "freezer" in paths:
            return cgroupfs.read(paths["freezer"], "freezer.state") != "THAWED"
        if UNIFIED in paths:
            return cgroupfs.read(paths[UNIFIED], "cgroup.freeze") == "1"
    except CgroupError as err:
        if err.errno not in (errno.ENOENT, errno.ENODEV):
            raise
    return False


def freeze(paths: dict[str, str], timeout: float) -> None:
    """Freeze and wait until everything is; thaw again if that takes longer than `timeout` seconds.

    Raises CgroupError, Unsupported.
    """
    deadline = time.monotonic_ns() + int(timeout * 1_000_000_000)
    try:
        if "freezer" in paths:
            done = _freeze_v1(paths["freezer"], deadline)
        elif UNIFIED in paths:
            done = _freeze_v2(paths[UNIFIED], deadline)
        else:
            raise _unsupported("freeze", paths)
    except CgroupError:
        _thaw_quietly(paths)
        raise
    if not done:
        thaw(paths)
        raise CgroupError("freeze", _directory(paths), "some process did not stop in time")


def thaw(paths: dict[str, str]) -> None:
    """Let the processes run; nothing happens when they do.

    Raises CgroupError, Unsupported.
    """
    if "freezer" in paths:
        cgroupfs.write(paths["freezer"], "freezer.state", "THAWED")
    elif UNIFIED in paths:
        cgroupfs.write(paths[UNIFIED], "cgroup.freeze", "0")
    else:
        raise _unsupported("thaw", paths)


def thaw_below(paths: dict[str, str]) -> None:
    """Thaw what the container froze itself, in v1 cgroups of its own: there SIGKILL waits (v2 kills the frozen).

    Raises CgroupError.
    """
    directory = paths.get("freezer")
    try:
        if directory is None or posix.stat(directory).st_nlink == 2:
            return  # no cgroup is below it
    except OSError:
        return  # it has gone
    cgroupfs.write_everywhere(directory, "freezer.state", "THAWED")


def _unsupported(operation: str, paths: dict[str, str]) -> Unsupported:
    cause = "neither the freezer controller nor cgroup v2 is mounted"
    if not paths:
        cause = "it has no cgroup: the runtime might make none, or was told to do without"
    return Unsupported(operation, "container", cause)


def _freeze_v1(directory: str, deadline: int) -> bool:
    turn = 0

    def is_done() -> bool:
        nonlocal turn
        # A process forked while the freezer walked the list can keep it at FREEZING until asked once more,
        # and one in a vfork or waiting on a frozen one needs to run to get out of the way.
        if turn and turn % 16 == 0:
            cgroupfs.write(directory, "freezer.state", "THAWED")
        cgroupfs.write(directory, "freezer.state", "FROZEN")
        turn += 1
        return cgroupfs.read(directory, "freezer.state") == "FROZEN"

    return cgroupfs.wait_until(is_done, deadline)


def _freeze_v2(directory: str, deadline: int) -> bool:
    cgroupfs.write(directory, "cgroup.freeze", "1")
    return cgroupfs.wait_until(lambda: "frozen 1" in cgroupfs.read(directory, "cgroup.events"), deadline)


def _thaw_quietly(paths: dict[str, str]) -> None:
    try:
        thaw(paths)
    except CgroupError:
        pass  # the failure to freeze is what is reported


def _directory(paths: dict[str, str]) -> str:
    return paths.get("freezer") or paths[UNIFIED]
