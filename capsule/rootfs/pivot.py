"""The change of root, between the two halves of a plan (man 2 pivot_root)."""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath
from capsule.errors import MountError
from capsule.linux import mountinfo
from capsule.rootfs.operations import CHROOT, PIVOT, Context

_MNT_DETACH = 2
_MS_SLAVE_ALL = 1 << 19 | 1 << 14


def pivot(ctx: Context) -> None:
    """Make the prepared root "/" and the working directory, in the way that the plan chose. Raises MountError."""
    try:
        if ctx.switch == PIVOT:
            mountapi.pivot(ctx.root_fd, ctx.proc_fd)
        elif ctx.switch == CHROOT:
            mountapi.chroot(ctx.root_fd)
        else:
            _move(ctx)
    except OSError as err:
        cause = ""
        if ctx.switch == PIVOT and err.errno == errno.EINVAL:
            cause = "invalid argument (a root on the initial ramfs cannot be pivoted: --no-pivot)"
        raise MountError("change root to", ctx.rootfs_path, cause, errno=err.errno or 0) from err


def _move(ctx: Context) -> None:
    """Move the root over "/"; what is below stays, so the host's procfs and sysfs mounts are taken away first.

    Left there, they would prove to the kernel that this user namespace may mount unmasked ones.
    """
    for entry in reversed(mountinfo.parse(_own_mountinfo())):
        point = entry[mountinfo.MOUNT_POINT]
        inside = point == ctx.rootfs_path or point.startswith(ctx.rootfs_path + "/")
        if entry[mountinfo.TYPE] in ("proc", "sysfs") and not inside:
            _take_away(ctx, point)
    mountapi.move_root(ctx.root_fd, ctx.proc_fd)


def _own_mountinfo() -> str:
    proc_fd = mountapi.open_proc()
    try:
        fd = openbeneath.open_in_root(proc_fd, "self/mountinfo", posix.O_RDONLY, openbeneath.RESOLVE_BENEATH)
    finally:
        posix.close(proc_fd)
    try:
        parts = []
        while part := posix.read(fd, 1 << 16):
            parts.append(part)
    finally:
        posix.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def _take_away(ctx: Context, point: str) -> None:
    """Unmount a path of the host's tree in this namespace or, where it is locked, cover it."""
    fd = openbeneath.open_host(point)
    try:
        mountapi.propagate(fd, _MS_SLAVE_ALL, ctx.proc_fd)
        try:
            mountapi.umount(point, _MNT_DETACH)
        except OSError as err:
            if err.errno not in (errno.EPERM, errno.EINVAL):
                raise
            attr = (0x1 | 0x2 | 0x4 | 0x8, 0, False, True, 0, 0, ())  # ro, nosuid, nodev, noexec
            posix.close(
                mountapi.place_new(fd, ctx.root_fd, point, "tmpfs", "tmpfs", ("nr_blocks=1",), 0, attr, ctx.proc_fd)
            )
    finally:
        posix.close(fd)
