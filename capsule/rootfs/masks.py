"""Masked and read-only paths (runtime-spec config-linux.md#masked-paths), applied after the pivot.

A file is hidden by a null device that was verified by its numbers (CVE-2025-31133), directories by one empty
read-only tmpfs that all share. A path that is not there needs no mask; any other failure is an error.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath
from capsule.errors import MountError
from capsule.rootfs.mounts import is_dir
from capsule.rootfs.operations import READ_ONLY, S_IFCHR, S_IFMT, Context, Operation, failed

_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_NULL_DEVICE = posix.makedev(1, 3)
#: ro, nosuid, noexec; nodev would make the null device an error to read instead of empty.
_FILE_MASK = (0x1 | 0x2 | 0x8, 0, False, True, 0, 0, ())
#: ro, nosuid, nodev, noexec
_DIR_MASK = (0x1 | 0x2 | 0x4 | 0x8, 0, False, True, 0, 0, ())


def _open(ctx: Context, path: str) -> int:
    """Open a path in the root; -1 if it is not there. Raises OSError."""
    try:
        return openbeneath.open_in_root(ctx.root_fd, path)
    except OSError as err:
        if err.errno in _ABSENT:
            return -1
        raise


def open_null(ctx: Context) -> int:
    """Open the root's /dev/null, verified to be the null device."""
    try:
        fd = openbeneath.open_in_root(
            ctx.root_fd, "dev/null", openbeneath.O_PATH, openbeneath.RESOLVE_IN_ROOT | openbeneath.RESOLVE_NO_SYMLINKS
        )
    except OSError as err:
        raise failed("mask with", "/dev/null", err) from err
    st = posix.fstat(fd)
    if st.st_mode & S_IFMT != S_IFCHR or st.st_rdev != _NULL_DEVICE:
        posix.close(fd)
        raise MountError("mask with", "/dev/null", "it is not the null device")
    return fd


class MaskPaths(Operation):
    """Hide paths: files read as empty, directories are empty."""

    __slots__ = ("paths",)

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths

    def describe(self) -> str:
        return f"mask {' '.join(self.paths)}"

    def execute(self, ctx: Context) -> None:
        masks = [-1, -1]  # the null device; the directory, once the first was masked
        try:
            for path in self.paths:
                try:
                    self._mask(ctx, path, masks)
                except OSError as err:
                    raise failed("mask", path, err) from err
        finally:
            for fd in masks:
                if fd >= 0:
                    posix.close(fd)

    def _mask(self, ctx: Context, path: str, masks: list[int]) -> None:
        target_fd = _open(ctx, path)
        if target_fd < 0:
            return
        try:
            if is_dir(target_fd):
                mount_fd = self._mask_dir(ctx, target_fd, path, masks[1])
                if masks[1] < 0:
                    masks[1] = mount_fd  # attached now, so that it can be copied
                    return
            else:
                if masks[0] < 0:
                    masks[0] = open_null(ctx)
                mount_fd = self._bind(ctx, target_fd, path, masks[0], _FILE_MASK)
            posix.close(mount_fd)
        finally:
            posix.close(target_fd)

    def _mask_dir(self, ctx: Context, target_fd: int, path: str, mask_fd: int) -> int:
        if mask_fd >= 0:
            return self._bind(ctx, target_fd, path, mask_fd, _DIR_MASK)
        words = ("nr_blocks=1", "nr_inodes=1", "mode=755")
        return mountapi.place_new(target_fd, ctx.root_fd, path, "tmpfs", "tmpfs", words, 0, _DIR_MASK, ctx.proc_fd)

    def _bind(self, ctx: Context, target_fd: int, path: str, source_fd: int, attr: tuple) -> int:
        return mountapi.place_bind(target_fd, ctx.root_fd, path, source_fd, False, False, attr, ctx.proc_fd)


class ReadonlyPaths(Operation):
    """Make paths read-only mounts of themselves; all their other flags stay."""

    __slots__ = ("paths",)

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths

    def describe(self) -> str:
        return f"make read-only {' '.join(self.paths)}"

    def execute(self, ctx: Context) -> None:
        for path in self.paths:
            try:
                self._protect(ctx, path)
            except OSError as err:
                raise failed("make read-only", path, err) from err

    def _protect(self, ctx: Context, path: str) -> None:
        fd = _open(ctx, path)
        if fd < 0:
            return
        try:
            posix.close(mountapi.place_bind(fd, ctx.root_fd, path, fd, True, False, READ_ONLY, ctx.proc_fd))
        finally:
            posix.close(fd)
