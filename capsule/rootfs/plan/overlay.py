"""The extension `overlay=` of create and run → the operation that mounts it. Runs in R.

    {"lower": [directories, the lowest first], "upper": directory, "work": directory}

and, for those who need more (capsule.bundle.host): "attr" (MOUNT_ATTR_* of the overlays), "volatile" (nothing is
synced), "size" (of the tmpfs that stands in for an upper of ""), "owner", "veil" and "inner": see rootfs.overlay.
"""

from __future__ import annotations

import posix

from capsule._ext import mountapi
from capsule.errors import MountError, SpecError, errno_text
from capsule.rootfs.operations import MountRoot, Operation
from capsule.rootfs.overlay import MountOverlay

_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_ROOT_OWNER = (0o755, 0, 0)


def check(overlay: dict) -> None:
    """Check the directories of an overlay before anything is made. Raises SpecError, MountError."""
    lower, upper, work = overlay["lower"], overlay["upper"], overlay["work"]
    if not lower:
        raise SpecError("overlay", "lower", "expected at least one directory")
    for path in (*lower, *([upper, work] if upper else [])):
        if not path.startswith("/"):
            raise SpecError("overlay", path, "expected an absolute path")
        try:
            kind = posix.stat(path, follow_symlinks=False).st_mode & _S_IFMT
        except OSError as err:
            raise MountError("open overlay layer", path, errno_text(err.errno), errno=err.errno) from err
        if kind != _S_IFDIR:
            raise MountError("open overlay layer", path, "not a directory")
    if bool(upper) != bool(work) or (upper and (upper.rpartition("/")[0] != work.rpartition("/")[0] or upper == work)):
        raise SpecError("overlay", "work", "expected a directory beside the upper one")


def make(overlay: dict, root: Operation, *, in_userns: bool) -> MountOverlay:
    """Plan the overlay in the place of the operation that would mount a directory as the root. Raises SpecError."""
    if not isinstance(root, MountRoot) or root.switch == "chroot":
        raise SpecError("config.json", "linux.namespaces", "an overlay root needs a mount namespace of its own")
    flags = (mountapi.USERXATTR if in_userns else 0) | (mountapi.VOLATILE if overlay.get("volatile") else 0)
    stacks = [("/", tuple(overlay["lower"]), overlay["upper"], overlay["work"], tuple(overlay.get("veil", ())),
               overlay.get("owner", _ROOT_OWNER)), *overlay.get("inner", ())]
    size = overlay.get("size", 0)
    return MountOverlay(tuple(stacks), flags, overlay.get("attr", 0), root.switch, (f"size={size}",) if size else ())
