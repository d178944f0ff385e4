"""What of this machine a container over `/` may not see: the rows of a veil (capsule.rootfs.overlay). Runs in R.

Hidden are the places below, what others than root may not read in the directories where secrets lie, and whatever is
mounted where software is not. Hidden directories are there but empty; hidden files are not there.
"""

from __future__ import annotations

import posix

from capsule._ext import unreadable
from capsule.errors import CapsuleError, errno_text
from capsule.linux import mountinfo
from capsule.rootfs.overlay import DIRECTORY, FILE, OPAQUE, WHITEOUT

#: People's files, services' data, sockets and devices' mount points. Below WORKPLACES a working directory is shown.
WORKPLACES = ("/root", "/home", "/tmp", "/var/tmp", "/srv", "/mnt", "/media")
PLACES = (
    *WORKPLACES, "/run", "/boot", "/lost+found", "/etc/ssl/private", "/etc/ssh/keys", "/etc/NetworkManager",
    "/etc/wireguard", "/etc/kubernetes", "/var/backups", "/var/crash", "/var/log", "/var/mail", "/var/spool",
    "/var/lib/capsule", "/var/lib/cloud", "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker",
    "/var/lib/kubelet", "/var/lib/libvirt", "/var/lib/rancher", "/var/lib/systemd", "/var/lib/NetworkManager",
)  # fmt: skip
FILES = ("/etc/krb5.keytab", "/etc/security/opasswd", "/etc/machine-id", "/swapfile", "/swap.img",
         "/var/cache/debconf/passwords.dat")
#: Directories whose entries are hidden where others may not read them, and how many levels deep. A sandbox's user is
#: the owner of root's files: it needs no capability to read what has mode 0600.
SEARCHED = (("/", 1), ("/etc", 8), ("/opt", 1), ("/usr/local/etc", 8), ("/var", 1), ("/var/lib", 2))
#: Where a mount of its own belongs to the machine's software.
SOFTWARE = ("/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu", "/etc", "/var")
#: Mounted anew in every container; what the host has there, or below, never shows.
REPLACED = ("/proc", "/sys", "/dev")

_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000
_NEW = (0o755, 0, 0)


def below(path: str, places) -> bool:
    """Tell whether a path is one of these places or lies in one."""
    return any([path == place or path.startswith(place.rstrip("/") + "/") for place in places])


def owner(info) -> tuple[int, int, int]:
    """Return (mode, uid, gid) of a stat result."""
    return info.st_mode & 0o7777, info.st_uid, info.st_gid


class Veil:
    """The rows of one veil, parents before children; `base` is the directory that it lies over."""

    __slots__ = ("base", "_rows", "_hidden")

    def __init__(self, base: str = "/") -> None:
        self.base = base
        self._rows: dict[str, tuple] = {}  # absolute path -> row without it
        self._hidden: dict[str, None] = {}

    @property
    def hidden(self) -> list[str]:
        """What is hidden, each without what lies below it."""
        return list(self._hidden)

    def rows(self) -> tuple:
        """Return the rows with paths relative to the base."""
        start = len(self.base.rstrip("/")) + 1
        return tuple([(path[start:], *row) for path, row in self._rows.items()])

    def hides(self, path: str) -> bool:
        """Tell whether what the host has at a path is hidden."""
        while path:
            if path in self._hidden:
                return True
            path = path.rpartition("/")[0]
        return False

    def hide(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Hide what is at a path; `mode` is its st_mode."""
        if self.hides(path) or not self._lead_to(path):
            return
        self._hidden[path] = None
        if mode & _S_IFMT == _S_IFDIR:
            self._rows[path] = (OPAQUE, mode & 0o7777, uid, gid)
        else:
            self._rows[path] = (WHITEOUT, 0, 0, 0)

    def point(self, path: str, is_directory: bool = True) -> None:
        """Have a mount point at a path, which no link leads through."""
        info = lstat(path)
        hidden = self.hides(path)
        if (info is None or hidden) and self._lead_to(path) and path not in self._rows:
            kind = DIRECTORY if is_directory else FILE
            self._rows[path] = (kind, *(owner(info) if info is not None else _NEW))

    def _lead_to(self, path: str) -> bool:
        """Make the rows of the directories on the way; False where a link is on it."""
        parts = path[len(self.base.rstrip("/")) + 1:].split("/")[:-1]
        at = self.base.rstrip("/")
        for part in parts:
            at = f"{at}/{part}"
            if at in self._rows:
                continue
            info = lstat(at)
            if info is not None and info.st_mode & _S_IFMT != _S_IFDIR:
                return False
            self._rows[at] = (DIRECTORY, *(owner(info) if info is not None else _NEW))
        return True


def lstat(path: str):
    """Return what is at a path, None if nothing is."""
    try:
        return posix.stat(path, follow_symlinks=False)
    except OSError:
        return None


def of_machine() -> tuple[Veil, list[tuple[str, Veil]]]:
    """Return the veil of `/`, and (mount point, veil) of each further mount of software. Raises CapsuleError."""
    veil = Veil()
    inner = [(point, Veil(point)) for point in _further_mounts(veil)]

    def hide(path: str, mode: int, uid: int, gid: int) -> None:
        for point, its in reversed(inner):
            if below(path, (point,)) and path != point:
                its.hide(path, mode, uid, gid)
                return
        veil.hide(path, mode, uid, gid)

    for path in (*PLACES, *FILES):
        info = lstat(path)
        if info is not None and info.st_mode & _S_IFMT != _S_IFLNK:
            hide(path, info.st_mode, info.st_uid, info.st_gid)
    for directory, depth in SEARCHED:
        try:
            found = unreadable.search(directory, depth)
        except OSError as err:
            raise CapsuleError("search", directory, errno_text(err.errno), errno=err.errno or 0) from err
        for path, mode, uid, gid in found:
            if path not in REPLACED:
                hide(path, mode, uid, gid)
    return veil, inner


def _further_mounts(veil: Veil) -> list[str]:
    """Return the mount points of software; others are hidden, as is what lies below them."""
    found: list[str] = []
    for entry in mountinfo.parse(mountinfo.read_text("/proc/self/mountinfo")):
        point = entry[mountinfo.MOUNT_POINT]
        if point == "/" or below(point, REPLACED):
            continue
        info = lstat(point)
        if info is None:
            continue
        if below(point, SOFTWARE) and not below(point, PLACES) and info.st_mode & _S_IFMT == _S_IFDIR:
            if point not in found:
                found.append(point)
        else:
            veil.hide(point, info.st_mode, info.st_uid, info.st_gid)
    return found
