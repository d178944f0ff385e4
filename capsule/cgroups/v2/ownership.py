"""Giving a container its v2 cgroup, so that it can make cgroups below it (man 7 cgroups "Cgroups delegation").

The rules are runtime-spec config-linux.md#cgroup-ownership: only with a cgroup namespace of its own, only when the file
system is mounted to be written to, and only the files that the kernel names. Its limits stay the host's.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule._ext import idmap
from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError, KernelError

_PLACE = "/sys/fs/cgroup"
_FALLBACK = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")  # before Linux 4.15
_FIRST, _HOST, _SIZE = range(3)


def owner(config, userns_fd: int) -> int | None:
    """Return the host's uid of the user who runs the process, if the cgroup is to be its own; None otherwise.

    `userns_fd` is that of a user namespace that is joined, or 0. Raises KernelError.
    """
    if ("cgroup", None) not in [tuple(entry) for entry in config.namespaces] or not _is_mounted_to_write(config.mounts):
        return None
    uid = config.process.uid if config.process is not None else 0
    maps = config.uid_mappings
    if userns_fd:
        maps = _maps_of(userns_fd)
    return _on_host(uid, maps) if maps else uid


def _is_mounted_to_write(mounts) -> bool:
    for mount in mounts:
        if mount.destination.rstrip("/") == _PLACE and mount.type in ("cgroup", "cgroup2"):
            return "ro" not in mount.options
    return False


def _maps_of(userns_fd: int) -> list[tuple]:
    try:
        text = idmap.read(userns_fd)[0].decode()
    except OSError as err:
        raise KernelError("read the mappings of", "the user namespace", errno=err.errno or 0) from err
    return [tuple([int(word) for word in line.split()]) for line in text.splitlines()]


def _on_host(uid: int, maps) -> int | None:
    for row in maps:
        if row[_FIRST] <= uid < row[_FIRST] + row[_SIZE]:
            return row[_HOST] + uid - row[_FIRST]
    return None  # nobody that the cgroup could be given to


def give(directory: str, uid: int) -> None:
    """Make a host's user the owner of a cgroup and of the files that delegation needs; their groups stay.

    Raises CgroupError.
    """
    if posix.stat(directory).st_uid == uid:
        return
    path = directory
    try:
        posix.chown(path, uid, -1)
        for name in _files():
            path = f"{directory}/{name}"
            if posix.access(path, posix.F_OK):
                posix.chown(path, uid, -1)
    except OSError as err:
        if err.errno == errno.EPERM and posix.geteuid() != 0:
            log.debug(f"{path} stays ours: uid {posix.geteuid()} cannot give it to uid {uid}")
            return
        raise CgroupError(f"give uid {uid}", path, errno=err.errno) from err


def _files() -> list[str] | tuple:
    try:
        return cgroupfs.read("/sys/kernel/cgroup", "delegate").split()
    except CgroupError:
        return _FALLBACK
