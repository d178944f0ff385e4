"""`mounts` of config.json. runtime-spec config.md#mounts, config.md#linux-mounts."""

from __future__ import annotations

from capsule.spec.check import problem, required
from capsule.spec.model import Mount
from capsule.spec.mount_options import IDMAP_WORDS, PROPAGATION_WORDS, parse_options
from capsule.spec.namespaces import id_mappings


def build_mounts(items: list[dict], has_userns: bool) -> list[Mount]:
    """Make the mounts of a checked list, in its order."""
    return [_mount(item, f"mounts[{index}]", has_userns) for index, item in enumerate(items)]


def _mount(item: dict, where: str, has_userns: bool) -> Mount:
    mount = Mount(
        required(item, "destination", where), item.get("type") or None, item.get("source") or None, item.get("options")
    )
    _take_mappings(mount, item, where, has_userns)
    if mount.is_bind():
        if mount.source is None:
            raise problem(f"{where}.source", "is required for a bind mount")
        parse_options(mount.options, True, where=f"{where}.options")
    elif mount.type is None and not _changes_only(mount.options):
        raise problem(f"{where}.type", 'is required without a "bind", "rbind" or "remount" option')
    return mount


def _changes_only(options: list[str]) -> bool:
    """Tell whether the options change a mount that is there and so need no file system type."""
    if "remount" in options:
        return True
    return bool(options) and all(word in PROPAGATION_WORDS for word in options)


def _take_mappings(mount: Mount, item: dict, where: str, has_userns: bool) -> None:
    """Fill the mappings of a mount's ids; the words idmap and ridmap alone mean the container's own."""
    for name, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if item.get(name) and not item.get(other):
            raise problem(f"{where}.{other}", f"is required beside {name}")
    mount.uid_mappings = id_mappings(item.get("uidMappings", []), f"{where}.uidMappings")
    mount.gid_mappings = id_mappings(item.get("gidMappings", []), f"{where}.gidMappings")
    if mount.uid_mappings:
        return
    for index, word in enumerate(mount.options):
        if word in IDMAP_WORDS and not has_userns:
            cause = f"{word} needs uidMappings and gidMappings, of this mount or of a user namespace of the container"
            raise problem(f"{where}.options[{index}]", cause)
