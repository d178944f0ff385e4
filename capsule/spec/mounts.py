"""`mounts` of config.json. runtime-spec config.md#mounts, config.md#linux-mounts."""

from __future__ import annotations

from capsule.errors import Unsupported
from capsule.spec.check import problem, required
from capsule.spec.model import Mount
from capsule.spec.mount_options import PROPAGATION_WORDS, UNSUPPORTED_WORDS, parse_options


def build_mounts(items: list[dict]) -> list[Mount]:
    """Make the mounts of a checked list, in its order."""
    return [_mount(item, f"mounts[{index}]") for index, item in enumerate(items)]


def _mount(item: dict, where: str) -> Mount:
    mount = Mount(
        required(item, "destination", where), item.get("type") or None, item.get("source") or None, item.get("options")
    )
    for word in UNSUPPORTED_WORDS:
        if word in mount.options:
            raise Unsupported(
                "config.json", f"{where}.options[{mount.options.index(word)}]", f"this version has no {word} mounts"
            )
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
