"""What people are told of volumes, and the removal of those that nobody needs. Not in the launcher."""

from __future__ import annotations

import datetime
import os

from capsule.errors import CapsuleError
from capsule.linux import trees
from capsule.volume.store import Volumes


def details(volumes: Volumes, record: dict) -> dict:
    """Return all that is known of a volume, but for its size, which takes long."""
    name = record["name"]
    created = datetime.datetime.fromtimestamp(record["created"], datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"name": name, "type": "tmpfs" if record["tmpfs"] else "directory", "created": created,
            "labels": record["labels"], "options": record["tmpfs"], "anonymous": record["anonymous"],
            "mountpoint": "" if record["tmpfs"] else volumes.path(name), "containers": volumes.holders(name)}


def size(volumes: Volumes, name: str) -> int:
    """Return the bytes that a volume takes on the disk. Raises OSError."""
    fd = trees.open_directory(volumes.path(name))
    try:
        return tree_size(fd)
    finally:
        os.close(fd)


def tree_size(top_fd: int) -> int:
    """Return the bytes that all below a directory takes; a file with several names counts once. Raises OSError."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for _, _, _, info in trees.walk(top_fd):
        if (info.st_dev, info.st_ino) not in seen:
            seen.add((info.st_dev, info.st_ino))
            total += info.st_blocks * 512
    return total


def prune(volumes: Volumes, *, all_unused: bool) -> tuple[list[str], int]:
    """Remove the anonymous volumes, or all, that no container has, and what dead makers left.

    Returns (names, bytes freed). Raises VolumeError.
    """
    volumes.sweep()
    removed, freed = [], 0
    for name in volumes.names():
        try:
            if volumes.holders(name) or not (all_unused or volumes.load(name)["anonymous"]):
                continue
            bytes = size(volumes, name)
            volumes.remove(name)
        except (CapsuleError, OSError):
            continue  # a container has just taken it, or nobody can read it: `system check` tells
        removed.append(name)
        freed += bytes
    return removed, freed
