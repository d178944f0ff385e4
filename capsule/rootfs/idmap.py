"""How an operation says that the ids of its mount are mapped: an int that fits into the flags of SOURCE.

0: not mapped. Otherwise MAPPED, TREE where all that is mounted below is meant too, and from bit 8 on the number of
the map in `RootfsPlan.idmaps`. runtime-spec config.md#mounts, man 2 mount_setattr.
"""

from __future__ import annotations

RECURSIVE = 1  # of SOURCE itself: with what is mounted below
MAPPED = 2
TREE = 4
_SHIFT = 8


def encode(index: int, tree: bool) -> int:
    """Return the flags for a map."""
    return MAPPED | (TREE if tree else 0) | index << _SHIFT


def index_of(flags: int) -> int:
    """Return the number of the map that flags with MAPPED name."""
    return flags >> _SHIFT
