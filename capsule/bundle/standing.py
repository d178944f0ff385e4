"""The root of a container that stands still, as its next run would see it: for `cp`. Not linked into the launcher.

Its layers and what is bound into them are mounted in a mount namespace of this process alone, at a directory of the
container's own; files are reached beneath the root's descriptor, and nothing of the image runs. The container's lock is
held meanwhile: nobody starts or removes it. What lies on a tmpfs when it runs (/dev, /run of some) is not there.
"""

from __future__ import annotations

import os

from capsule._ext import json, mountapi, proc
from capsule.bundle import layers
from capsule.bundle.containers import CONFIG, Record
from capsule.errors import CapsuleError, StateError
from capsule.linux import trees
from capsule.rootfs.mounts import MountBind
from capsule.rootfs.operations import PIVOT, Context, MountRoot, PrepareTree
from capsule.rootfs.plan import overlay as overlays
from capsule.state.store import Entry

_ROOT = ".root"
_PRIVATE = 1 << 18 | 0x4000  # MS_PRIVATE | MS_REC
_READ_ONLY = (1, 0, False, True, 1, 0, ())  # with all that is mounted below
_MNT_DETACH = 2
_is_apart = False  # this process has a mount namespace of its own


class Standing:
    """The root of a stopped container, whose entry the caller has locked; `root_fd` until close."""

    def __init__(self, entry: Entry, record: Record) -> None:
        if not record.is_kept:
            raise StateError("open the files of container", record.name, "its changes have gone with its run")
        self._path = f"{entry.path}/{_ROOT}"
        place = entry.path
        self._context = Context(self._path)
        try:
            _leave_the_host()
            trees.make(self._path)
            overlays.make(layers.prepare(place, record, None), MountRoot(PIVOT), in_userns=False).execute(self._context)
            tree = _configuration(entry)
            # Not by the mount: the binds may need mount points.
            self.is_readonly = bool((tree.get("root") or {}).get("readonly"))
            for mount in _binds(tree):
                attr = _READ_ONLY if "ro" in mount["options"] else mountapi.KEEP
                bind = MountBind(mount["destination"], mount["source"], "rbind" in mount["options"], attr)
                bind.execute(self._context)
            proc.stop_point("engine-standing")
        except OSError as err:
            self.close()
            raise CapsuleError("open the files of container", record.name, (err.strerror or "").lower(),
                               errno=err.errno or 0) from err
        except BaseException:
            self.close()
            raise

    @property
    def root_fd(self) -> int:
        return self._context.root_fd

    def close(self) -> None:
        """Unmount everything, before anybody else has the container's lock."""
        is_mounted = self._context.root_fd >= 0
        self._context.close()
        if is_mounted:
            mountapi.umount(self._path, _MNT_DETACH)


def _leave_the_host() -> None:
    """Have a mount namespace of our own, which tells nobody of its mounts. Raises OSError."""
    global _is_apart
    if not _is_apart:
        mountapi.unshare()
        PrepareTree(_PRIVATE, 0).execute(Context("/"))
        _is_apart = True


def _configuration(entry: Entry) -> dict:
    data = entry.marked(CONFIG)
    tree = json.loads(data) if data is not None else {}
    return tree if isinstance(tree, dict) else {}


def _binds(tree: dict) -> list[dict]:
    """Return what is bound into the container: volumes and files of the host."""
    return [mount for mount in tree.get("mounts") or []
            if mount.get("type") == "bind" and os.path.lexists(mount["source"])]
