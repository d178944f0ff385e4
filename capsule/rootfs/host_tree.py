"""What a container without a mount namespace mounts in the caller's tree, and taking it away at its end.

Its root becomes a mount of its own, under all others, so that one lazy unmount removes them. The root may have
been a mount point before, an engine's overlay for one: how many mounts there were on it tells which are the
container's.
"""

from __future__ import annotations

import posix

from capsule._ext import mountapi
from capsule.linux import mountinfo
from capsule.rootfs.operations import failed

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


def before(rootfs_path: str) -> tuple[str, int]:
    """Return the root's path without links, and the number of mounts on it. Raises MountError."""
    try:
        fd = posix.open(rootfs_path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            path = posix.readlink(f"/proc/self/fd/{fd}")
        finally:
            posix.close(fd)
        return path, _count(path)
    except OSError as err:
        raise failed("look for mounts on", rootfs_path, err) from err


def restore(path: str, count: int) -> None:
    """Unmount what was mounted on the root since `before` returned these. Raises MountError."""
    try:
        while _count(path) > count:
            mountapi.umount(path, _MNT_DETACH | _UMOUNT_NOFOLLOW)
    except OSError as err:
        raise failed("unmount", path, err) from err


def _count(path: str) -> int:
    text = mountinfo.read_text("/proc/self/mountinfo")
    return sum([entry[mountinfo.MOUNT_POINT] == path for entry in mountinfo.parse(text)])
