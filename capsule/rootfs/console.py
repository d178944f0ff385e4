"""The container's terminal: a pair of its own devpts, bound on /dev/console.

Master and slave are verified to be what they are said to be, and the slave is never opened by a path
(CVE-2025-52565, CVE-2026-88264).
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath, pty
from capsule.errors import MountError
from capsule.rootfs.devices import open_dev
from capsule.rootfs.operations import Context, Operation, failed


class OpenConsole(Operation):
    """Open a pair, give it to the process's user, and bind its slave on /dev/console.

    The context's console_master and console_slave are the caller's to send, use and close.
    """

    __slots__ = ("from_host", "uid", "size")

    def __init__(self, from_host: bool, uid: int, size: tuple[int, int] | None) -> None:
        self.from_host = from_host  # the container has no devpts; then this runs before the pivot
        self.uid = uid
        self.size = size  # rows, columns

    def describe(self) -> str:
        return f"open a console of the {'host' if self.from_host else 'container'}'s devpts"

    def execute(self, ctx: Context) -> None:
        root_fd = -1 if self.from_host else ctx.root_fd
        ctx.console_master, ctx.console_slave = open_pair(root_fd, self.uid, self.size)
        try:
            _bind_console(ctx)
        except OSError as err:
            raise failed("bind console on", "/dev/console", err) from err


def open_pair(root_fd: int, uid: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Open a pair of the devpts in a root, or of the host's with -1, owned by a user; returns (master, slave).

    `size` is (rows, columns). Raises MountError.
    """
    try:
        master = pty.open_master(root_fd)
        slave = pty.open_slave(master)
        pty.clear_onlcr(slave)
        if size:
            pty.set_size(slave, size[0], size[1])
        if uid:
            _give(slave, uid, from_host=root_fd < 0)
        return master, slave
    except OSError as err:
        raise failed("open console", err.filename or "", err) from err


def _give(slave: int, uid: int, from_host: bool) -> None:
    """Make a user the slave's owner, where that is possible."""
    try:
        pty.own(slave, uid)
    except OSError as err:
        # A distribution's devpts gives pairs to its group tty, and nobody in a user namespace may change a file of a
        # group that it does not have. The user has the terminal as fds 0 to 2 and as /dev/tty all the same.
        if not (from_host and err.errno == errno.EPERM):
            raise


def _bind_console(ctx: Context) -> None:
    dev_fd = open_dev(ctx)
    try:
        target_fd = openbeneath.ensure_file(dev_fd, "console", 0o600, openbeneath.RESOLVE_NO_SYMLINKS)[0]
        try:
            posix.close(
                mountapi.place_bind(
                    target_fd, dev_fd, "console", ctx.console_slave, False, False, mountapi.KEEP, ctx.proc_fd
                )
            )
        finally:
            posix.close(target_fd)
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise MountError("bind console on", "/dev/console", "it is a symbolic link", errno=errno.ELOOP) from err
        raise
    finally:
        posix.close(dev_fd)
