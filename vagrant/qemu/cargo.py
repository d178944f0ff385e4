"""What a run takes into the guest and brings back: tar archives in memory that are disks of the machine."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import RigError
from .image import GUEST, PYTHON
from .memory import in_memory

#: What of a .venv serves building and style alone.
NOT_PACKED = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "Cython", "cython", "pyximport", "wheel", "ruff",
              "mypy", "mypyc", "librt", "ast_serialize", "pathspec", "clang", "distutils",
              "xdist", "pytest_xdist", "execnet")
#: What tests run that no Python of the guest can make.
BUILT = ("build/capsule*", "build/tests/payload", "capsule/_ext/*.so")
TREE_SIZE = 512 << 20  # bytes; sparse
IN_GUEST_PYTHON = "/usr/bin/python3"


class Cargo:
    """The archive that the guest unpacks over its root."""

    def __init__(self) -> None:
        self.file = in_memory("rig-in", 0)
        self._tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.GNU_FORMAT)
        self._now = time.time()

    def close(self) -> None:
        """End the archive, in whole blocks of a disk."""
        self._tar.close()
        size = self.file.tell()
        self.file.truncate(size + -size % 512)
        self.file.flush()

    def text(self, name: str, content: str, mode: int = 0o644) -> None:
        """Write a file of the guest."""
        info = tarfile.TarInfo(name.lstrip("/"))
        data = content.encode("utf-8", "surrogateescape")
        info.size, info.mode, info.mtime = len(data), mode, int(self._now)
        self._tar.addfile(info, io.BytesIO(data))

    def put(self, source: Path, name: str) -> None:
        """Take a file or a directory with all in it; everyone in the guest may read it."""
        def shared(info: tarfile.TarInfo) -> tarfile.TarInfo:
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mode |= 0o444 | (0o111 if info.mode & 0o100 or info.isdir() else 0)
            return info
        try:
            self._tar.add(source, arcname=name.lstrip("/"), filter=shared)
        except OSError as error:
            raise RigError(f"put {source}: {error.strerror}") from None

    def scripts(self, settings: dict[str, str], command: list[str], directory: str,
                environment: dict[str, str]) -> None:
        """Write what the guest's own programs read: who runs what, where."""
        for name in ("bare", "session"):
            self.put(GUEST / name, f"opt/rig/{name}")
        for unit in ("capsule-rig.target", "capsule-rig.service"):
            self.put(GUEST / unit, f"etc/systemd/system/{unit}")
        self.text("opt/rig/settings", "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items()))
        words = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in environment.items())
        place = f"cd {shlex.quote(directory)} || exit 125\n"
        self.text("opt/rig/command", f"#!/bin/sh\n{place}{words}exec {shlex.join(command)}\n", 0o755)


def tree_disk(root: Path) -> BinaryIO:
    """Make a disk of a source tree: what git knows, what was built, and the .venv with the guest's Python.

    A disk, since mke2fs unpacks natively what the guest would unpack ten times slower.
    """
    disk = in_memory("rig-tree", TREE_SIZE)
    with tempfile.TemporaryDirectory(prefix="capsule-rig-") as directory:
        stage = Path(directory)
        _stage(root, stage)
        # Whoever made the files, in the guest they are root's.
        as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        argv = [*as_root, "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E",
                "lazy_itable_init=0,root_owner=0:0", "-d", stage, f"/proc/self/fd/{disk.fileno()}"]
        done = subprocess.run(argv, pass_fds=[disk.fileno()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"pack tree: {done.stderr.strip()}")
    return disk


def _stage(root: Path, stage: Path) -> None:
    stage.chmod(0o755)
    for name in _sources(root):
        _copy(root / name, stage / name)
    for pattern in BUILT:
        for path in root.glob(pattern):
            if path.is_file():
                copy = _copy(path, stage / path.relative_to(root))
                os.utime(copy)  # newer than every source beside it
    packages = root / f".venv/lib/python3.{PYTHON[-2:]}/site-packages"
    if not (root / ".venv").is_dir():
        return
    if not packages.is_dir():
        raise RigError(f"pack tree: {root}/.venv has not the guest's Python, 3.{PYTHON[-2:]}: "
                       f"make it anew with PYTHON=python3.{PYTHON[-2:]}, or use --no-tree")
    for path in sorted(packages.iterdir()):
        stem = re.split(r"[-.]", path.name)[0]
        if stem not in NOT_PACKED and not stem.endswith("__mypyc"):  # the name of mypy's library begins with a digest
            _copy(path, stage / path.relative_to(root))
    (stage / ".venv/bin").mkdir()
    (stage / ".venv/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n", encoding="ascii")
    for name in ("python", "python3"):
        (stage / ".venv/bin" / name).symlink_to(IN_GUEST_PYTHON)


def _copy(source: Path, target: Path) -> Path:
    """Copy a file, a link or a directory so that everyone may read it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    elif source.is_dir():
        target.mkdir(exist_ok=True)
        for path in source.iterdir():
            _copy(path, target / path.name)
    else:
        shutil.copy2(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    return target


def _sources(root: Path) -> Iterator[str]:
    """List the files that git does not ignore, and the compiled Python beside them."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root,
                            capture_output=True, check=False)
    if listed.returncode:
        raise RigError(f"pack tree: {root} is no git tree: {listed.stderr.decode(errors='replace').strip()}")
    names = [name for name in map(os.fsdecode, listed.stdout.split(b"\0")) if name and (root / name).is_file()]
    yield from names
    for directory in sorted({os.path.dirname(name) for name in names if name.endswith(".py")}):
        for path in sorted((root / directory / "__pycache__").glob(f"*.{PYTHON}*.pyc")):
            yield str(path.relative_to(root))


def unpack(file: BinaryIO, path: str, target: Path) -> int:
    """Write what the guest archived of `path` into target, as `cp -r` would; return how many files.

    The guest is not trusted: links and other kinds are left out, and no name leaves target.
    """
    wanted = _parts(path)
    written = 0
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                parts = _parts(member.name)
                if parts[:len(wanted)] != wanted or ".." in parts or not (member.isreg() or member.isdir()):
                    continue
                place = target.joinpath(*parts[len(wanted) - 1:])
                (place if member.isdir() else place.parent).mkdir(parents=True, exist_ok=True)
                if member.isreg():
                    content = archive.extractfile(member)
                    assert content is not None  # regular
                    with open(place, "wb") as copy:
                        shutil.copyfileobj(content, copy)
                    written += 1
    except tarfile.TarError as error:
        raise RigError(f"get {path}: {error}") from None
    return written


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
