"""What of this machine a container over `/` may not see: the rows of a veil (capsule.rootfs.overlay). Runs in R.

Hidden are the places below, what others than root may not read in the directories where secrets lie, and whatever is
mounted where software is not. Hidden directories are there but empty; hidden files are not there.
"""

from __future__ import annotations

import posix

from capsule._ext import unreadable
from capsule.bundle import mounts
from capsule.bundle.mounts import REPLACED, below, lstat
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
#: Where it is looked for what others may not read: how many levels deep, and how many of them whatever is there;
#: deeper only the first MOST entries below each entry. A sandbox's user is the owner of root's files: it needs no
#: capability to read what has mode 0600. Unknown directories in `/` and `/var`, and further mounts, are searched too.
SEARCHED = (("/", 1, 1), ("/etc", 8, 8), ("/opt", 4, 1), ("/usr/local/etc", 8, 8), ("/usr/local", 2, 1),
            ("/var", 1, 1), ("/var/cache", 2, 2),
            ("/var/lib", 4, 2))
MOST = 32
#: What `_searched` does not add: searched above, or the machine's programs, which everybody may read.
NOT_SEARCHED = (*mounts.SOFTWARE, "/var/cache", "/var/lib", "/usr/local", "/usr/local/etc")

_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000
_NEW = (0o755, 0, 0)
_O_PATH = 0o10000000


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


def real(path: str) -> str:
    """Return where a path leads through links, "" where nothing is."""
    try:
        fd = posix.open(path, _O_PATH | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def real_places(paths) -> list[str]:
    """Return where these paths lead, without what is not there and what software lies in."""
    found = [real(path) for path in paths]
    return [path for path in found if path and not mounts.holds_software(path) and not below(path, REPLACED)]


def of_machine() -> tuple[Veil, list[tuple[str, Veil]]]:
    """Return the veil of `/`, and (mount point, veil) of each further mount of software. Raises CapsuleError."""
    table = mounts.Mounts(mountinfo.parse(mountinfo.read_text("/proc/self/mountinfo")))
    veils = _Veils(table)
    for point in table.others():
        veils.hide(point)
    places = real_places(PLACES)
    for place in (*places, *real_places(FILES)):
        veils.hide(place)
    for directory, levels, sure in _searched(veils):
        try:
            found = unreadable.search(directory, levels, sure, MOST)
        except OSError as err:
            raise CapsuleError("search", directory, errno_text(err.errno), errno=err.errno or 0) from err
        for path, mode, uid, gid in found:
            if path not in REPLACED:
                veils.hide_as(path, mode, uid, gid)
    veils.hide_elsewhere(places)
    return veils.outer, veils.inner()


def _searched(veils: _Veils):
    """Return (directory, levels, those of them that are searched whatever is there)."""
    found = list(SEARCHED)
    for parent in ("/", "/var"):
        for name in sorted(posix.listdir(parent)):
            path = f"{parent.rstrip('/')}/{name}"
            info = lstat(path)
            if info is not None and info.st_mode & _S_IFMT == _S_IFDIR and path not in NOT_SEARCHED and not veils.hides(
                    path) and not below(path, REPLACED):
                found.append((path, 4, 1))
    found += [(point, 4, 1) for point in veils.points if point not in NOT_SEARCHED and not veils.hides(point)]
    return found


class _Veils:
    """The veil of `/` and of each further mount of software, filled together."""

    __slots__ = ("table", "outer", "points", "_inner")

    def __init__(self, table: mounts.Mounts) -> None:
        self.table = table
        self.outer = Veil()
        self.points = table.software()
        self._inner = [(point, Veil(point)) for point in self.points]
        for point in self.points:
            self._hide_shut(point)

    def inner(self) -> list[tuple[str, Veil]]:
        """Return the further mounts that show something."""
        return [(point, veil) for point, veil in self._inner if not self.hides(point)]

    def hides(self, path: str) -> bool:
        """Tell whether any of them hides a path."""
        return self.outer.hides(path) or any([veil.hides(path) for _, veil in self._inner])

    def hide(self, path: str) -> None:
        """Hide what is at a path, if anything is."""
        info = lstat(path)
        if info is not None and info.st_mode & _S_IFMT != _S_IFLNK:
            self.hide_as(path, info.st_mode, info.st_uid, info.st_gid)

    def hide_as(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Hide what is at a path, in the innermost mount that it lies in."""
        for point, veil in reversed(self._inner):
            if path != point and below(path, (point,)):
                veil.hide(path, mode, uid, gid)
                return
        self.outer.hide(path, mode, uid, gid)

    def hide_elsewhere(self, places: list[str]) -> None:
        """Hide what is hidden at the other places where a mount shows it; `places` are hidden for what they are."""
        mounted = [*self.table.others(), *[point for point in self.points if self.hides(point)]]
        hidden = [path for veil in (self.outer, *[veil for _, veil in self._inner]) for path in veil.hidden]
        for path in dict.fromkeys([*hidden, *mounted]):
            for other in self.table.elsewhere(path, is_mount_alone=path in mounted and path not in places):
                if not self.hides(other):
                    self.hide(other)

    def _hide_shut(self, point: str) -> None:
        """Hide the first directory on the way to a mount, or its own root, that others may not list and enter."""
        at = ""
        for part in point.split("/")[1:]:
            at = f"{at}/{part}"
            info = lstat(at)
            if info is None or info.st_mode & 0o005 != 0o005:
                self.hide(at)
                return
