"""Handing controllers down to a v2 cgroup (admin-guide/cgroup-v2, "Enabling and Disabling", "Threads").

A cgroup has a controller's files once every cgroup above it names the controller in cgroup.subtree_control.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError, Unsupported

UNIFIED = ""

#: Those that are handed down where they can be, so that a container's use is counted; others when asked for.
COUNTING = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")

_LIST = "cgroup.controllers"
_HANDED = "cgroup.subtree_control"


def chain(directory: str) -> list[str]:
    """Return the cgroups above `directory` that exist, from the one at the mount point down to its parent."""
    above: list[str] = []
    while directory := directory.rpartition("/")[0]:
        if cgroupfs.has(directory, _LIST):
            above.append(directory)
        elif above or posix.access(directory, posix.F_OK):
            break  # beyond the mount point
    above.reverse()
    return above


def enabled(directory: str) -> list[str]:
    """Return the controllers whose files a cgroup has, none where it does not exist. Raises CgroupError."""
    return cgroupfs.read(directory, _LIST).split() if cgroupfs.has(directory, _LIST) else []


def offered(directory: str, controller: str) -> bool:
    """Tell whether the hierarchy of a cgroup has a controller at all."""
    above = chain(directory)
    return bool(above) and controller in enabled(above[0])


def need(paths: dict[str, str], controller: str, limit: str, file: str) -> None:
    """Refuse a limit whose controller can be seen not to come down to the container's cgroup; changes nothing.

    Raises CgroupError that names the controller, the directory that lacks it, and why.
    """
    leaf = paths[UNIFIED]
    if controller in enabled(leaf):
        return
    try:
        _check_way(leaf, controller)
    except CgroupError as err:
        cause = f"there is no {file}: {err}"
        raise CgroupError(f"cannot set {limit} limit", "", cause, errno=err.errno) from err


def _check_way(leaf: str, controller: str) -> None:
    above = chain(leaf)
    if not above or controller not in enabled(above[0]):
        raise _not_offered(above[0] if above else leaf, controller)
    for directory in above:
        if controller in _handed_down(directory):
            continue
        if not posix.access(f"{directory}/{_HANDED}", posix.W_OK, effective_ids=True):
            raise _refusal(directory, controller, _why_not_writable(directory))
        if _holds_processes(directory):
            raise _refusal(directory, controller, errno.EBUSY)


def enable(leaf: str, required: set[str]) -> None:
    """Hand down to a cgroup the required controllers, and those that count where nothing is in the way.

    What was enabled stays so: another container may have found it enabled and count on it meanwhile.
    Raises CgroupError.
    """
    for directory in chain(leaf):
        there, handed = enabled(directory), _handed_down(directory)
        wanted = [name for name in there if name not in handed and (name in required or name in COUNTING)]
        if wanted:
            _hand_down(directory, wanted, required)
    there = enabled(leaf)
    for controller in sorted(required):
        if controller not in there:
            _check_way(leaf, controller)
            raise _refusal(leaf, controller, errno.ENOENT)


def _hand_down(directory: str, wanted: list[str], required: set[str]) -> None:
    if _holds_processes(directory):
        # The kernel would take cpu and pids alone and make of this a threaded domain, in which a container
        # can no longer be joined: nothing is tried.
        for controller in wanted:
            if controller in required:
                raise _refusal(directory, controller, errno.EBUSY)
        return
    try:
        cgroupfs.write(directory, _HANDED, " ".join([f"+{name}" for name in wanted]))
        return
    except CgroupError:
        pass  # one of them is refused, and the write as a whole: ask for each
    for controller in wanted:
        try:
            cgroupfs.write(directory, _HANDED, f"+{controller}")
        except CgroupError as err:
            if controller in required:
                raise _refusal(directory, controller, err.errno) from err
            log.debug(f"hand down {controller}: {err}")


def _handed_down(directory: str) -> list[str]:
    return cgroupfs.read(directory, _HANDED).split()


def _holds_processes(directory: str) -> bool:
    """Tell whether a cgroup has processes of its own; the root may, and a threaded one says so by its type."""
    if not cgroupfs.has(directory, "cgroup.type"):
        return False
    try:
        return cgroupfs.read(directory, "cgroup.procs") != ""
    except CgroupError as err:
        if err.errno != errno.EOPNOTSUPP:
            raise
        return False  # a threaded cgroup: the write to it will say what is wrong


def _why_not_writable(directory: str) -> int:
    try:
        posix.close(posix.open(f"{directory}/{_HANDED}", posix.O_WRONLY | posix.O_CLOEXEC))
    except OSError as err:
        return err.errno or errno.EACCES
    return errno.EACCES


def _not_offered(top: str, controller: str) -> CgroupError:
    if cgroupfs.has(top, "cgroup.type"):
        return _refusal(top, controller, errno.EACCES)
    why = "the kernel lacks it, cgroup_disable= turned it off, or a v1 hierarchy has it"
    cause = f"{top}/{_LIST} has not {controller}: {why}"
    return CgroupError("enable controller", controller, cause, errno=errno.ENOENT)


def _refusal(directory: str, controller: str, number: int) -> CgroupError:
    """Return the error that says why a directory does not hand a controller down, and what would help."""
    if number == errno.EBUSY:
        cause = "processes are in it, and such a cgroup cannot hand controllers down; move them into one below it"
    elif number in (errno.EACCES, errno.EPERM):
        from capsule.cgroups import unprivileged

        cause = f"{unprivileged.whose(directory)}; {unprivileged.delegation(controller)}"
    elif number == errno.EROFS:
        cause = "the cgroup file system is mounted read-only here"
    elif number in (errno.EOPNOTSUPP, errno.EINVAL) and cgroupfs.has(directory, "cgroup.type"):
        kind = cgroupfs.read(directory, "cgroup.type")
        cause = f"its cgroup.type is \"{kind}\""
        if kind != "domain":
            cause += ": in a threaded subtree only cpu, cpuset and pids can be handed down"
    else:
        cause = ""
    return CgroupError(f"enable controller {controller} in", f"{directory}/{_HANDED}", cause, errno=number)


def check_type(leaf: str) -> None:
    """Refuse a cgroup that no process can be in, because of a threaded one above it. Raises CgroupError."""
    kind = cgroupfs.read(leaf, "cgroup.type") if cgroupfs.has(leaf, "cgroup.type") else "domain"
    if kind in ("domain invalid", "threaded"):
        why = "a cgroup above it is threaded, or holds processes and hands controllers down"
        raise CgroupError("join cgroup", leaf, f'its cgroup.type is "{kind}": {why}', errno=errno.EOPNOTSUPP)


def no_counterpart(key: str) -> Unsupported:
    """Return the error of a limit that only v1 has."""
    return Unsupported("apply", f"linux.resources.{key}", "cgroup v2 has no such limit")
