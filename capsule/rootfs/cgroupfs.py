"""The `cgroup` mount: the container's own cgroups at one directory, on v1, v2 and hosts with both.

With a cgroup namespace the file system is mounted afresh, which shows the namespace's root; without one the
container's own directories are bound, so that no other's are in sight (man 7 cgroup_namespaces).
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath
from capsule.rootfs.mounts import bind_host
from capsule.rootfs.operations import READ_ONLY, Context, Operation, failed

_CONFINED = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec
_USE_BIND = (errno.EPERM, errno.EACCES, errno.EBUSY, errno.EINVAL)


class MountCgroup(Operation):
    """Mount the hierarchies: one directly (v2), or one directory each on a tmpfs (v1, hybrid).

    `hierarchies`: (directory name, mount option, host path of the container's cgroup); option "" means v2.
    """

    __slots__ = ("destination", "hierarchies", "own_namespace", "words", "attr")

    def __init__(
        self,
        destination: str,
        hierarchies: tuple[tuple[str, str, str], ...],
        own_namespace: bool,
        words: tuple[str, ...],
        attr: tuple,
    ) -> None:
        self.destination = destination
        self.hierarchies = hierarchies
        self.own_namespace = own_namespace
        self.words = words  # for cgroup2 itself, such as nsdelegate
        self.attr = attr

    def describe(self) -> str:
        return f"mount {len(self.hierarchies)} cgroup hierarchies on {self.destination}"

    def execute(self, ctx: Context) -> None:
        try:
            target_fd = openbeneath.ensure_dir(ctx.root_fd, self.destination)[0]
            try:
                if len(self.hierarchies) == 1 and not self.hierarchies[0][1]:
                    self._place(ctx, ctx.root_fd, target_fd, self.destination, self.hierarchies[0])
                else:
                    self._place_all(ctx, target_fd)
            finally:
                posix.close(target_fd)
        except OSError as err:
            raise failed('error mounting "cgroup" to rootfs at', self.destination, err) from err

    def _place_all(self, ctx: Context, target_fd: int) -> None:
        """Mount a tmpfs with a directory for each hierarchy and a link for each of several controllers."""
        attr = (self.attr[0] & ~READ_ONLY[0] | _CONFINED, *self.attr[1:])
        tmpfs = mountapi.place_new(
            target_fd, ctx.root_fd, self.destination, "tmpfs", "tmpfs", ("mode=755",), 0, attr, ctx.proc_fd
        )
        try:
            for hierarchy in self.hierarchies:
                name = hierarchy[0]
                dir_fd = openbeneath.ensure_dir(tmpfs, name)[0]
                try:
                    self._place(ctx, tmpfs, dir_fd, name, hierarchy)
                finally:
                    posix.close(dir_fd)
                if "," in name:
                    for controller in name.split(","):
                        openbeneath.symlink(tmpfs, controller, name)
            if self.attr[0] & READ_ONLY[0]:
                mountapi.set_flags(tmpfs, READ_ONLY, ctx.proc_fd)
        finally:
            posix.close(tmpfs)

    def _place(self, ctx: Context, root_fd: int, target_fd: int, path: str, hierarchy: tuple[str, str, str]) -> None:
        """Put one hierarchy on a resolved target."""
        option, host_path = hierarchy[1], hierarchy[2]
        if self.own_namespace:
            fstype, words = ("cgroup", (option,)) if option else ("cgroup2", self.words)
            try:
                posix.close(
                    mountapi.place_new(target_fd, root_fd, path, fstype, "cgroup", words, 0, self.attr, ctx.proc_fd)
                )
                return
            except OSError as err:
                if err.errno not in _USE_BIND:
                    raise  # otherwise: not this user namespace's to mount; its directory can be bound
        attr = (self.attr[0], 0, False, True, 0, 0, self.attr[6])
        posix.close(bind_host(ctx, (target_fd, root_fd, path), host_path, False, attr))
