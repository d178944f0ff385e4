"""The words of `mounts[].options` and what each means to the kernel.

One table for the validator, the rootfs plan and `features`. Words of a file system itself are not here: they
are data for it. runtime-spec config.md#linux-mount-options, man 2 mount, man 2 mount_setattr.
"""

from __future__ import annotations

from capsule.errors import SpecError

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

# Kinds of words, the first item of a table row; the second is the bits.
NOTHING = 0
SET = 1  # an MS_* flag to set
CLEAR = 2  # an MS_* flag to clear
PROPAGATE = 3  # a propagation change after the mount
REC_SET = 4  # a MOUNT_ATTR_* to set on the whole tree
REC_CLEAR = 5
REC_ATIME = 6  # one of the three access-time modes, for the whole tree
EXTENSION = 7  # not the kernel's: the runtime does it

WORDS = {
    "async": (CLEAR, MS_SYNCHRONOUS),
    "atime": (CLEAR, MS_NOATIME),
    "bind": (SET, MS_BIND),
    "defaults": (NOTHING, 0),
    "dev": (CLEAR, MS_NODEV),
    "diratime": (CLEAR, MS_NODIRATIME),
    "dirsync": (SET, MS_DIRSYNC),
    "exec": (CLEAR, MS_NOEXEC),
    "iversion": (SET, MS_I_VERSION),
    "lazytime": (SET, MS_LAZYTIME),
    "loud": (CLEAR, MS_SILENT),
    "mand": (SET, MS_MANDLOCK),
    "noatime": (SET, MS_NOATIME),
    "nodev": (SET, MS_NODEV),
    "nodiratime": (SET, MS_NODIRATIME),
    "noexec": (SET, MS_NOEXEC),
    "noiversion": (CLEAR, MS_I_VERSION),
    "nolazytime": (CLEAR, MS_LAZYTIME),
    "nomand": (CLEAR, MS_MANDLOCK),
    "norelatime": (CLEAR, MS_RELATIME),
    "nostrictatime": (CLEAR, MS_STRICTATIME),
    "nosuid": (SET, MS_NOSUID),
    "nosymfollow": (SET, MS_NOSYMFOLLOW),
    "rbind": (SET, MS_BIND | MS_REC),
    "relatime": (SET, MS_RELATIME),
    "remount": (SET, MS_REMOUNT),
    "ro": (SET, MS_RDONLY),
    "rw": (CLEAR, MS_RDONLY),
    "silent": (SET, MS_SILENT),
    "strictatime": (SET, MS_STRICTATIME),
    "suid": (CLEAR, MS_NOSUID),
    "symfollow": (CLEAR, MS_NOSYMFOLLOW),
    "sync": (SET, MS_SYNCHRONOUS),
    "private": (PROPAGATE, MS_PRIVATE),
    "rprivate": (PROPAGATE, MS_PRIVATE | MS_REC),
    "shared": (PROPAGATE, MS_SHARED),
    "rshared": (PROPAGATE, MS_SHARED | MS_REC),
    "slave": (PROPAGATE, MS_SLAVE),
    "rslave": (PROPAGATE, MS_SLAVE | MS_REC),
    "unbindable": (PROPAGATE, MS_UNBINDABLE),
    "runbindable": (PROPAGATE, MS_UNBINDABLE | MS_REC),
    "rro": (REC_SET, MOUNT_ATTR_RDONLY),
    "rrw": (REC_CLEAR, MOUNT_ATTR_RDONLY),
    "rnosuid": (REC_SET, MOUNT_ATTR_NOSUID),
    "rsuid": (REC_CLEAR, MOUNT_ATTR_NOSUID),
    "rnodev": (REC_SET, MOUNT_ATTR_NODEV),
    "rdev": (REC_CLEAR, MOUNT_ATTR_NODEV),
    "rnoexec": (REC_SET, MOUNT_ATTR_NOEXEC),
    "rexec": (REC_CLEAR, MOUNT_ATTR_NOEXEC),
    "rnodiratime": (REC_SET, MOUNT_ATTR_NODIRATIME),
    "rdiratime": (REC_CLEAR, MOUNT_ATTR_NODIRATIME),
    "rnosymfollow": (REC_SET, MOUNT_ATTR_NOSYMFOLLOW),
    "rsymfollow": (REC_CLEAR, MOUNT_ATTR_NOSYMFOLLOW),
    "rnoatime": (REC_ATIME, MOUNT_ATTR_NOATIME),
    "rrelatime": (REC_ATIME, MOUNT_ATTR_RELATIME),
    "rstrictatime": (REC_ATIME, MOUNT_ATTR_STRICTATIME),
    # Taking a mode away leaves the kernel's default, which is relatime; without relatime it is strictatime.
    "ratime": (REC_ATIME, MOUNT_ATTR_RELATIME),
    "rnostrictatime": (REC_ATIME, MOUNT_ATTR_RELATIME),
    "rnorelatime": (REC_ATIME, MOUNT_ATTR_STRICTATIME),
    "tmpcopyup": (EXTENSION, 0),
    "idmap": (EXTENSION, 0),
    "ridmap": (EXTENSION, 0),
}

# The ids of the mount, or of the whole tree, are mapped; the later word counts.
IDMAP_WORDS = ("idmap", "ridmap")

# linux.rootfsPropagation (runtime-spec config-linux.md#rootfs-mount-propagation; engines also write the r forms).
PROPAGATION_WORDS = ("shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable")


class MountOptions:
    """The kernel's view of one mount's options; a later word overrides an earlier one."""

    __slots__ = (
        "set_flags", "clear_flags", "propagation", "rec_attr_set", "rec_attr_clr", "data", "extensions"
    )

    def __init__(self) -> None:
        self.set_flags = 0  # MS_* asked for
        self.clear_flags = 0  # MS_* explicitly asked not to be there
        self.propagation: list[int] = []  # MS_* of each change, in order
        self.rec_attr_set = 0  # MOUNT_ATTR_*, for mount_setattr(AT_RECURSIVE)
        self.rec_attr_clr = 0
        self.data: list[str] = []  # for the file system itself
        self.extensions: list[str] = []


def parse_options(options: list[str], is_bind: bool, *, where: str = "options") -> MountOptions:
    """Translate option words.

    Raises SpecError for a word that a bind mount cannot have: there is no file system to hand it to.
    """
    parsed = MountOptions()
    for index, word in enumerate(options):
        row = WORDS.get(word)
        if row is not None:
            _apply(parsed, word, row[0], row[1])
        elif not word:
            continue  # buildah's volumes without options have an empty one
        elif is_bind:
            raise SpecError("config.json", f"{where}[{index}]", _unknown_on_bind(word))
        else:
            parsed.data.append(word)
    return parsed


def _apply(parsed: MountOptions, word: str, kind: int, bits: int) -> None:
    """Enter one known word."""
    if kind == SET:
        parsed.set_flags |= bits
        parsed.clear_flags &= ~bits
    elif kind == CLEAR:
        parsed.set_flags &= ~bits
        parsed.clear_flags |= bits
    elif kind == PROPAGATE:
        parsed.propagation.append(bits)
    elif kind == REC_SET:
        parsed.rec_attr_set |= bits
        parsed.rec_attr_clr &= ~bits
    elif kind == REC_CLEAR:
        parsed.rec_attr_set &= ~bits
        parsed.rec_attr_clr |= bits
    elif kind == REC_ATIME:
        # The kernel wants the whole mode cleared whenever one is chosen (man 2 mount_setattr).
        parsed.rec_attr_set = parsed.rec_attr_set & ~MOUNT_ATTR__ATIME | bits
        parsed.rec_attr_clr |= MOUNT_ATTR__ATIME
    elif kind == EXTENSION:
        parsed.extensions.append(word)


def _unknown_on_bind(word: str) -> str:
    """Say that a bind mount has no such option, and which known word is near."""
    from capsule.spec.suggest import nearest

    best = nearest(word, WORDS)
    hint = f"; did you mean {best!r}?" if best else ""
    return f"a bind mount has no option {word!r}{hint}"
