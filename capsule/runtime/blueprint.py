"""What create decides before anything on the host has changed: bad input ends here."""

from __future__ import annotations

import posix

from capsule import cgroups, log
from capsule.errors import SpecError, errno_text
from capsule.linux import namespaces as ns_kinds
from capsule.rootfs import plan as rootfs_plan
from capsule.runtime import console, namespaces
from capsule.security import plan as security_plan
from capsule.state import store as stores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.cgroups.manager import Manager
    from capsule.cgroups.resctrl import Group
    from capsule.rootfs.plan import RootfsPlan
    from capsule.runtime.net_devices import NetDevices
    from capsule.runtime.process import Process
    from capsule.runtime.rootless import Rootless
    from capsule.security.plan import SecurityPlan
    from capsule.spec.model import Config

_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000


class Blueprint:
    """All that create decides before anything on the host has changed."""

    __slots__ = ("config", "process", "bundle", "rootfs_path", "namespaces", "manager", "security", "rootfs_plan",
                 "id_maps", "time_offsets", "net_devices", "resctrl", "rootless", "cgroup_owner")
    if TYPE_CHECKING:
        config: Config
        process: Process
        bundle: str
        rootfs_path: str
        namespaces: namespaces.NamespacePlan
        manager: Manager
        security: SecurityPlan | None
        rootfs_plan: RootfsPlan
        id_maps: tuple[bytes, bytes]
        time_offsets: bytes | None
        net_devices: NetDevices | None
        resctrl: Group | None
        rootless: Rootless | None  # None where R has the host's root
        cgroup_owner: int | None  # the host's uid to whom a v2 cgroup is given


def draw(container, process) -> Blueprint:
    """Plan a container; nothing on the host has changed when this returns or raises.

    Raises CapsuleError of every kind that bad input can have.
    """
    config = container.config
    blueprint = Blueprint()
    blueprint.config, blueprint.process = config, process
    blueprint.rootless = None
    if posix.geteuid() != 0 or not ns_kinds.is_initial_user():
        from capsule.runtime import rootless

        blueprint.rootless = rootless.Rootless(config)
    blueprint.bundle = container.bundle
    if process.overlay is None:
        blueprint.rootfs_path = check_rootfs(container.bundle, config.root_path)
    else:
        from capsule.rootfs.plan import overlay

        overlay.check(process.overlay)
        blueprint.rootfs_path = f"{container.root}/{container.id}/{stores.ROOT}"
    spec = config.process
    console.check(spec is not None and spec.terminal, process)
    if blueprint.rootless is None and not process.cgroup_access:
        blueprint.manager = cgroups.open_manager(config.cgroups_path, container.id, systemd=process.systemd_cgroup,
                                                 annotations=config.annotations)
    else:
        from capsule.runtime import cgroup_access

        blueprint.manager = cgroup_access.open_manager(
            container.id, config, process, rootless=blueprint.rootless is not None)
    blueprint.manager.check(config.resources)
    blueprint.time_offsets = namespaces.offsets_text(config.time_offsets)
    blueprint.id_maps = (
        namespaces.map_text(config.uid_mappings, "linux.uidMappings"),
        namespaces.map_text(config.gid_mappings, "linux.gidMappings"),
    )
    blueprint.namespaces = namespaces.plan(config.namespaces)
    in_userns = blueprint.namespaces.has("user")
    has_mount_ns = blueprint.namespaces.has("mount")
    if not has_mount_ns and (config.masked_paths or config.readonly_paths or config.root_readonly):
        raise SpecError("config.json", "linux.namespaces", "a mount namespace is needed for masked and read-only paths")
    blueprint.security = None
    if spec is not None:
        blueprint.security = security_plan.make(spec, config, in_userns=in_userns, warn=log.warning,
                                                seccomp_cache=f"{container.root}/.seccomp")
    blueprint.rootfs_plan = rootfs_plan.make(
        config, bundle=container.bundle, in_userns=in_userns or blueprint.rootless is not None,
        has_mount_ns=has_mount_ns,
        console=spec is not None and spec.terminal,
        cgroup_mounts=blueprint.manager.mounts_for_container(), no_pivot=process.no_pivot,
        gids=config.gid_mappings or (blueprint.rootless.own_gids() if blueprint.rootless is not None else ()),
        overlay=process.overlay,
    )
    _draw_rarities(container.id, blueprint)
    return blueprint


def _draw_rarities(id: str, blueprint: Blueprint) -> None:
    """Plan what few containers have, each by a module of its own."""
    config, plan = blueprint.config, blueprint.namespaces
    blueprint.resctrl = blueprint.net_devices = blueprint.cgroup_owner = None
    if "cgroup" in plan.new and blueprint.manager.is_v2():
        from capsule.cgroups.v2 import ownership

        blueprint.cgroup_owner = ownership.owner(config, plan.joined_fd("user"))
    if "user" in plan.joined and (config.uid_mappings or config.gid_mappings):
        from capsule.runtime import idmaps

        idmaps.check_joined(config, plan.joined_fd("user"))
    if config.intel_rdt is not None:
        from capsule.cgroups import resctrl

        blueprint.resctrl = resctrl.Group(resctrl.find_root(), config.intel_rdt, id)
        blueprint.resctrl.check()
    if config.net_devices:
        from capsule.runtime.net_devices import NetDevices

        blueprint.net_devices = NetDevices(config.net_devices)
        blueprint.net_devices.check(plan.joined_fd("network"))
    if blueprint.rootfs_plan.idmaps:
        from capsule.runtime import idmaps

        plan.idmaps = idmaps.open_all(blueprint.rootfs_plan.idmaps, blueprint.id_maps, plan.joined_fd("user"))


def check_rootfs(bundle: str, root_path: str) -> str:
    """Return the absolute path of the root. Raises SpecError where it is no directory of the container's own."""
    path = root_path if root_path.startswith("/") else f"{bundle}/{root_path}"
    path = path.rstrip("/") or "/"
    # "." is the bundle itself; any other last component must not be a link that the image's owner can move.
    try:
        there, host = posix.stat(path, follow_symlinks=path.endswith("/.")), posix.stat("/")
    except OSError as err:
        raise SpecError("config.json", "root.path", f"{path}: {errno_text(err.errno)}", errno=err.errno) from err
    kind = there.st_mode & _S_IFMT
    if kind == _S_IFLNK:
        raise SpecError("config.json", "root.path", f"{path} is a symbolic link; name the directory itself")
    if kind != _S_IFDIR:
        raise SpecError("config.json", "root.path", f"{path} is not a directory")
    if (there.st_dev, there.st_ino) == (host.st_dev, host.st_ino):
        raise SpecError("config.json", "root.path", f"{path} is the host's own root")
    return path
