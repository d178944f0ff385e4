"""The initial file system: an archive in the kernel's "newc" format (Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterator
from pathlib import Path


def pack(target: Path, early: Path, init: Path) -> None:
    """Write busybox, the modules of `early` in their order, and `init`."""
    with gzip.open(target, "wb", compresslevel=6) as file:
        for number, (name, mode, content) in enumerate(_entries(early, init), 1):
            file.write(_entry(number, name, mode, content))
        file.write(_entry(0, "TRAILER!!!", 0, b""))


def _entries(early: Path, init: Path) -> Iterator[tuple[str, int, bytes]]:
    for directory in ("bin", "modules"):
        yield directory, stat.S_IFDIR | 0o755, b""
    yield "init", stat.S_IFREG | 0o755, init.read_bytes()
    yield "bin/busybox", stat.S_IFREG | 0o755, (early / "busybox").read_bytes()
    for path in sorted(early.iterdir()):
        if path.name != "busybox":
            yield f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    text = name.encode("ascii") + b"\0"
    # magic, inode, mode, uid, gid, links, mtime, size, device of the file (2), of the node (2), length of the name, sum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(text), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + text
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
