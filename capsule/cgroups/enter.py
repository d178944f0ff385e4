"""Which cgroups a process joins that enters a running container: `exec --cgroup` and the v2 fallback."""

from __future__ import annotations

import posix

from capsule.cgroups import cgroupfs, layout
from capsule.errors import CgroupError
from capsule.linux import mountinfo

UNIFIED = ""


def parse(words: list[str]) -> dict[str, str]:
    """Return {controller, or "" for all: sub-cgroup} from words `[CONTROLLER[,CONTROLLER]:]PATH`."""
    sub = {}
    for word in words:
        controllers, colon, path = word.partition(":")
        if not colon:
            controllers, path = "", word
        for controller in controllers.split(","):
            sub[controller] = path
    return sub


def targets(paths: dict[str, str], sub: dict[str, str] | list[str] | None, init_pid: int) -> dict[str, str]:
    """Return the directory to join for each controller; `sub` is what parse() takes or returns.

    Raises CgroupError for a controller that there is not, or a sub-cgroup outside the container's.
    """
    chosen = dict(paths)
    if isinstance(sub, list):
        sub = parse(sub)
    pure = len(paths) == 1 and UNIFIED in paths
    for controller, path in (sub or {}).items():
        below = _below(path)
        if controller == "":
            for name in paths:
                # Beside v1, the v2 hierarchy limits nothing: processes stay with the init there.
                if pure or name != UNIFIED:
                    chosen[name] = paths[name] + below
        elif controller in paths:
            for name in paths:
                if paths[name] == paths[controller]:
                    chosen[name] = paths[name] + below
        else:
            raise CgroupError("exec", "", f"unknown controller {controller}")
    if UNIFIED in paths and init_pid and not (pure and sub):
        chosen[UNIFIED] = _joinable(paths[UNIFIED], init_pid)
    return chosen


def is_others(directory: str) -> bool:
    """Tell whether a cgroup belongs to another user than us."""
    try:
        return posix.stat(directory).st_uid != posix.geteuid()
    except OSError:
        return False  # the join will say what is wrong


def _below(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise CgroupError("exec", "", f"bad sub cgroup path: {path!r}")
    return "/" + "/".join(parts) if parts else ""


def _joinable(directory: str, init_pid: int) -> str:
    """Return the container's v2 cgroup, or the one of its init below it when that one cannot hold processes."""
    try:
        # A cgroup that hands controllers down holds no processes (admin-guide/cgroup-v2, no internal processes).
        if not cgroupfs.read(directory, "cgroup.subtree_control"):
            return directory
    except CgroupError:
        # The container removed its own cgroup after it had moved everything away.
        pass
    try:
        inits = layout.unified_directory(
            mountinfo.read_text(f"/proc/{init_pid}/cgroup"), mountinfo.read_text("/proc/self/mountinfo")
        )
    except OSError:
        return directory
    # Only below the container's own: its processes may have moved the init, but not out (CLONE_INTO_CGROUP is ours).
    if inits is not None and inits.startswith(directory + "/") and posix.access(inits, posix.F_OK):
        return inits
    return directory
