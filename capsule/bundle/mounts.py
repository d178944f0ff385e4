"""Which of this machine's mounts a container over `/` shows, and where else a mount shows the same. Runs in R."""

from __future__ import annotations

import posix

from capsule.linux.mountinfo import DEVICE, MOUNT_POINT, ROOT

#: Where a mount of its own belongs to the machine's software.
SOFTWARE = ("/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu", "/etc", "/var")
#: Mounted anew in every container; what the host has there, or below, never shows.
REPLACED = ("/proc", "/sys", "/dev")

_S_IFMT, _S_IFDIR = 0o170000, 0o040000


def below(path: str, places) -> bool:
    """Tell whether a path is one of these places or lies in one."""
    return any([path == place or path.startswith(place.rstrip("/") + "/") for place in places])


def lstat(path: str):
    """Return what is at a path, None if nothing is."""
    try:
        return posix.stat(path, follow_symlinks=False)
    except OSError:
        return None


def holds_software(path: str) -> bool:
    """Tell whether a path is one of the directories of software, or has one in it."""
    return below("/usr", (path,)) or any([below(place, (path,)) for place in SOFTWARE])


class Mounts:
    """The machine's mounts in the kernel's order, the one on top at each mount point alone."""

    __slots__ = ("_entries", "_software")

    def __init__(self, entries: list[tuple]) -> None:
        top: dict[str, tuple] = {}
        for entry in entries:
            point = entry[MOUNT_POINT]
            if not below(point, REPLACED):
                top.pop(point, None)
                top[point] = entry
        self._entries = top
        self._software = [point for point in top if point != "/" and below(point, SOFTWARE) and _is_directory(point)]

    def software(self) -> list[str]:
        """Return the mount points of software, outer ones first."""
        return sorted(self._software, key=len)

    def others(self) -> list[str]:
        """Return the mount points that are not software's."""
        return [point for point in self._entries if self.is_other(point)]

    def is_other(self, path: str) -> bool:
        """Tell whether a path is a mount point that is not software's."""
        return path in self._entries and path != "/" and path not in self._software

    def elsewhere(self, path: str, *, is_mount_alone: bool) -> list[str]:
        """Return where else `/` and the mounts of software show what is at a path.

        Never a directory that software is in by its name, nor a mount of what its own place has anyway. A mount that
        was there before the mount at `path` is the one that belongs where it is. is_mount_alone: what is at `path`
        is hidden as a mount only; parts of the machine that are mounted there as well stay in sight.
        """
        found: list[str] = []
        own = self._of(path)
        while own is not None:
            found += self._showing(path, own, is_mount_alone)
            # Below the mount there may be files of the same place, which a bind of what is around it shows.
            around = own[MOUNT_POINT].rpartition("/")[0] or "/"
            own = None if is_mount_alone or own[MOUNT_POINT] == "/" else self._of(around)
        return found

    def _showing(self, path: str, own: tuple, is_mount_alone: bool) -> list[str]:
        """Return where else what one mount has at a path is shown."""
        place = _joined(own[ROOT], path[len(own[MOUNT_POINT].rstrip("/")):])
        found, is_later = [], own[MOUNT_POINT] != path
        for point, entry in self._entries.items():
            if entry is own:
                is_later = True
            elif entry[DEVICE] != own[DEVICE] or point != "/" and point not in self._software:
                continue
            elif below(entry[ROOT], (place,)):
                if is_later and point != "/" and point not in SOFTWARE and not self._is_its_own(point, entry):
                    found.append(point)
            elif not is_mount_alone and below(place, (entry[ROOT],)):
                other = _joined(point, place[len(entry[ROOT].rstrip("/")):])
                if not holds_software(other) and self._of(other) is entry:
                    found.append(other)
        return found

    def _of(self, path: str):
        """Return the mount that a path lies in."""
        while path not in self._entries:
            if path in ("", "/"):
                return None
            path = path.rpartition("/")[0] or "/"
        return self._entries[path]

    def _is_its_own(self, point: str, entry: tuple) -> bool:
        """Tell whether a mount shows what the mount around it has at the same place."""
        around = self._of(point.rpartition("/")[0] or "/")
        if around is None or around[DEVICE] != entry[DEVICE]:
            return False
        return entry[ROOT] == _joined(around[ROOT], point[len(around[MOUNT_POINT].rstrip("/")):])


def _joined(path: str, rest: str) -> str:
    return (path.rstrip("/") + rest) or "/"


def _is_directory(path: str) -> bool:
    info = lstat(path)
    return info is not None and info.st_mode & _S_IFMT == _S_IFDIR
