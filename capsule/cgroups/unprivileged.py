"""Which cgroups a runtime without the host's root may make, and what to say of those that it may not.

A hierarchy is ours where its directory can be made and processes can be moved there (admin-guide/cgroup-v2,
"Delegation"). Without one the container stays where the runtime is, as runc's do; a limit is then refused, never
dropped. Asking changes nothing.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.cgroups.layout import Hierarchy
    from capsule.cgroups.manager import Manager

UNIFIED = ""
DROP_IN = "/etc/systemd/system/user@.service.d/delegate.conf"
DROP_IN_TEXT = "[Service]\nDelegate=cpu cpuset io memory pids\n"
_WRITABLE = "have it mounted writable, or run without limits"
_V1_CONTROLLERS = {"io": "blkio"}
#: Keys of linux.resources and the controller of each on v2, which messages name.
_LIMITS = {"memory": "memory", "cpu": "cpu", "pids": "pids", "blockIO": "io", "hugepageLimits": "hugetlb",
           "rdma": "rdma"}


def settle(manager: Manager, resources: dict, *, path_given: bool, private_pids: bool) -> None:
    """Take out of a manager the hierarchies in which this process may make nothing.

    Raises CgroupError where that loses a limit, or a cgroup that the config names.
    """
    refused: list[tuple[Hierarchy, str]] = []
    for hierarchy in manager.hierarchies:
        directory = obstacle(hierarchy)
        if directory:
            refused.append((hierarchy, directory))
    if not refused:
        return
    if path_given:
        hierarchy, directory = refused[0]
        raise CgroupError("unable to apply cgroup configuration", f"mkdir {hierarchy.leaf}",
                          f"permission denied: {whose(directory)}; {repair(hierarchy)}", errno=13)
    for hierarchy, directory in refused:
        _refuse_lost(hierarchy, directory, resources)
    manager.leave([hierarchy for hierarchy, _ in refused])
    if not manager.paths:
        tell(private_pids=private_pids)


def tell(*, private_pids: bool) -> None:
    """Warn of what follows from having no cgroup."""
    if not private_pids:
        log.warning("a container with no cgroup and no private pid namespace: its processes cannot all be killed. "
                    "Such configuration is strongly discouraged")


def obstacle(hierarchy: Hierarchy) -> str:
    """Return the directory or file that keeps us from a hierarchy's leaf, "" where nothing does."""
    place = hierarchy.leaf
    while place and not posix.access(place, posix.F_OK):
        place = place.rpartition("/")[0]
    unified = hierarchy.controllers == [UNIFIED]
    if place == hierarchy.leaf:
        return "" if _may_write(f"{place}/{'cgroup.procs' if unified else 'tasks'}") else place
    if not posix.access(place, posix.W_OK | posix.X_OK, effective_ids=True):
        return place
    if unified:
        # A process moves between two cgroups only for who may write to what is above both.
        above = _common(hierarchy.own, place)
        if not _may_write(f"{above}/cgroup.procs"):
            return above
    return ""


def _may_write(path: str) -> bool:
    return posix.access(path, posix.W_OK, effective_ids=True)


def _common(one: str, other: str) -> str:
    """Return the directory above both."""
    found = []
    for part, counterpart in zip(one.split("/"), other.split("/"), strict=False):
        if part != counterpart:
            break
        found.append(part)
    return "/".join(found)


def _refuse_lost(hierarchy: Hierarchy, directory: str, resources: dict) -> None:
    """Refuse the limits that nobody else enforces."""
    for key, value in resources.items():
        name = _limit(hierarchy, key, value)
        if name:
            cause = (f"container could not join or create cgroup: {whose(directory)}, "
                     f"so the {name} controller is not ours; {repair(hierarchy)}")
            raise CgroupError(f"cannot set {name} limit", "", cause)


def _limit(hierarchy: Hierarchy, key: str, value) -> str:
    """Name the controller of a limit, "" where this hierarchy has no part in it."""
    if not value:
        return ""
    unified = hierarchy.controllers == [UNIFIED]
    if key == "unified":
        return next(iter(value)).partition(".")[0] if unified else ""
    if key == "network":
        return next((name for name in ("net_cls", "net_prio") if name in hierarchy.controllers), "")
    name = _LIMITS.get(key, "")
    if name == "cpu" and ("cpus" in value or "mems" in value):
        alone = not [field for field in value if field not in ("cpus", "mems")]
        if alone or "cpuset" in hierarchy.controllers:
            name = "cpuset"
    return name if unified or _V1_CONTROLLERS.get(name, name) in hierarchy.controllers else ""


def whose(directory: str) -> str:
    """Say who may write to a directory: `/sys/fs/cgroup/x belongs to uid 0 (mode 0755) and we are uid 1000`."""
    if is_read_only(directory):
        return f"the cgroup file system at {directory} is mounted read-only here"
    try:
        info = posix.stat(directory)
    except OSError:
        return f"{directory} cannot be reached"
    owner = f"{directory} belongs to uid {info.st_uid} (mode {info.st_mode & 0o7777:04o})"
    return f"{owner} and we are uid {posix.geteuid()}"


def is_read_only(directory: str) -> bool:
    """Tell whether nobody may write to a directory for the way it is mounted: engines give containers such cgroups."""
    try:
        return bool(posix.statvfs(directory).f_flag & posix.ST_RDONLY)
    except OSError:
        return False


def not_handed_down(directory: str, controller: str, mount_point: str) -> str:
    """Say which v2 directory keeps a controller from `directory`, and what hands it down."""
    keeper = ""
    place = directory
    while place.startswith(mount_point):
        if controller in words(place, "cgroup.controllers"):
            keeper = "" if controller in words(place, "cgroup.subtree_control") else place
            break
        place = place.rpartition("/")[0]
    if not keeper:
        return f"the kernel offers no {controller} controller here"
    mending = _WRITABLE if is_read_only(keeper) else delegation(controller)
    return f"{keeper} does not hand the {controller} controller down: {whose(keeper)}; {mending}"


def delegation(controller: str = "") -> str:
    """Return the words that have systemd hand a controller, or those that it can, to its users."""
    if controller and controller not in DROP_IN_TEXT:
        # Delegate= ignores a name that is none of systemd's own controllers (systemd.resource-control(5)).
        return f"systemd cannot delegate {controller} to users: run as root"
    wanted = DROP_IN_TEXT.replace("\n", "\\n")
    return (f"delegate it as root: mkdir -p {DROP_IN.rpartition('/')[0]} && printf '{wanted}' > {DROP_IN} && "
            "systemctl daemon-reload, then log in anew")


def repair(hierarchy: Hierarchy) -> str:
    """Return what makes a hierarchy ours."""
    if is_read_only(hierarchy.mount_point):
        return _WRITABLE
    if hierarchy.controllers != [UNIFIED]:
        return "cgroup v1 is not delegated to users: boot with systemd.unified_cgroup_hierarchy=1, or run as root"
    if hierarchy.own.rpartition("/")[2].startswith("session-"):
        return "run below `systemd-run --user --scope -p Delegate=yes`, or with --systemd-cgroup"
    return delegation()


def words(directory: str, name: str) -> list[str]:
    """Return the words of a cgroup's file, none where it cannot be read."""
    try:
        return cgroupfs.read(directory, name).split()
    except CgroupError:
        return []
