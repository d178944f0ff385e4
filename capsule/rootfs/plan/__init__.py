"""Config → what S2 does to make the container's root file system. Runs in R; makes no kernel call.

A plan is two lists, before and after the change of root, of operations that are plain data.
"""

from __future__ import annotations

from capsule.errors import SpecError, Unsupported
from capsule.rootfs import cgroupfs, console as consoles, devices, masks, mounts as mount_operations, operations
from capsule.rootfs.operations import Operation
from capsule.rootfs.plan.mounts import Planner, clean

_MS_REC = 1 << 14
_MS_UNBINDABLE = 1 << 17
_MS_PRIVATE = 1 << 18
_MS_SLAVE = 1 << 19
_MS_SHARED = 1 << 20
_PROPAGATION = {"shared": _MS_SHARED, "slave": _MS_SLAVE, "private": _MS_PRIVATE, "unbindable": _MS_UNBINDABLE}


class RootfsPlan:
    """The root's host path and the operations on it; `prepare`, then the change of root, then `finish`.

    `idmaps`: the (uid mappings, gid mappings) that operations refer to; empty ones are the container's own.
    """

    __slots__ = ("rootfs_path", "prepare", "finish", "idmaps")

    def __init__(
        self, rootfs_path: str, prepare: list[Operation], finish: list[Operation], idmaps: list[tuple]
    ) -> None:
        self.rootfs_path = rootfs_path
        self.prepare = prepare
        self.finish = finish
        self.idmaps = idmaps

    def describe(self) -> list[str]:
        """Return one line for each step."""
        steps = [operation.describe() for operation in self.prepare]
        steps.append(f"change root to {self.rootfs_path}")
        return steps + [operation.describe() for operation in self.finish]

    def to_data(self) -> tuple:
        """Return the plan as tuples, strings and numbers."""
        return (
            self.rootfs_path,
            tuple([operation.to_data() for operation in self.prepare]),
            tuple([operation.to_data() for operation in self.finish]),
            tuple(self.idmaps),
        )


def _operation_types() -> dict[str, type]:
    modules = (operations, mount_operations, cgroupfs, devices, consoles, masks)
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Operation):
                found[name] = value
    return found


def from_data(data: tuple) -> RootfsPlan:
    """Rebuild a plan from `RootfsPlan.to_data`."""
    types = _operation_types()
    path, prepare, finish, idmaps = data
    if any([row[0] == "MountOverlay" for row in prepare]):
        from capsule.rootfs import overlay

        types["MountOverlay"] = overlay.MountOverlay
    return RootfsPlan(
        path, [types[row[0]](*row[1:]) for row in prepare], [types[row[0]](*row[1:]) for row in finish], list(idmaps)
    )


def make(
    config,
    *,
    bundle: str,
    in_userns: bool,
    has_mount_ns: bool,
    console: bool,
    cgroup_mounts: list[tuple[str, str, str]],
    no_pivot: bool = False,
    gids: list[tuple[int, int, int]] | tuple = (),
    overlay: dict | None = None,
) -> RootfsPlan:
    """Plan the root file system of a checked config; `gids` is the map of who mounts, empty where there is none.

    `overlay`: the root is no directory but these layers (rootfs.plan.overlay).
    Raises SpecError, MountError, Unsupported.
    """
    if not has_mount_ns:
        _check_shared_tree(config)
    namespaces = tuple([kind for kind, path in config.namespaces])
    planner = Planner(bundle, in_userns, namespaces, cgroup_mounts, config.mount_label, gids)
    for index, mount in enumerate(config.mounts):
        planner.add(mount, f"mounts[{index}]")
    prepare = _root_steps(config, has_mount_ns, no_pivot)
    if overlay is not None:
        from capsule.rootfs.plan import overlay as overlays

        prepare[-1] = overlays.make(overlay, prepare[-1], in_userns=in_userns)
    prepare += planner.prepare
    finish: list[Operation] = []
    if not _brings_dev(config):
        prepare.append(devices.MakeDevices(devices.plan(config.devices), in_userns))
        prepare.append(devices.MakeLinks())
    if console:
        _add_console(config, prepare, finish)
    if config.masked_paths:
        finish.append(masks.MaskPaths(_once(config.masked_paths)))
    if config.readonly_paths:
        finish.append(masks.ReadonlyPaths(_once(config.readonly_paths)))
    if has_mount_ns and config.rootfs_propagation:
        # After the binds above: an unbindable root cannot be their source.
        finish.append(operations.PropagateRoot(_propagation(config.rootfs_propagation)))
    finish += planner.finish
    if config.root_readonly:
        finish.append(operations.ReadonlyRoot())
    return RootfsPlan(_absolute(bundle, config.root_path), prepare, finish, planner.idmaps)


def _check_shared_tree(config) -> None:
    """Without a mount namespace these would change the host's own tree."""
    for name, value in (
        ("rootfsPropagation", config.rootfs_propagation),
        ("maskedPaths", config.masked_paths),
        ("readonlyPaths", config.readonly_paths),
    ):
        if value:
            raise SpecError("config.json", f"linux.{name}", "needs a mount namespace of the container's own")


def _root_steps(config, has_mount_ns: bool, no_pivot: bool) -> list[Operation]:
    """Plan the tree's propagation and the root's own mount."""
    if not has_mount_ns:
        # One mount under all others, so that one lazy unmount removes them (host_tree.restore).
        needed = config.mounts or config.root_readonly
        return [operations.MountRoot(operations.CHROOT) if needed else operations.OpenRoot()]
    word = config.rootfs_propagation
    tree = _propagation(word) if word else _MS_SLAVE | _MS_REC
    if tree & _MS_UNBINDABLE:
        tree = _MS_SLAVE | _MS_REC  # the root is still to be bound onto itself
    if no_pivot and tree & _MS_PRIVATE:
        raise Unsupported("rootfsPropagation", word or "", "private is not safe without pivot_root")
    parent = 0
    if tree & _MS_SHARED:
        parent = _MS_PRIVATE
    elif tree != _MS_SLAVE | _MS_REC:
        parent = _MS_SLAVE  # a shared parent becomes a slave; a slave or private one stays what it is
    switch = operations.MOVE if no_pivot else operations.PIVOT
    return [operations.PrepareTree(tree, parent), operations.MountRoot(switch)]


def _propagation(word: str) -> int:
    """Translate a word of rootfsPropagation; engines also write the recursive forms."""
    recursive = word not in _PROPAGATION and word.startswith("r")
    return _PROPAGATION[word[1:] if recursive else word] | (_MS_REC if recursive else 0)


def _brings_dev(config) -> bool:
    """Tell whether a bind mount brings a whole /dev, which is then left as it is."""
    return any([mount.is_bind() and clean(mount.destination) == "/dev" for mount in config.mounts])


def _add_console(config, prepare: list[Operation], finish: list[Operation]) -> None:
    """Plan the console: of the container's devpts after the pivot, or the host's while it is in sight."""
    has_devpts = any([clean(mount.destination) in ("/dev/pts", "/dev") and (mount.type == "devpts" or mount.is_bind())
                      for mount in config.mounts])  # fmt: skip
    step = consoles.OpenConsole(not has_devpts, config.process.uid, config.process.console_size)
    (finish if has_devpts else prepare).append(step)


def _once(paths: list[str]) -> tuple[str, ...]:
    """Return the paths cleaned, each only the first time."""
    return tuple(dict.fromkeys([clean(path) for path in paths]))


def _absolute(bundle: str, path: str) -> str:
    """Return the root's host path; a trailing slash would make open(2) follow a link there."""
    full = path if path.startswith("/") else f"{bundle}/{path}"
    return "/" + "/".join([part for part in full.split("/") if part and part != "."])
