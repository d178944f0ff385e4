"""What every step on a root file system shares: the context, the base class, and the steps on the root itself.

R makes operations as plain data (`capsule.rootfs.plan`); S2 executes them in order. S2 is sealed: every kernel
call is one of `capsule._ext`, and a path inside the container is a root fd and a relative path.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath
from capsule.errors import MountError, errno_text

S_IFMT = 0o170000
S_IFDIR = 0o040000
S_IFCHR = 0o020000

#: An attribute change that only makes a mount read-only (mountapi.Attr).
READ_ONLY = (1, 0, False, True, 0, 0, ())

PIVOT, MOVE, CHROOT = "pivot", "move", "chroot"


class Context:
    """What the operations of one root hand each other. Every fd in it is the context's to close."""

    __slots__ = (
        "rootfs_path", "root_fd", "proc_fd", "request_source", "deferred", "console_master", "console_slave",
        "switch", "pid_namespace", "idmaps", "attached",
    )  # fmt: skip

    def __init__(self, rootfs_path: str, proc_fd: int = -1, request_source=None,
                 pid_namespace: int = 0) -> None:  # fmt: skip
        self.rootfs_path = rootfs_path
        self.root_fd = -1  # from MountRoot on
        self.proc_fd = proc_fd  # a trusted procfs, for the fallbacks of mountapi; see `procfs`
        # (path, flags of SOURCE) -> fd of a detached mount, made by R: a user namespace may not reach every path
        self.request_source = request_source
        self.deferred: dict[str, int] = {}  # destination -> fd of a mount that FinishReadonly completes
        self.console_master = -1  # the caller's to send and close
        self.console_slave = -1
        self.switch = PIVOT
        # Of a pid namespace that was joined: this process is not in it, its children are.
        self.pid_namespace = pid_namespace
        self.attached = 0  # mounts that rootfs.overlay is to take away again
        self.idmaps: list[int] = []  # fds of the user namespaces of RootfsPlan.idmaps; R's

    def close(self) -> None:
        """Close what the operations opened for each other; the console's fds are the caller's."""
        for fd in self.deferred.values():
            posix.close(fd)
        self.deferred.clear()
        for fd in (self.root_fd, self.proc_fd):
            if fd >= 0:
                posix.close(fd)
        self.root_fd = self.proc_fd = -1


class Operation:
    """One step of a plan: plain data, printable, executed once in S2.

    A subclass lists its fields in `__slots__` in the order of its constructor's parameters.
    """

    __slots__: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say in a few words what the step does."""
        raise NotImplementedError

    def execute(self, ctx: Context) -> None:
        """Do it. Raises MountError."""
        raise NotImplementedError

    def to_data(self) -> tuple:
        """Return the class's name and the fields."""
        return (type(self).__name__, *[getattr(self, name) for name in self.__slots__])


def failed(operation: str, subject: str, err: OSError) -> MountError:
    """Translate an OSError of the kernel interface; its text is kept where the kernel itself gave one."""
    number = err.errno or 0
    cause = ""
    text = err.strerror or ""
    if number in _HINTS:
        cause = _HINTS[number]
    elif ": " in text and not text.endswith(errno_text(number)):
        cause = f"{errno_text(number)} ({text})"
    return MountError(operation, subject, cause, errno=number)


_HINTS = {
    errno.ENOSYS: "the kernel lacks the call that this needs (mount_setattr, Linux 5.12)",
    errno.ENODEV: "no such device (the kernel has no file system of that type)",
    errno.ELOOP: "too many levels of symbolic links, or a link where there may be none",
}


class PrepareTree(Operation):
    """Settle how the caller's tree, as this mount namespace has it, exchanges mounts with the host."""

    __slots__ = ("propagation", "parent")

    def __init__(self, propagation: int, parent: int) -> None:
        self.propagation = propagation  # of "/"
        self.parent = parent  # of the mount that the root lies on; 0 where the first settles it

    def describe(self) -> str:
        return f"set propagation {self.propagation:#x} on the host's tree"

    def execute(self, ctx: Context) -> None:
        try:
            tree = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
            try:
                mountapi.propagate(tree, self.propagation, fallback_proc(ctx))
            finally:
                posix.close(tree)
            if self.parent:
                # pivot_root refuses a shared parent, and through one the container's mounts would travel.
                root = open_rootfs(ctx)
                try:
                    mountapi.propagate_parent(root, self.parent, fallback_proc(ctx))
                finally:
                    posix.close(root)
        except OSError as err:
            raise failed("set propagation of", "/", err) from err


def fallback_proc(ctx: Context) -> int:
    """Return the context's trusted procfs, opened while the host's /proc is in sight; -1 if there is none."""
    if ctx.proc_fd < 0 and ctx.root_fd < 0:
        try:
            ctx.proc_fd = mountapi.open_proc()
        except OSError:
            pass  # only fallbacks need it, and they say so
    return ctx.proc_fd


def open_rootfs(ctx: Context) -> int:
    """Open the directory that becomes the root; never through a link."""
    flags = openbeneath.O_PATH | openbeneath.O_DIRECTORY | openbeneath.O_NOFOLLOW
    return openbeneath.open_host(ctx.rootfs_path, flags)


class MountRoot(Operation):
    """Make the root a mount of its own, which pivot_root and a read-only root need."""

    __slots__ = ("switch",)

    def __init__(self, switch: str) -> None:
        self.switch = switch

    def describe(self) -> str:
        return "mount the root on itself"

    def execute(self, ctx: Context) -> None:
        host = -1
        try:
            fallback_proc(ctx)
            host = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
            ctx.root_fd = _bind_root(ctx, host)
        except OSError as err:
            raise failed("mount the root", ctx.rootfs_path, err) from err
        finally:
            if host >= 0:
                posix.close(host)
        ctx.switch = self.switch


def _bind_root(ctx: Context, host: int) -> int:
    """Bind the root onto itself and return the fd of the mount."""
    try:
        root = open_rootfs(ctx)
    except OSError as err:
        if err.errno != errno.EACCES or ctx.request_source is None:
            raise
        # A user namespace may not search the way to it. Where it is attached does not matter to pivot_root, and
        # paths still start at what lies below.
        fd = ctx.request_source(ctx.rootfs_path, True)
        mountapi.attach(fd, host)
        return fd
    try:
        # The path is for the fallback, which looks for the mount it made from the host's root.
        return mountapi.place_bind(root, host, ctx.rootfs_path, root, True, False, mountapi.KEEP, ctx.proc_fd)
    finally:
        posix.close(root)


class OpenRoot(Operation):
    """Open the root as it is: nothing will be mounted and the process only changes its root."""

    __slots__ = ()

    def describe(self) -> str:
        return "open the root"

    def execute(self, ctx: Context) -> None:
        try:
            fallback_proc(ctx)
            ctx.root_fd = open_rootfs(ctx)
        except OSError as err:
            raise failed("open the root", ctx.rootfs_path, err) from err
        ctx.switch = CHROOT


class PropagateRoot(Operation):
    """Give the container's root the propagation of `linux.rootfsPropagation`; only after the pivot."""

    __slots__ = ("propagation",)

    def __init__(self, propagation: int) -> None:
        self.propagation = propagation

    def describe(self) -> str:
        return f"set propagation {self.propagation:#x} on the root"

    def execute(self, ctx: Context) -> None:
        try:
            mountapi.propagate(ctx.root_fd, self.propagation, ctx.proc_fd)
        except OSError as err:
            raise failed("set propagation of", "/", err) from err


class ReadonlyRoot(Operation):
    """Make the root's own mount read-only; the last step, as all others may write to it."""

    __slots__ = ()

    def describe(self) -> str:
        return "make the root read-only"

    def execute(self, ctx: Context) -> None:
        try:
            mountapi.set_flags(ctx.root_fd, READ_ONLY, ctx.proc_fd)
        except OSError as err:
            raise failed("make read-only", "/", err) from err
