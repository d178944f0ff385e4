"""Containers made without the host's root: by an ordinary user, or by uid 0 of a user namespace (docs/rootless.md).

Imported by create alone, and only where that is the case. What cannot be had is refused here, with the reason,
before anything is made.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule.errors import ChildError, KernelError, SpecError, Unsupported
from capsule.linux import mountinfo
from capsule.runtime import idmap_programs, namespaces
from capsule.spec import mount_options

#: File systems that a user namespace may mount (FS_USERNS_MOUNT in the kernel's sources).
_MOUNTABLE = ("proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay", "fuse",
              "binfmt_misc", "bpf", "none")
#: Where S1 fails if user namespaces, or the privilege in them, are kept from ordinary users.
_FIRST_PRIVILEGE = (("unshare", "user namespace"), ("unshare", "namespaces"), ("setresgid", "in the user namespace"))
_OOM_SCORE = "/proc/self/oom_score_adj"


class Rootless:
    """What R does in another way where it lacks the host's privilege. `user`: R is not even root of its namespace."""

    __slots__ = ("user", "uid_mappings", "gid_mappings", "denies_setgroups", "own_score")

    def __init__(self, config) -> None:
        """Take a checked config. Raises SpecError, Unsupported for what it asks in vain."""
        self.user = posix.geteuid() != 0
        self.uid_mappings = config.uid_mappings
        self.gid_mappings = config.gid_mappings
        self.denies_setgroups = False
        self.own_score: bytes | None = None
        kinds = dict(config.namespaces)
        _refuse_mounts(config)
        if not self.user:
            return
        uid = posix.geteuid()
        if "user" not in kinds:
            cause = f"uid {uid} needs a user namespace in it, with id mappings; `capsule spec --rootless` writes such"
            raise SpecError("config.json", "linux.namespaces", cause)
        if "mount" not in kinds:
            raise SpecError("config.json", "linux.namespaces", f"uid {uid} needs a mount namespace in it")
        _refuse_host_devices(config, uid)
        if kinds["user"] is None:
            self.denies_setgroups = _is_own(self.gid_mappings, posix.getegid())
            self._check_programs()

    def _check_programs(self) -> None:
        if not _is_own(self.uid_mappings, posix.geteuid()):
            idmap_programs.find("newuidmap")
        if not self.denies_setgroups:
            idmap_programs.find("newgidmap")

    def own_gids(self) -> list[tuple[int, int, int]]:
        """Return the group ids that our own user namespace maps: a container without one of its own has these."""
        rows = [line.split() for line in mountinfo.read_text("/proc/self/gid_map").splitlines()]
        return [(int(first), int(outside), int(size)) for first, outside, size in rows]

    def enter(self, process) -> None:
        """Write the maps of S1, and its time offsets: while USERMAP waits, its files are the user's.

        Raises KernelError, Unsupported.
        """
        pid = process.stage_pid
        if _is_own(self.uid_mappings, posix.geteuid()):
            process.write_proc("uid_map", namespaces.map_text(self.uid_mappings, "linux.uidMappings"))
        else:
            idmap_programs.run("newuidmap", pid, self.uid_mappings)
        if self.denies_setgroups:
            # Else a group that is denied access could be laid down (CVE-2014-8989); the kernel insists.
            process.write_proc("setgroups", b"deny")
            process.write_proc("gid_map", namespaces.map_text(self.gid_mappings, "linux.gidMappings"))
        else:
            idmap_programs.run("newgidmap", pid, self.gid_mappings)
        if process.clone[4] is not None:
            process.write_proc("timens_offsets", process.clone[4])

    def lend_oom_score(self, score: int | None) -> None:
        """Take the container's oom_score_adj ourselves until `return_oom_score`: the clone inherits it.

        Its own files will not be ours to write. Lower than one has been given needs CAP_SYS_RESOURCE outside.
        """
        if score is None:
            return
        with_privilege = _read(_OOM_SCORE).strip()
        try:
            _write(_OOM_SCORE, str(score).encode())
        except OSError as err:
            if err.errno not in (errno.EACCES, errno.EPERM):
                raise KernelError("write oom_score_adj", str(score), errno=err.errno or 0) from err
            log.warning(f"oom_score_adj stays {with_privilege.decode()}: {score} needs CAP_SYS_RESOURCE")
            return
        self.own_score = with_privilege

    def explained(self, err: ChildError) -> ChildError:
        """Return the error with what keeps user namespaces from us, if that is what failed."""
        if not self.user or (err.operation, err.subject) not in _FIRST_PRIVILEGE:
            return err
        from capsule.runtime import doctor_user

        cause, repair = doctor_user.why_no_user_namespace(err.errno)
        return ChildError(err.operation, err.subject, f"{cause}; {repair}", errno=err.errno)

    def return_oom_score(self) -> None:
        """Take our own oom_score_adj back."""
        if self.own_score is not None:
            _write(_OOM_SCORE, self.own_score)
            self.own_score = None


def _is_own(mappings: list[tuple[int, int, int]], own: int) -> bool:
    """Tell whether a map is of the caller's own id alone, which needs nobody's help (man 7 user_namespaces)."""
    return len(mappings) == 1 and mappings[0][1:] == (own, 1)


def _refuse_mounts(config) -> None:
    for index, mount in enumerate(config.mounts):
        if mount.is_bind() or mount.type is None or "remount" in mount.options or mount.type in _MOUNTABLE:
            continue
        cause = f'the kernel mounts "{mount.type}" for root outside every user namespace only; bind a mounted one'
        raise SpecError("config.json", f"mounts[{index}].type", cause)


def _refuse_host_devices(config, uid: int) -> None:
    """Refuse what only the host's root may take from the host or give to a container."""
    for index, mount in enumerate(config.mounts):
        if mount.uid_mappings or any([word in mount_options.IDMAP_WORDS for word in mount.options]):
            cause = f"mapped ids need CAP_SYS_ADMIN where the file system was mounted, which uid {uid} lacks"
            raise Unsupported("mount", f"mounts[{index}]", cause)
    for name in config.net_devices or {}:
        cause = f"it is the host's, and uid {uid} lacks CAP_NET_ADMIN over the host's network"
        raise Unsupported("move network device", name, cause)
    if config.intel_rdt is not None:
        raise Unsupported("make", "linux.intelRdt", f"resctrl groups are the host's, and uid {uid} may make none")


def _read(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 64)
    finally:
        posix.close(fd)


def _write(path: str, data: bytes) -> None:
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, data)
    finally:
        posix.close(fd)
