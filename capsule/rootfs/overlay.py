"""A root of overlay layers, mounted by S2 in the container's own mount namespace: the host never has the mount.

Documentation/filesystems/overlayfs.rst. Layers are opened by path in the host's tree, then known by descriptors.
A *veil* is a layer over the lower ones, made anew for each container on a tmpfs of its own: what hides things of
the lower layers (a whiteout, an opaque directory) and gives further mounts their mount points, without a trace in
the upper layer. An upper layer may lie on that tmpfs as well and then vanishes with the mount namespace.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath
from capsule.rootfs.operations import Context, Operation, failed, fallback_proc, open_rootfs

DIRECTORY, OPAQUE, FILE, WHITEOUT = "directory", "opaque", "file", "whiteout"  # kinds of a veil's rows

_S_IFCHR, _S_IFREG = 0o020000, 0o100000
_SET_GID, _SET_IDS = 0o2000, 0o6000  # mkdir(2) takes neither
_NOSUID, _NODEV = 0x2, 0x4
_OPAQUE_MARK = ("trusted.overlay.opaque", "user.overlay.opaque")
_CLOAKROOM = "/proc"  # where layers are attached for the moment in which the overlay is made; any machine has it
_MNT_DETACH = 2
_OWN = openbeneath.RESOLVE_BENEATH | openbeneath.RESOLVE_NO_SYMLINKS
_DIRECTORY = openbeneath.O_PATH | openbeneath.O_DIRECTORY | openbeneath.O_NOFOLLOW


class MountOverlay(Operation):
    """Make the root of overlay layers, and further overlays in it.

    A stack is (destination, lower, upper, work, veil, owner), the root's first. lower: paths, the lowest first, as
    images list their layers. upper, work: paths beside each other in one directory, "" for the tmpfs. veil: rows
    (relative path, kind, mode, uid, gid), parents first. owner: (mode, uid, gid) of the destination where the tmpfs
    has it.
    """

    __slots__ = ("stacks", "flags", "attr", "switch", "scratch_words")

    def __init__(self, stacks: tuple, flags: int, attr: int, switch: str, scratch_words: tuple[str, ...] = ()) -> None:
        self.stacks = stacks
        self.flags = flags  # mountapi.USERXATTR, VOLATILE
        self.attr = attr
        self.switch = switch
        self.scratch_words = scratch_words  # options of the tmpfs: size=

    def describe(self) -> str:
        return f"mount an overlay of {', '.join([str(len(stack[1])) for stack in self.stacks])} layers as the root"

    def execute(self, ctx: Context) -> None:
        held: list[int] = []
        try:
            fallback_proc(ctx)
            host = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
            held.append(host)
            scratch = self._scratch(ctx, host, held)
            for index, stack in enumerate(self.stacks):
                self._place(ctx, host, scratch, index, stack)
            # The overlays hold their layers by mounts of their own.
            while ctx.attached:
                ctx.attached -= 1
                mountapi.umount(_CLOAKROOM, _MNT_DETACH)
        except OSError as err:
            raise failed("mount overlay", err.filename or ctx.rootfs_path, err) from err
        finally:
            for fd in held:
                posix.close(fd)
        ctx.switch = self.switch

    def _scratch(self, ctx: Context, host: int, held: list[int]) -> int:
        """Mount the tmpfs of veils and throw-away layers where the root will be; -1 where none is needed."""
        if all([stack[2] and not stack[4] for stack in self.stacks]):
            return -1
        target = _open_target(ctx, host)
        held.append(target)
        fd = mountapi.place_new(target, host, ctx.rootfs_path, "tmpfs", "capsule", ("mode=700", *self.scratch_words),
                                0, (_NOSUID | _NODEV, 0, False, True, 0, 0, ()), ctx.proc_fd)
        held.append(fd)
        return fd

    def _place(self, ctx: Context, host: int, scratch: int, index: int, stack: tuple) -> None:
        destination, lower, upper, work, veil, owner = stack
        fds: list[int] = []
        try:
            if veil:
                fds.append(_make_directory(scratch, f"veil{index}", owner))
                _fill_veil(fds[-1], veil, bool(self.flags & mountapi.USERXATTR))
            for path in reversed(lower):
                fds.append(_open_layer(ctx, path))
            count = len(fds)
            if upper:
                fds += _open_upper(ctx, upper, work)
            else:
                fds.append(_make_directory(scratch, f"upper{index}", owner))
                fds.append(_make_directory(scratch, f"work{index}", (0o700, 0, 0)))
            target = _open_target(ctx, host) if not index else openbeneath.open_in_root(ctx.root_fd, destination)
            fds.append(target)
            # Found again from here by the fallback: the host's root, or the container's.
            root_fd, path = (host, ctx.rootfs_path) if not index else (ctx.root_fd, destination)
            fd = mountapi.place_overlay(target, root_fd, path, fds[:count], fds[count], fds[count + 1], self.flags,
                                        self.attr, ctx.proc_fd)
            if index:
                posix.close(fd)
            else:
                ctx.root_fd = fd
        finally:
            for fd in fds:
                posix.close(fd)


def _open_target(ctx: Context, host: int) -> int:
    """Open where the root is mounted; "/" does as well for pivot_root, and a user namespace may reach no other."""
    try:
        return open_rootfs(ctx)
    except OSError as err:
        if err.errno != errno.EACCES:
            raise
        return posix.dup(host)


def _open_layer(ctx: Context, path: str) -> int:
    """Open a directory of the host; where a user namespace may not search the way to it, R's clone of it."""
    try:
        return openbeneath.open_host(path, _DIRECTORY)
    except OSError as err:
        if err.errno not in (errno.EACCES, errno.EPERM) or ctx.request_source is None:
            raise
    fd = ctx.request_source(path, 0)
    # overlayfs takes layers of the mounter's own mount namespace only (clone_private_mount); where does not matter,
    # but never on "/": what lies on the old root would keep it from going (see `execute`).
    place = openbeneath.open_host(_CLOAKROOM, openbeneath.O_PATH | openbeneath.O_DIRECTORY)
    try:
        mountapi.attach(fd, place)
    finally:
        posix.close(place)
    ctx.attached += 1
    return fd


def _open_upper(ctx: Context, upper: str, work: str) -> list[int]:
    """Open the upper and the work directory through one mount, which overlayfs insists on."""
    directory = upper.rpartition("/")[0] or "/"
    parent = _open_layer(ctx, directory)
    try:
        return [openbeneath.open_in_root(parent, path.rpartition("/")[2], _DIRECTORY, _OWN)
                for path in (upper, work)]
    finally:
        posix.close(parent)


def _make_directory(parent: int, name: str, owner: tuple[int, int, int]) -> int:
    posix.mkdir(name, 0o700, dir_fd=parent)
    fd = openbeneath.open_in_root(parent, name, posix.O_RDONLY | openbeneath.O_DIRECTORY, _OWN)
    posix.fchown(fd, owner[1], owner[2])
    posix.fchmod(fd, owner[0])
    return fd


def _fill_veil(veil_fd: int, rows: tuple, user_marks: bool) -> None:
    """Make the rows of a veil; its tmpfs is ours alone, so names in it lead where they say."""
    ours = (posix.geteuid(), posix.getegid())
    given_on: set[str] = set()  # directories that give their group to what is made in them
    umask = posix.umask(0)
    try:
        for path, kind, mode, uid, gid in rows:
            if mode & _SET_GID:
                given_on.add(path)
            if kind == WHITEOUT:
                posix.mknod(path, _S_IFCHR, 0, dir_fd=veil_fd)
            elif kind == FILE:
                posix.mknod(path, _S_IFREG | mode, 0, dir_fd=veil_fd)
            elif (uid, gid) == ours and not mode & _SET_IDS and path.rpartition("/")[0] not in given_on:
                posix.mkdir(path, mode, dir_fd=veil_fd)  # four calls fewer, for nearly all of them
                if kind == OPAQUE:
                    fd = openbeneath.open_in_root(veil_fd, path, posix.O_RDONLY | openbeneath.O_DIRECTORY, _OWN)
                    _mark_opaque(fd, user_marks)
            else:
                fd = _make_directory(veil_fd, path, (mode, uid, gid))
                if kind == OPAQUE:
                    _mark_opaque(fd, user_marks)
                else:
                    posix.close(fd)
    finally:
        posix.umask(umask)


def _mark_opaque(fd: int, user_marks: bool) -> None:
    try:
        posix.setxattr(fd, _OPAQUE_MARK[user_marks], b"y")
    finally:
        posix.close(fd)
