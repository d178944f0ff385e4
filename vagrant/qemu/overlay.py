"""A guest's changes to its disk: a qcow2 image over it, in a file that has no name.

QEMU's own `snapshot=on` makes a file with a name and removes it a moment later; one that is killed then leaves it.
docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from typing import BinaryIO

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_MAPPED_BY_L2 = _CLUSTER // 8 * _CLUSTER  # bytes of the disk that an entry of the first table stands for
_HEADER = ">4sIQIIQIIQQIIQQQQII"
_BACKING_FORMAT = 0xE2792ACA
_REFCOUNT_BITS_LOG2 = 4


def make(disk: Path) -> BinaryIO:
    """Return an image without changes over a raw disk. It goes when the last descriptor of it is closed."""
    size = disk.stat().st_size
    extension = struct.pack(">II8sII", _BACKING_FORMAT, 3, b"raw", 0, 0)
    name = str(disk.resolve()).encode()
    head_size = struct.calcsize(_HEADER)
    # Clusters: the header, the table of reference counts, their one block, then the first table, empty.
    header = struct.pack(_HEADER, b"QFI\xfb", 3, head_size + len(extension), len(name), _CLUSTER_BITS, size, 0,
                         -(-size // _MAPPED_BY_L2), 3 * _CLUSTER, _CLUSTER, 1, 0, 0, 0, 0, 0, _REFCOUNT_BITS_LOG2,
                         head_size)
    clusters = 3 + -(-(-(-size // _MAPPED_BY_L2) * 8) // _CLUSTER)
    # As QEMU does, not in /tmp, which may be memory.
    file = tempfile.TemporaryFile(dir=os.environ.get("TMPDIR", "/var/tmp"))
    file.write(header + extension + name)
    file.seek(_CLUSTER)
    file.write(struct.pack(">Q", 2 * _CLUSTER))
    file.seek(2 * _CLUSTER)
    file.write(struct.pack(">H", 1) * clusters)
    file.truncate(clusters * _CLUSTER)
    file.flush()
    return file
