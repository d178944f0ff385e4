"""A Debian root file system made by debootstrap once and kept under build/."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import apart
from .payload import BUILD
from .requires import mirror

SUITE = "bookworm"


def debian_root() -> Path:
    """Return a cached minimal Debian; made aside and renamed, so that a broken one is never kept."""
    target = BUILD / f"debian-{SUITE}"
    if target.is_dir():
        return target
    BUILD.mkdir(parents=True, exist_ok=True)
    temporary = BUILD / f"debian-{SUITE}.{os.getpid()}"
    try:
        # debootstrap mounts procfs in the root: in a mount namespace that ends with it
        command = ["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase"]
        done = subprocess.run([*apart.outside(), *command, SUITE, temporary, mirror()],
                              capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, f"debootstrap: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
