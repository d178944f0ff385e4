"""Names that images give machines: Go's GOARCH and its variants (image-spec image-index.md)."""

from __future__ import annotations

import os

from capsule.errors import ImageError

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
}


def machine() -> tuple[str, str]:
    """Return (architecture, variant) of this machine."""
    return _MACHINES.get(os.uname().machine, (os.uname().machine, ""))


def parse(text: str) -> tuple[str, str, str]:
    """Read OS/ARCHITECTURE[/VARIANT]; "" is this machine's.

    Raises ImageError.
    """
    if not text:
        return ("linux", *machine())
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(part.isalnum() for part in parts) or parts[0] != "linux":
        raise ImageError("read platform", repr(text), "it is linux/ARCHITECTURE[/VARIANT]")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""
