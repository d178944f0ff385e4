"""Files in memory: what the machine takes for disks, and nothing that could be left behind."""

from __future__ import annotations

import os
from typing import BinaryIO


def in_memory(name: str, size: int) -> BinaryIO:
    """Make a file of size bytes, all holes, that ends with its last descriptor."""
    file = os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "w+b")
    file.truncate(size)
    return file
