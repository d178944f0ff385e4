"""One build at a time in one tree: two would write the same generated files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def build_lock() -> Iterator[None]:
    """Hold build/.lock exclusively."""
    os.makedirs("build", exist_ok=True)
    with open("build/.lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
