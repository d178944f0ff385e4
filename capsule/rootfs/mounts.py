"""The mounts of the config, executed in S2: new file systems, binds, remounts.

Targets are resolved inside the root and created where they are missing; each mount has all its flags before
it is attached (runtime-spec config.md#mounts).
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath
from capsule.errors import MountError
from capsule.protocol import messages
from capsule.rootfs.operations import READ_ONLY, S_IFDIR, S_IFMT, Context, Operation, failed

PROC_SUPER_MAGIC = 0x9FA0
PROC_ROOT_INO = 1

_REFUSED = (errno.EPERM, errno.EACCES)
#: What a bind of the host's instance gets where a user namespace may not have its own: ro, nosuid, nodev, noexec.
_CONFINED = 0x1 | 0x2 | 0x4 | 0x8


def is_dir(fd: int) -> bool:
    """Tell whether an fd is a directory."""
    return posix.fstat(fd).st_mode & S_IFMT == S_IFDIR


def open_source(ctx: Context, path: str, recursive: bool, idmap: int = 0) -> tuple[int, bool]:
    """Open what is to be bound; (fd, whether it is a detached mount that R made). Raises OSError."""
    flags = idmap | (messages.RECURSIVE if recursive else 0)
    if idmap:
        return ctx.request_source(path, flags), True
    try:
        return openbeneath.open_host(path), False
    except OSError as err:
        if err.errno not in _REFUSED or ctx.request_source is None:
            raise
    return ctx.request_source(path, flags), True


def bind_host(ctx: Context, target: tuple[int, int, str], source: str, recursive: bool, attr: tuple) -> int:
    """Bind a path of the host onto a target (its fd, a root's fd, its path there); returns the mount's fd.

    Raises OSError.
    """
    source_fd, detached = open_source(ctx, source, recursive)
    try:
        return mountapi.place_bind(*target, source_fd, recursive, detached, attr, ctx.proc_fd)
    finally:
        posix.close(source_fd)


def _refuse_on_procfs(target_fd: int, operation: str, destination: str) -> None:
    """Refuse a target inside procfs that the plan did not allow by name: a link may have led there."""
    if mountapi.fs_type(target_fd) == PROC_SUPER_MAGIC:
        raise MountError(operation, destination, "cannot be mounted because it is inside /proc")


class MountNew(Operation):
    """Mount a new instance of a file system."""

    __slots__ = (
        "destination", "fstype", "source", "words", "sb_flags", "attr", "defer_readonly", "inherit_mode", "fallback",
        "ordinary", "allowed_on_proc", "copy_up", "idmap",
    )  # fmt: skip

    def __init__(
        self,
        destination: str,
        fstype: str,
        source: str | None,
        words: tuple[str, ...],
        sb_flags: int,
        attr: tuple,
        defer_readonly: bool = False,
        inherit_mode: bool = False,
        fallback: str | None = None,
        ordinary: bool = False,
        allowed_on_proc: bool = False,
        copy_up: bool = False,
        idmap: int = 0,
    ) -> None:
        self.destination = destination
        self.fstype = fstype
        self.source = source
        self.words = words
        self.sb_flags = sb_flags
        self.attr = attr
        self.defer_readonly = defer_readonly  # it is still to be filled: FinishReadonly comes later
        self.inherit_mode = inherit_mode  # tmpfs: an existing directory lends its mode
        self.fallback = fallback  # a host path to bind where a user namespace may not have its own instance
        self.ordinary = ordinary  # no link may lead to it (proc, sysfs)
        self.allowed_on_proc = allowed_on_proc
        self.copy_up = copy_up  # tmpfs: it begins with a copy of what it covers
        self.idmap = idmap  # flags of SOURCE (capsule.protocol.messages); 0: none

    def describe(self) -> str:
        return f"mount {self.fstype} on {self.destination}"

    def execute(self, ctx: Context) -> None:
        operation = f'error mounting "{self.source or self.fstype}" to rootfs at'
        try:
            target_fd, created = self._open_target(ctx)
        except OSError as err:
            if self.ordinary and err.errno in (errno.ELOOP, errno.ENOTDIR):
                cause = f'filesystem "{self.fstype}" must be mounted on ordinary directory'
                raise MountError(operation, self.destination, cause, errno=err.errno) from err
            raise failed(operation, self.destination, err) from err
        try:
            if not self.allowed_on_proc:
                _refuse_on_procfs(target_fd, operation, self.destination)
            mount_fd = self._place(ctx, target_fd, created)
        except OSError as err:
            raise failed(operation, self.destination, err) from err
        finally:
            posix.close(target_fd)
        if self.defer_readonly:
            ctx.deferred[self.destination] = mount_fd
        else:
            posix.close(mount_fd)

    def _open_target(self, ctx: Context) -> tuple[int, bool]:
        resolve = openbeneath.RESOLVE_NO_SYMLINKS if self.ordinary else 0
        return openbeneath.ensure_dir(ctx.root_fd, self.destination, 0o755, resolve)

    def _place(self, ctx: Context, target_fd: int, created: bool) -> int:
        words = self.words
        if self.inherit_mode and not created:
            words = (*words, f"mode={posix.fstat(target_fd).st_mode & 0o7777:o}")
        try:
            return mountapi.place_new(
                target_fd, ctx.root_fd, self.destination, self.fstype, self.source, words, self.sb_flags, self.attr,
                ctx.proc_fd, self.copy_up and not created, ctx.pid_namespace if self.fstype == "proc" else 0,
                ctx.idmaps[messages.map_index(self.idmap)] if self.idmap else 0,
            )  # fmt: skip
        except OSError as err:
            if self.fallback is None or err.errno not in _REFUSED:
                raise
        # Nothing below the host's instance may be more writable than the instance itself (CVE-2023-25809).
        confined = _CONFINED if self.fstype == "sysfs" else _CONFINED & ~READ_ONLY[0]
        attr = (self.attr[0], 0, False, True, confined, 0, self.attr[6])
        return bind_host(ctx, (target_fd, ctx.root_fd, self.destination), self.fallback, True, attr)


class MountBind(Operation):
    """Bind a path of the host, or of a mount made before, into the root."""

    __slots__ = ("destination", "source", "recursive", "attr", "allowed_on_proc", "must_be_proc", "idmap")

    def __init__(self, destination: str, source: str, recursive: bool, attr: tuple, allowed_on_proc: bool = False,
                 must_be_proc: bool = False, idmap: int = 0) -> None:  # fmt: skip
        self.destination = destination
        self.source = source
        self.recursive = recursive
        self.attr = attr
        self.allowed_on_proc = allowed_on_proc
        self.must_be_proc = must_be_proc  # the destination is /proc
        self.idmap = idmap  # flags of SOURCE (capsule.protocol.messages); 0: none

    def describe(self) -> str:
        mapped = " with mapped ids" if self.idmap else ""
        return f"bind {self.source} on {self.destination}{mapped}"

    def execute(self, ctx: Context) -> None:
        operation = f'error mounting "{self.source}" to rootfs at'
        try:
            source_fd, detached = open_source(ctx, self.source, self.recursive, self.idmap)
        except OSError as err:
            raise failed("open mount source", self.source, err) from err
        try:
            if self.must_be_proc:
                self._check_source_is_proc(operation, source_fd)
            self._place(ctx, operation, source_fd, detached)
        except OSError as err:
            raise failed(operation, self.destination, err) from err
        finally:
            posix.close(source_fd)

    def _check_source_is_proc(self, operation: str, source_fd: int) -> None:
        root = posix.fstat(source_fd).st_ino == PROC_ROOT_INO
        if not root or mountapi.fs_type(source_fd) != PROC_SUPER_MAGIC:
            raise MountError(operation, self.destination, "only a procfs may be mounted on /proc")

    def _place(self, ctx: Context, operation: str, source_fd: int, detached: bool) -> None:
        make = openbeneath.ensure_dir if is_dir(source_fd) else openbeneath.ensure_file
        target_fd = make(ctx.root_fd, self.destination)[0]
        try:
            if not self.allowed_on_proc:
                _refuse_on_procfs(target_fd, operation, self.destination)
            mount_fd = mountapi.place_bind(
                target_fd, ctx.root_fd, self.destination, source_fd, self.recursive, detached, self.attr, ctx.proc_fd
            )
            posix.close(mount_fd)
        finally:
            posix.close(target_fd)


class Remount(Operation):
    """Change the flags of a mount made before and, if words are given, its file system's options."""

    __slots__ = ("destination", "words", "sb_flags", "attr")

    def __init__(self, destination: str, words: tuple[str, ...], sb_flags: int, attr: tuple) -> None:
        self.destination = destination
        self.words = words
        self.sb_flags = sb_flags
        self.attr = attr

    def describe(self) -> str:
        return f"remount {self.destination}"

    def execute(self, ctx: Context) -> None:
        try:
            fd = openbeneath.open_in_root(ctx.root_fd, self.destination)
            try:
                if self.words or self.sb_flags:
                    mountapi.reconfigure(fd, self.words, self.sb_flags, ctx.proc_fd)
                mountapi.set_flags(fd, self.attr, ctx.proc_fd)
            finally:
                posix.close(fd)
        except OSError as err:
            raise failed("remount", self.destination, err) from err


class FinishReadonly(Operation):
    """Make a mount read-only that had to be filled first; by its fd, not by its path (CVE-2026-115521)."""

    __slots__ = ("destination",)

    def __init__(self, destination: str) -> None:
        self.destination = destination

    def describe(self) -> str:
        return f"make {self.destination} read-only"

    def execute(self, ctx: Context) -> None:
        fd = ctx.deferred.pop(self.destination)
        try:
            mountapi.set_flags(fd, READ_ONLY, ctx.proc_fd)
        except OSError as err:
            raise failed("make read-only", self.destination, err) from err
        finally:
            posix.close(fd)
