"""The guest's disk, kernel and initial file system: made once from Debian's packages, kept in a cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from .errors import RigError
from .initramfs import pack

GUEST = Path(__file__).resolve().parents[1] / "guest"
SUITE = "bookworm"
#: The Python of the guest: what is built for another one does not load there.
PYTHON = "cpython-311"
#: All that an image is made from; a change of one makes another image.
RECIPE = (GUEST / "packages", GUEST / "masked", GUEST / "provision", GUEST / "make-root", GUEST / "init",
          Path(__file__).with_name("initramfs.py"))
TOOLS = {"debootstrap": "debootstrap", "mke2fs": "e2fsprogs", "unshare": "util-linux"}
#: Seconds without use after which an image of another recipe is removed.
STALE = 14 * 24 * 3600


class Image(NamedTuple):
    """Paths of what the machine starts from."""

    kernel: Path
    initramfs: Path
    disk: Path


def cache() -> Path:
    """Return the directory of images: CAPSULE_RIG_CACHE, or below the cache directory of the user."""
    named = os.environ.get("CAPSULE_RIG_CACHE")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if os.geteuid() == 0 else os.path.expanduser("~/.cache"))
    return Path(home) / "capsule-rig"


def digest() -> str:
    """Name the recipe."""
    state = hashlib.sha256(SUITE.encode())
    for path in RECIPE:
        state.update(path.read_bytes() + b"\0")
    return state.hexdigest()[:16]


def present() -> bool:
    """Tell whether the image need not be made."""
    return (cache() / digest()).is_dir()


def ensure() -> Image:
    """Return the image, made now if the cache has none. One maker at a time; others wait for it."""
    place = cache() / digest()
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place.parent / ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                _make(place)
                _forget_others(place)
    os.utime(place)
    return Image(place / "vmlinuz", place / "initramfs", place / "disk")


def mirror() -> str:
    """Return the Debian archive: CAPSULE_DEBIAN_MIRROR, or the one that apt uses."""
    named = os.environ.get("CAPSULE_DEBIAN_MIRROR", "")
    if named or not shutil.which("apt-get"):
        return named
    words = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True,
                           check=False).stdout.split()
    return next((word.rstrip("/") for word in words if word.rstrip("/").endswith("/debian")), "")


def _make(place: Path) -> None:
    lacking = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if lacking:
        raise RigError(f"make guest: not installed: {' '.join(lacking)}")
    if os.geteuid() != 0:
        raise RigError("make guest: debootstrap needs root; run `vagrant/rig image` as root with CAPSULE_RIG_CACHE set "
                       "to a directory that you can read")
    source = mirror()
    if not source:
        raise RigError("make guest: no Debian archive is configured: set CAPSULE_DEBIAN_MIRROR")
    print(f"rig: making the guest from {source} (once; about two minutes)", file=sys.stderr, flush=True)
    started = time.monotonic()
    temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    log = place.parent / "make.log"
    try:
        with open(log, "wb") as output:
            done = subprocess.run(
                ["unshare", "--mount", "--propagation", "private", "sh", GUEST / "make-root", temporary, SUITE, source],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise RigError(f"make guest: make-root ended with status {done.returncode}: {_last_line(log)} (log: {log})")
        pack(temporary / "initramfs", temporary / "early", GUEST / "init")
        shutil.rmtree(temporary / "early")
        temporary.chmod(0o755)
        os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"rig: made in {time.monotonic() - started:.0f} s: {place}", file=sys.stderr, flush=True)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def _forget_others(place: Path) -> None:
    """Remove what a killed maker left (it would hold the lock), and images that nobody has used for long."""
    for other in place.parent.iterdir():
        stale = len(other.name) == 16 and time.time() - other.stat().st_mtime > STALE
        if other != place and other.is_dir() and (stale or other.name.startswith(".making-")):
            shutil.rmtree(other, ignore_errors=True)
