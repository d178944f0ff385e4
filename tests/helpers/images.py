"""Images of busybox for the tests of the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .bundle import APPLETS
from .runtime import Runtime


def busybox_root(directory: Path, *applets: str) -> Path:
    """Make the root of a small machine: busybox, two users and an extra group; returns it."""
    root = directory / "root"
    for name in ("bin", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy2(str(shutil.which("busybox")), root / "bin" / "busybox")
    for name in dict.fromkeys((*APPLETS, *applets)):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n")
    (root / "etc" / "group").write_text("web:x:1001:\nmore:x:1002:web\n")
    return root


def bring(capsule: Runtime, root: Path, name: str, *changes: str) -> None:
    """Import a directory as an image, with instructions of a Dockerfile."""
    tar = root.with_suffix(".tar")
    subprocess.run(["tar", "-C", root, "-cf", tar, "."], check=True)
    flags = [word for change in changes for word in ("--change", change)]
    capsule.call("image", "import", *flags, tar, name)
    os.unlink(tar)
