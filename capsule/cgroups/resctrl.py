"""Groups of the resource director (`linux.intelRdt`): shares of cache and memory bandwidth. Not a cgroup, yet alike.

A group is a directory of the resctrl file system with `schemata` and `tasks`; a monitoring group lies in its
`mon_groups`. What was there before a container is compared, never changed, and stays. Imported when the config asks
for it. runtime-spec config-linux.md#intel-rdt, Documentation/filesystems/resctrl.
"""

from __future__ import annotations

import errno
import posix

from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError, SpecError, Unsupported
from capsule.linux import mountinfo

ROOT_GROUP = "/"
#: Directories of the kernel's own in every group or in the first.
RESERVED = ("info", "mon_data", "mon_groups")
_PATH = "linux.intelRdt"


def find_root() -> str:
    """Return where the resctrl file system is mounted. Raises Unsupported."""
    for entry in mountinfo.parse(mountinfo.read_text("/proc/self/mountinfo")):
        if entry[mountinfo.TYPE] == "resctrl":
            return entry[mountinfo.MOUNT_POINT]
    cause = "no resctrl file system is mounted (mount -t resctrl resctrl /sys/fs/resctrl)"
    raise Unsupported("config.json", _PATH, cause)


class Group:
    """The groups of one container below `root`; `made` is what create made, parents before children."""

    __slots__ = ("root", "directory", "monitor", "texts", "made")

    def __init__(self, root: str, rdt: dict, container_id: str) -> None:
        clos = rdt.get("closID") or container_id
        self.root = root
        self.directory = root if clos == ROOT_GROUP else f"{root}/{clos}"
        self.monitor = f"{self.directory}/mon_groups/{container_id}" if rdt.get("enableMonitoring") else ""
        self.texts = texts(rdt)
        self.made: list[str] = []

    def check(self) -> None:
        """Refuse a group that is there with other shares than those asked for. Raises SpecError, CgroupError."""
        if self.directory.rpartition("/")[2] in RESERVED:
            raise SpecError("config.json", f"{_PATH}.closID", f"{self.directory} is not a group")
        if not posix.access(self.directory, posix.F_OK):
            return
        wanted = shares("\n".join(self.texts))
        if not wanted:
            return
        found = shares(cgroupfs.read(self.directory, "schemata"))
        for (resource, domain), share in wanted.items():
            there = found.get((resource, domain), "nothing")
            if there != share:
                cause = f"{self.directory} is there already and has {resource}:{domain}={there}, not {share}"
                raise SpecError("config.json", _PATH, cause)

    def planned(self) -> list[str]:
        """Return the directories that create() would make now, parents before children."""
        return [path for path in (self.directory, self.monitor) if path and not posix.access(path, posix.F_OK)]

    def create(self) -> None:
        """Make the groups and set the shares of one that is new; on failure remove what was made.

        Raises CgroupError.
        """
        try:
            if self._make(self.directory):
                write_shares(self.root, self.directory, self.texts)
            if self.monitor:
                self._make(self.monitor)
        except BaseException:
            remove(self.made)
            self.made = []
            raise

    def _make(self, directory: str) -> bool:
        try:
            posix.mkdir(directory, 0o755)
        except FileExistsError:
            return False
        except OSError as err:
            cause = "the hardware has no more groups" if err.errno == errno.ENOSPC else ""
            raise CgroupError("create resctrl group", directory, cause, errno=err.errno or 0) from err
        self.made.append(directory)
        return True

    def groups(self) -> list[str]:
        """Return the directories whose `tasks` a process of the container belongs into, in that order."""
        # The monitoring group counts only the tasks of its own control group.
        return [path for path in (self.directory, self.monitor) if path]


def write_shares(root: str, directory: str, lines: list[str]) -> None:
    """Write each of `lines` to a group's schemata with one write(2). Raises CgroupError."""
    try:
        for text in lines:
            cgroupfs.write(directory, "schemata", text + "\n")
    except CgroupError as err:
        # The kernel says why in a file of its own.
        why = _last_status(root)
        cause = f"{err.cause} ({why})" if why else err.cause
        raise CgroupError(err.operation, err.subject, cause, errno=err.errno) from err


def _last_status(root: str) -> str:
    try:
        return cgroupfs.read(f"{root}/info", "last_cmd_status")
    except CgroupError:
        return ""


def texts(rdt: dict) -> list[str]:
    """Return what is written to `schemata`, one write each: the cache, the bandwidth, then the rest."""
    cache = [line for line in rdt.get("l3CacheSchema", "").split("\n") if not line.strip().startswith("MB:")]
    found = ["\n".join(cache).strip(), rdt.get("memBwSchema", "").strip(), "\n".join(rdt.get("schemata", [])).strip()]
    return [text for text in found if text]


def shares(schemata: str) -> dict[tuple[str, str], str]:
    """Return {(resource, domain): share} of schemata, where a later line wins; as text without leading zeros."""
    found: dict[tuple[str, str], str] = {}
    for line in schemata.split("\n"):
        resource, _, rest = line.strip().partition(":")
        for item in rest.split(";"):
            domain, sign, share = item.partition("=")
            if sign:
                found[resource.strip(), domain.strip()] = share.strip().lower().lstrip("0") or "0"
    return found


def join(groups: list[str], pid: int) -> None:
    """Put a process, and what it will clone, into groups. Raises CgroupError."""
    for directory in groups:
        cgroupfs.write(directory, "tasks", str(pid))


def remove(made: list[str]) -> None:
    """Remove groups that create made, the innermost first; tasks fall back to what is above.

    Raises CgroupError.
    """
    for directory in reversed(made):
        try:
            posix.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError as err:
            raise CgroupError("remove resctrl group", directory, errno=err.errno or 0) from err
