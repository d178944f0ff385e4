"""Id-mapped mounts, R's part: a user namespace for each map, and mounts made with the host's privilege.

Imported when the config asks for such a mount. man 2 mount_setattr, man 7 user_namespaces.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import idmap
from capsule.errors import KernelError, SpecError
from capsule.protocol import messages
from capsule.runtime import namespaces

_CAUSES = {
    errno.EINVAL: "its file system has no id-mapped mounts, or its ids are mapped already",
    errno.ENOSYS: "the kernel has no id-mapped mounts (Linux 5.12)",
}


def open_all(maps: list[tuple], own_maps: tuple[bytes, bytes], own_fd: int) -> list[int]:
    """Return an fd of a user namespace for each of `RootfsPlan.idmaps`; the caller closes them.

    A map of two empty tuples is the container's own: that namespace if it is joined (own_fd), else one with the same
    texts. Raises SpecError, KernelError.
    """
    opened: list[int] = []
    try:
        for uids, gids in maps:
            if uids:
                texts = namespaces.map_text(uids, "uidMappings"), namespaces.map_text(gids, "gidMappings")
                opened.append(_make(*texts))
            elif own_fd:
                opened.append(posix.dup(own_fd))
            else:
                opened.append(_make(*own_maps))
    except BaseException:
        for fd in opened:
            posix.close(fd)
        raise
    return opened


def _make(uid_map: bytes, gid_map: bytes) -> int:
    try:
        return idmap.userns(uid_map, gid_map)
    except OSError as err:
        text = uid_map.decode().strip().replace("\n", ", ")
        raise KernelError("make a user namespace for the mount's ids", text, errno=err.errno or 0) from err


def check_joined(config, userns_fd: int) -> None:
    """Refuse mappings that a user namespace joined by path has otherwise. Raises SpecError, KernelError."""
    try:
        texts = idmap.read(userns_fd)
    except OSError as err:
        raise KernelError("read the mappings of", "the user namespace", errno=err.errno or 0) from err
    wanted = (("uidMappings", config.uid_mappings), ("gidMappings", config.gid_mappings))
    for (name, mappings), text in zip(wanted, texts, strict=True):
        there = [tuple([int(word) for word in line.split()]) for line in text.decode().splitlines()]
        if mappings and _merged(mappings) != _merged(there):
            shown = ", ".join([" ".join([str(number) for number in row]) for row in there])
            cause = f"the user namespace that is joined maps otherwise: {shown}"
            raise SpecError("config.json", f"linux.{name}", cause)


def _merged(mappings: list[tuple]) -> list[tuple]:
    """Return the ranges in order, those that continue each other as one."""
    found: list[tuple] = []
    for inside, outside, size in sorted(mappings):
        if found and found[-1][0] + found[-1][2] == inside and found[-1][1] + found[-1][2] == outside:
            found[-1] = (found[-1][0], found[-1][1], found[-1][2] + size)
        else:
            found.append((inside, outside, size))
    return found


def apply(mount_fd: int, path: str, flags: int, fds: list[int]) -> None:
    """Map the ids of a detached mount of a host path. Raises KernelError."""
    try:
        idmap.apply(mount_fd, fds[messages.map_index(flags)], bool(flags & messages.MAPPED_TREE))
    except OSError as err:
        number = err.errno or 0
        raise KernelError("map the ids of mount source", path, _CAUSES.get(number, ""), errno=number) from err
