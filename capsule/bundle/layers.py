"""Where the changes of a container go: directories of its own, which outlive its runs, or a tmpfs that does not."""

from __future__ import annotations

import posix

from capsule._ext import proc
from capsule.bundle import host
from capsule.bundle.containers import Record
from capsule.linux import trees

BUILT_IN = "host"


def draw_host(place: str, record: Record) -> tuple[dict, dict]:
    """Return (config.json as a tree, the overlay) over this machine; `place` is the container's directory.

    Done anew for each run: what is secret may have changed since the last. Raises CapsuleError.
    """
    wish = host.Wish(record.command, "/")
    wish.upper = place if record.is_kept else ""
    tree, overlay, stacks = host.draw(wish)
    overlay["bases"] = [base for base, _ in stacks]
    return tree, overlay


def prepare(place: str, record: Record, drawn: dict | None) -> dict:
    """Make the directories of a run; returns its overlay, as rootfs.plan.overlay takes it.

    drawn: the overlay of draw_host, where it has been drawn already. Raises CapsuleError, OSError.
    """
    if record.image == BUILT_IN:
        overlay = drawn if drawn is not None else draw_host(place, record)[1]
    else:
        overlay = dict(record.overlay)
    if record.is_kept:
        overlay["upper"], overlay["work"] = f"{place}/upper0", f"{place}/work0"
        # Layers that outlive the run must outlive a crash of the machine as well.
        overlay["volatile"] = record.remove
        for index, base in enumerate(overlay.get("bases") or overlay["lower"][-1:]):
            _make(place, index, base)
    return overlay


def _make(place: str, index: int, base: str) -> None:
    """Make an upper layer with the owner and mode that the root of an overlay shows."""
    upper = f"{place}/upper{index}"
    if posix.access(upper, posix.F_OK):
        return
    trees.make(f"{place}/work{index}")
    info = posix.stat(base)
    # It gets its name last: one that is there is whole, whatever died.
    fresh = f"{place}/.upper{index}"
    trees.remove(fresh)
    trees.make(fresh)
    posix.chown(fresh, info.st_uid, info.st_gid)
    posix.chmod(fresh, info.st_mode & 0o7777)
    proc.stop_point("engine-upper-made")
    posix.rename(fresh, upper)


def are_there(place_fd: int) -> bool:
    """Tell whether a container's directory has any of them. Raises OSError."""
    return any([trees.is_directory(trees.lstat(name, place_fd)) for name in posix.listdir(place_fd)])


def remove(place_fd: int) -> None:
    """Remove the directories of a container's directory, with whatever is in them. Raises OSError."""
    for name in posix.listdir(place_fd):
        if trees.is_directory(trees.lstat(name, place_fd)):
            trees.remove(name, place_fd)
