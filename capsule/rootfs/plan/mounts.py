"""`mounts` of the config → operations. Runs in R; makes no kernel call."""

from __future__ import annotations

from capsule.errors import MountError, SpecError, Unsupported
from capsule.protocol import messages
from capsule.rootfs.cgroupfs import MountCgroup
from capsule.rootfs.mounts import FinishReadonly, MountBind, MountNew, Remount
from capsule.rootfs.operations import READ_ONLY, Operation
from capsule.spec import mount_options as words

# MS_* → MOUNT_ATTR_*; the first four have the same values.
_SAME = words.MS_RDONLY | words.MS_NOSUID | words.MS_NODEV | words.MS_NOEXEC
_ATIME = words.MS_NOATIME | words.MS_RELATIME | words.MS_STRICTATIME | words.MS_NODIRATIME
_PER_MOUNT = _SAME | _ATIME | words.MS_NOSYMFOLLOW
_SUPERBLOCK = words.MS_SYNCHRONOUS | words.MS_DIRSYNC | words.MS_MANDLOCK | words.MS_LAZYTIME | words.MS_I_VERSION

#: A word that is not the kernel's: a tmpfs begins with what the image has at its destination.
_COPY_UP = "tmpcopyup"
#: File systems without a device, whose superblock may be shared: read-only is a matter of the mount alone.
_PSEUDO = ("proc", "sysfs", "tmpfs", "mqueue", "devpts", "cgroup", "cgroup2")
#: May only stand on a real directory, or what is written to it lands elsewhere (CVE-2019-19921, CVE-2023-27561).
_ORDINARY = ("proc", "sysfs")
#: Labelled by the policy, each file by itself (man 8 mount, "context"); mqueue takes no context.
_UNLABELLED = ("proc", "sysfs", "mqueue")
#: The host's instance, to bind where a user namespace may not mount its own; and the namespace that it needs.
_FALLBACKS = {"sysfs": ("/sys", "network"), "proc": ("/proc", "pid"), "mqueue": ("/dev/mqueue", "ipc")}
#: Single files that lxcfs and its like replace; nothing else may be mounted inside /proc (CVE-2019-16884).
_ON_PROC = (
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg",
    "/proc/slabinfo", "/proc/net/dev", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
)  # fmt: skip


def clean(path: str) -> str:
    """Return an absolute path without empty, "." and ".." components, as the text alone says."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def to_attr(options, *, replace: bool) -> tuple:
    """Translate parsed options to an attribute change (mountapi.Attr)."""
    flags, cleared = options.set_flags, options.clear_flags
    return (
        _attr_bits(flags),
        _attr_bits(cleared) & ~words.MOUNT_ATTR__ATIME,
        replace,
        not (flags | cleared) & _ATIME,
        options.rec_attr_set,
        options.rec_attr_clr,
        tuple(options.propagation),
    )


def _attr_bits(flags: int) -> int:
    """Translate MS_* to MOUNT_ATTR_*; as in mount(2), strictatime wins over noatime, and relatime is the rest."""
    bits = flags & _SAME
    if flags & words.MS_STRICTATIME:
        bits |= words.MOUNT_ATTR_STRICTATIME
    elif flags & words.MS_NOATIME:
        bits |= words.MOUNT_ATTR_NOATIME
    if flags & words.MS_NODIRATIME:
        bits |= words.MOUNT_ATTR_NODIRATIME
    if flags & words.MS_NOSYMFOLLOW:
        bits |= words.MOUNT_ATTR_NOSYMFOLLOW
    return bits


def _only_propagates(mount, options) -> bool:
    """Tell whether a mount without a type is there already and only its propagation is to change."""
    return bool(options.propagation) and mount.type in (None, "none") and not options.set_flags


def _check_extensions(mount, options, where: str) -> None:
    """Refuse what the runtime itself would do, where it cannot. Raises SpecError."""
    if _COPY_UP in options.extensions and (
        mount.type != "tmpfs" or options.set_flags & (words.MS_REMOUNT | words.MS_BIND)
    ):
        raise SpecError("config.json", f"{where}.options", f'"{_COPY_UP}" is for new tmpfs mounts only')
    if _is_idmapped(mount, options):
        if options.set_flags & words.MS_REMOUNT or _only_propagates(mount, options):
            raise SpecError("config.json", where, "the ids of a mount that is there already cannot be mapped")
        if mount.type in ("cgroup", "cgroup2") and not mount.is_bind():
            raise SpecError("config.json", where, "the ids of a cgroup mount cannot be mapped")
        if _COPY_UP in options.extensions:
            raise SpecError("config.json", f"{where}.options", f'"{_COPY_UP}" does not go with mapped ids')


def _is_idmapped(mount, options) -> bool:
    return bool(mount.uid_mappings) or any([word in words.IDMAP_WORDS for word in options.extensions])


def _is_mapped(mappings, text: str) -> bool:
    """Tell whether an id has a mapping; what is no number is the kernel's to refuse."""
    if not text.isdecimal():
        return True
    return any([first <= int(text) < first + size for first, _, size in mappings])


class Planner:
    """What all mounts of one config are planned with."""

    __slots__ = ("bundle", "in_userns", "namespaces", "cgroup_mounts", "label", "gids", "prepare", "finish", "idmaps")

    def __init__(
        self, bundle: str, in_userns: bool, namespaces: tuple[str, ...], cgroup_mounts: list, label: str | None = None,
        gids: list[tuple[int, int, int]] | tuple = (),
    ) -> None:  # fmt: skip
        self.bundle = bundle
        self.in_userns = in_userns
        self.namespaces = namespaces  # the types that the container has of its own
        self.cgroup_mounts = cgroup_mounts
        self.label = label  # linux.mountLabel
        self.gids = gids  # the map of the user namespace that mounts; empty: all there are
        self.prepare: list[Operation] = []
        self.finish: list[Operation] = []
        self.idmaps: list[tuple] = []  # see RootfsPlan

    def add(self, mount, where: str) -> None:
        """Plan one mount. Raises SpecError, MountError, Unsupported."""
        is_bind = mount.is_bind()
        options = words.parse_options(mount.options, is_bind, where=f"{where}.options")
        _check_extensions(mount, options, where)
        destination = clean(mount.destination)
        self._check_proc(mount, destination, is_bind, options)
        if options.set_flags & words.MS_REMOUNT or _only_propagates(mount, options):
            self._add_remount(destination, options, is_bind)
        elif is_bind:
            self._add_bind(mount, destination, options, where)
        elif mount.type == "cgroup" or (mount.type == "cgroup2" and self._has_unified()):
            self._add_cgroup(destination, options)
        else:
            self._add_new(mount, destination, options, where)

    def _has_unified(self) -> bool:
        return len(self.cgroup_mounts) == 1 and not self.cgroup_mounts[0][1]

    def _check_proc(self, mount, destination: str, is_bind: bool, options) -> None:
        """Only a procfs may be at /proc, and only single well-known files inside it."""
        if destination == "/proc":
            if mount.type != "proc" and not is_bind and not options.set_flags & words.MS_REMOUNT:
                raise MountError("mount on", destination, "only a procfs may be mounted on /proc")
        elif destination.startswith("/proc/") and destination not in _ON_PROC:
            raise MountError(f'"{destination}"', "", "cannot be mounted because it is inside /proc")

    def _add_remount(self, destination: str, options, is_bind: bool) -> None:
        sb_flags = 0 if is_bind else options.set_flags & _SUPERBLOCK
        self.prepare.append(Remount(destination, tuple(options.data), sb_flags, to_attr(options, replace=False)))

    def _add_bind(self, mount, destination: str, options, where: str) -> None:
        if not mount.source:
            raise SpecError("config.json", f"{where}.source", "a bind mount needs a source")
        source = mount.source if mount.source.startswith("/") else f"{self.bundle}/{mount.source}"
        # Flags that are not named are cleared, unlike in mount(8), once any is named; else the source's stay.
        attr = to_attr(options, replace=bool((options.set_flags | options.clear_flags) & _PER_MOUNT))
        recursive = bool(options.set_flags & words.MS_REC)
        if self.in_userns and recursive and attr[0] & READ_ONLY[0] and clean(source) == "/sys":
            # What is mounted below is the host's: the cgroups of whoever owns the namespace, say (CVE-2023-25809).
            attr = (*attr[:4], attr[4] | READ_ONLY[0], attr[5] & ~READ_ONLY[0], attr[6])
        self.prepare.append(
            MountBind(
                destination, source, recursive, attr,
                destination in _ON_PROC or destination == "/proc", destination == "/proc",
                self._idmap(mount, options),
            )
        )  # fmt: skip

    def _add_cgroup(self, destination: str, options) -> None:
        if not self.cgroup_mounts:
            raise MountError("mount cgroup on", destination, "the container has no cgroup")
        own = "cgroup" in self.namespaces
        attr = to_attr(options, replace=False)
        if self.in_userns and not own:
            # These are the host's files: whoever owns them there could write to them here (CVE-2023-25809).
            attr = (attr[0] | READ_ONLY[0], *attr[1:])
        self.prepare.append(
            MountCgroup(destination, tuple([tuple(row) for row in self.cgroup_mounts]), own, tuple(options.data), attr)
        )

    def _add_new(self, mount, destination: str, options, where: str) -> None:
        fstype = mount.type
        if not fstype or fstype == "none":
            raise SpecError("config.json", f"{where}.type", "a mount that is no bind needs a type")
        idmap = self._idmap(mount, options)
        if idmap and self.in_userns:
            # It would be the container's own already, and nobody inside has power over another namespace's map.
            cause = "the ids of a new file system of a user namespace are not mapped"
            raise Unsupported("mount on", destination, cause)
        attr = to_attr(options, replace=False)
        defer = bool(attr[0] & READ_ONLY[0]) and (fstype == "tmpfs" or destination == "/dev")
        if defer:
            # Nodes, and mount points of later mounts, are still to be made in it.
            attr = (attr[0] & ~READ_ONLY[0], *attr[1:])
        sb_flags = options.set_flags & _SUPERBLOCK
        if fstype not in _PSEUDO:
            sb_flags |= options.set_flags & words.MS_RDONLY
        inherit = fstype == "tmpfs" and not any([word.startswith("mode=") for word in options.data])
        self.prepare.append(
            MountNew(
                destination, fstype, mount.source, self._data(fstype, options.data), sb_flags, attr, defer, inherit,
                None if idmap else self._fallback(fstype), fstype in _ORDINARY,
                destination in _ON_PROC or destination == "/proc",
                _COPY_UP in options.extensions, idmap,
            )
        )  # fmt: skip
        if defer:
            self.finish.append(FinishReadonly(destination))

    def _data(self, fstype: str, given: list[str]) -> tuple[str, ...]:
        """Add the label that every file of a new file system gets; a mount's own option counts more.

        A group of terminals that a user namespace has no id for is left out: the kernel would refuse the whole mount.
        """
        if fstype == "devpts" and self.gids:
            given = [word for word in given if not (word.startswith("gid=") and not _is_mapped(self.gids, word[4:]))]
        if self.label is None or fstype in _UNLABELLED or any([word.startswith("context=") for word in given]):
            return tuple(given)
        return (*given, f"context={self.label}")

    def _idmap(self, mount, options) -> int:
        """Return the flags of SOURCE for a mount, 0 where its ids are not mapped."""
        if not _is_idmapped(mount, options):
            return 0
        chosen = [word for word in options.extensions if word in words.IDMAP_WORDS]
        entry = (tuple(mount.uid_mappings), tuple(mount.gid_mappings))
        if entry not in self.idmaps:
            self.idmaps.append(entry)
        return messages.mapped_source(self.idmaps.index(entry), chosen[-1:] == ["ridmap"])

    def _fallback(self, fstype: str) -> str | None:
        """Return the host path to bind where the kernel refuses a new instance to this user namespace."""
        path, namespace = _FALLBACKS.get(fstype, (None, ""))
        return path if self.in_userns and namespace not in self.namespaces else None
