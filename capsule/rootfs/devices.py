"""/dev: device nodes and the links beside them (runtime-spec config-linux.md#default-devices, #dev-symbolic-links).

Everything happens on a fd of the root's own /dev, which may not be a link (CVE-2026-41579, CVE-2026-47766), and
nothing that is there and right is made again. What is there and wrong is an error, never replaced.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath
from capsule.errors import MountError
from capsule.rootfs.operations import Context, Operation, failed

_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
_DEFAULT_MODE = 0o666

#: path, type, major, minor, mode, uid, gid
DEFAULTS = (
    ("/dev/null", "c", 1, 3, _DEFAULT_MODE, 0, 0),
    ("/dev/zero", "c", 1, 5, _DEFAULT_MODE, 0, 0),
    ("/dev/full", "c", 1, 7, _DEFAULT_MODE, 0, 0),
    ("/dev/random", "c", 1, 8, _DEFAULT_MODE, 0, 0),
    ("/dev/urandom", "c", 1, 9, _DEFAULT_MODE, 0, 0),
    ("/dev/tty", "c", 5, 0, _DEFAULT_MODE, 0, 0),
)

_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_PTMX = "pts/ptmx"


def plan(devices: list) -> tuple[tuple, ...]:
    """Return the nodes to make: the default ones, each replaced by the config's of that path, and the config's."""
    rows = {row[0]: row for row in DEFAULTS}
    for device in devices:
        if device.path == "/dev/ptmx":
            continue  # always a link to the container's own devpts
        mode = _DEFAULT_MODE if device.file_mode is None else device.file_mode & 0o7777
        rows[device.path] = (
            device.path, device.type, device.major, device.minor, mode, device.uid or 0, device.gid or 0
        )  # fmt: skip
    return tuple(rows.values())


def open_dev(ctx: Context) -> int:
    """Open the root's /dev, made if it is missing. Raises OSError; ELOOP or ENOTDIR if it is no directory."""
    return openbeneath.ensure_dir(ctx.root_fd, "dev", 0o755, openbeneath.RESOLVE_NO_SYMLINKS)[0]


def _open_dev(ctx: Context) -> int:
    """Open the root's /dev. Raises MountError."""
    try:
        return open_dev(ctx)
    except OSError as err:
        ordinary = err.errno not in (errno.ELOOP, errno.ENOTDIR)
        raise MountError("open", "/dev", "" if ordinary else "must be an ordinary directory", errno=err.errno) from err


class MakeDevices(Operation):
    """Make device nodes; where the kernel lets us make none (a user namespace), bind the host's."""

    __slots__ = ("devices", "bind")

    def __init__(self, devices: tuple[tuple, ...], bind: bool) -> None:
        self.devices = devices
        self.bind = bind

    def describe(self) -> str:
        names = " ".join([row[0] for row in self.devices])
        return f"{'bind' if self.bind else 'make'} devices {names}"

    def execute(self, ctx: Context) -> None:
        dev_fd = _open_dev(ctx)
        try:
            for row in self.devices:
                try:
                    self._provide(ctx, dev_fd, row)
                except OSError as err:
                    cause = ""
                    if err.errno == errno.EEXIST:
                        cause = "something else of that name is there"
                    raise MountError("create device", row[0], cause, errno=err.errno or 0) from err
        finally:
            posix.close(dev_fd)

    def _provide(self, ctx: Context, dev_fd: int, row: tuple) -> None:
        """Make or bind one node, in /dev or anywhere else in the root."""
        path = row[0]
        parent, _, name = path.rpartition("/")
        if parent == "/dev":
            self._make(ctx, dev_fd, name, row)
            return
        parent_fd = openbeneath.ensure_dir(ctx.root_fd, parent or "/", 0o755, openbeneath.RESOLVE_NO_SYMLINKS)[0]
        try:
            self._make(ctx, parent_fd, name, row)
        finally:
            posix.close(parent_fd)

    def _make(self, ctx: Context, parent_fd: int, name: str, row: tuple) -> None:
        path, kind, major, minor, mode, uid, gid = row
        if not self.bind or kind == "p":
            try:
                openbeneath.mknod(parent_fd, name, _TYPES[kind] | mode, major, minor, uid, gid)
                return
            except OSError as err:
                if err.errno != errno.EPERM or kind == "p":
                    raise
        _bind_device(ctx, parent_fd, name, path, _TYPES[kind], posix.makedev(major, minor))


def _is_node(fd: int, kind: int, rdev: int) -> bool:
    st = posix.fstat(fd)
    return st.st_mode & 0o170000 == kind and st.st_rdev == rdev


def _bind_device(ctx: Context, parent_fd: int, name: str, path: str, kind: int, rdev: int) -> None:
    """Bind the host's node of the same path, if it is the one that is meant."""
    flags = openbeneath.O_PATH | openbeneath.O_NOFOLLOW
    source_fd = openbeneath.open_host(path, flags)
    try:
        if not _is_node(source_fd, kind, rdev):
            raise OSError(errno.ENXIO, "the host's node is another device", path)
        target_fd, created = openbeneath.ensure_file(parent_fd, name, 0o644, openbeneath.RESOLVE_NO_SYMLINKS)
        try:
            if created or not _is_node(target_fd, kind, rdev):
                posix.close(
                    mountapi.place_bind(
                        target_fd, parent_fd, name, source_fd, False, False, mountapi.KEEP, ctx.proc_fd
                    )
                )
        finally:
            posix.close(target_fd)
    finally:
        posix.close(source_fd)


class MakeLinks(Operation):
    """Make /dev/fd, stdin, stdout, stderr, core and ptmx."""

    __slots__ = ()

    def describe(self) -> str:
        return "make the links in /dev"

    def execute(self, ctx: Context) -> None:
        dev_fd = _open_dev(ctx)
        try:
            for name, target in _LINKS:
                openbeneath.symlink(dev_fd, name, target)
            if _exists(ctx, "proc/kcore"):
                openbeneath.symlink(dev_fd, "core", "/proc/kcore")
            _link_ptmx(dev_fd)
        except OSError as err:
            raise failed("create link in /dev", err.filename or "", err) from err
        finally:
            posix.close(dev_fd)


def _exists(ctx: Context, path: str) -> bool:
    try:
        posix.close(openbeneath.open_in_root(ctx.root_fd, path))
    except OSError:
        return False
    return True


def _link_ptmx(dev_fd: int) -> None:
    """Make ptmx lead to the container's devpts, whatever the image has there."""
    if openbeneath.symlink(dev_fd, "ptmx", _PTMX):
        return
    try:
        if openbeneath.readlink(dev_fd, "ptmx") == _PTMX:
            return
    except OSError as err:
        if err.errno != errno.EINVAL:  # EINVAL: no link
            raise
    openbeneath.unlink(dev_fd, "ptmx")
    openbeneath.symlink(dev_fd, "ptmx", _PTMX)
