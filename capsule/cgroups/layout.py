"""Where the hierarchies are mounted and where in each a container's cgroup lies. Reads /proc, changes nothing.

A hierarchy is known by what /proc/self/cgroup calls it (man 7 cgroups): "memory", "cpu,cpuacct", "name=systemd",
or "" for v2. /proc/self/mountinfo says where it is mounted, and which of its cgroups is at the mount point.
"""

from __future__ import annotations

from capsule.errors import CgroupError, SpecError
from capsule.linux import mountinfo

UNIFIED = ""
_DEPTH_MAX = 100


class Hierarchy:
    """One mounted hierarchy."""

    __slots__ = ("controllers", "mount_point", "mount_root", "own", "leaf")

    def __init__(self, controllers: list[str], mount_point: str, mount_root: str, own: str) -> None:
        self.controllers = controllers  # [""] for v2
        self.mount_point = mount_point
        self.mount_root = mount_root  # the cgroup that is seen at the mount point
        self.own = own  # directory of the runtime's own cgroup
        self.leaf = ""  # directory of the container's cgroup, set by place()

    @property
    def name(self) -> str:
        """The name of the hierarchy's directory below /sys/fs/cgroup."""
        return self.mount_point.rpartition("/")[2]


def detect(cgroup_text: str, mountinfo_text: str) -> list[Hierarchy]:
    """Return every mounted hierarchy, in mount order, from the texts of /proc/self/cgroup and mountinfo.

    Raises CgroupError when there is none.
    """
    lines: dict[str, tuple[str, str]] = {}  # controller -> (the line's controllers, own cgroup)
    for text in cgroup_text.splitlines():
        controllers, own = text.split(":", 2)[1:]
        for controller in controllers.split(","):
            lines[controller] = (controllers, own)
    found: dict[str, Hierarchy] = {}
    for entry in mountinfo.parse_cgroups(mountinfo_text):
        line = _line_of(entry, lines)
        if line is None:
            continue
        controllers, own = line
        root = entry[mountinfo.ROOT]
        inside = relative_to(own, root)
        # The first mount counts (others are bind mounts into containers), unless a later one shows our own cgroup.
        if controllers not in found or (inside is not None and found[controllers].own == ""):
            point = entry[mountinfo.MOUNT_POINT]
            own_directory = "" if inside is None else point + inside
            found[controllers] = Hierarchy(controllers.split(","), point, root, own_directory)
    if not found:
        raise CgroupError("find cgroup hierarchies", "", "no cgroup file system is mounted")
    for hierarchy in found.values():
        # In a container without a cgroup namespace our path is the host's: what we have is the mount point.
        hierarchy.own = hierarchy.own or hierarchy.mount_point
    return list(found.values())


def _line_of(entry: tuple, lines: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
    if entry[mountinfo.TYPE] == "cgroup2":
        return lines.get(UNIFIED)
    for word in entry[mountinfo.SUPER_OPTIONS].split(","):
        if word and word in lines:
            return lines[word]
    return None


def relative_to(path: str, root: str) -> str | None:
    """Return cgroup `path` as seen from cgroup `root`, "" or with a leading slash; None when it is not below."""
    if root == "/":
        # Beyond our cgroup namespace's root the kernel writes "/..".
        return None if path.startswith("/..") else path.rstrip("/")
    if path == root:
        return ""
    return path[len(root) :] if path.startswith(root + "/") else None


def place(hierarchies: list[Hierarchy], cgroups_path: str | None, container_id: str) -> None:
    """Set each hierarchy's leaf from `linux.cgroupsPath`.

    An absolute path lies below each mount point, a relative one below the runtime's own cgroup of that
    hierarchy, and without one the container's id is the relative path. On pure v2 a relative path starts at
    the parent of the runtime's cgroup, since a cgroup that holds processes cannot hand controllers down.

    Raises SpecError.
    """
    path = cgroups_path or container_id
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise SpecError("invalid configuration", "linux.cgroupsPath", f"{path!r} is the root of the hierarchy")
    if ".." in parts or "\0" in path or "\n" in path:
        raise SpecError("invalid configuration", "linux.cgroupsPath", f"{path!r} may not leave its hierarchy")
    if len(parts) > _DEPTH_MAX:
        # Each is a cgroup in every hierarchy, and costs the kernel memory.
        cause = f"{len(parts)} directories deep, where {_DEPTH_MAX} are the most"
        raise SpecError("invalid configuration", "linux.cgroupsPath", cause)
    below = "/" + "/".join(parts)
    pure = len(hierarchies) == 1 and hierarchies[0].controllers == [UNIFIED]
    for hierarchy in hierarchies:
        if path.startswith("/"):
            base = hierarchy.mount_point
        elif pure and hierarchy.own != hierarchy.mount_point:
            base = hierarchy.own.rpartition("/")[0]
        else:
            base = hierarchy.own
        hierarchy.leaf = base + below


def unified_directory(cgroup_text: str, mountinfo_text: str) -> str | None:
    """Return the directory of the v2 cgroup that a /proc/<pid>/cgroup text names; None when it is not in sight."""
    for line in cgroup_text.splitlines():
        if line.startswith("0::"):
            for entry in mountinfo.parse_cgroups(mountinfo_text):
                if entry[mountinfo.TYPE] == "cgroup2":
                    inside = relative_to(line[3:], entry[mountinfo.ROOT])
                    if inside is not None:
                        return entry[mountinfo.MOUNT_POINT] + inside
    return None
