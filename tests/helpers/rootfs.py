"""Bundles with hostile roots, a decoy beside them, and rootfs plans carried out in a child's own namespaces."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("rootfs_child.py")

NEW_API = ["open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"]
#: What a kernel, or a filter around us, may lack; every mount test runs once with each.
KERNELS = {"modern": [], "no-openat2": ["openat2"], "no-setattr": ["mount_setattr"], "legacy": [*NEW_API, "openat2"]}

PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]}
PTS = {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
       "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}  # fmt: skip
SYS = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}

IN_MOUNT_NS = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--net", "--propagation", "private"]
#: With a devpts of one's own instead of the host's: as some hosts mount it, and as Debian does.
WITH_DEVPTS = {name: ["unshare", "--mount", "--propagation", "private", "sh", "-euc",
                      f"mount -t devpts -o newinstance,ptmxmode=666{options} devpts /dev/pts\n"
                      "mount --bind /dev/pts/ptmx /dev/ptmx\n"
                      'exec "$@"', "sh"]
               for name, options in (("plain", ""), ("debian", ",mode=620,gid=5"))}
IN_USER_NS: list[str] = []  # the child enters it itself: the interpreter may be out of reach from inside


def without(calls: list[str]) -> list[str]:
    """Return an argv to put before another one, which then finds that system calls of KERNELS are missing."""
    code = f"""
import os, sys
sys.path[:0] = {[str(CHILD.parents[1]), str(ROOT)]!r}
from helpers.rootfs_child import deny
deny(sys.argv[1].split())
os.execv(sys.argv[2], sys.argv[2:])
"""
    return [sys.executable, "-c", code, " ".join(calls)] if calls else []


@contextlib.contextmanager
def bundle_with_decoy() -> Iterator[RootfsBundle]:
    """Yield a bundle that every user may search the way to; fail if the decoy beside it changes."""
    with tempfile.TemporaryDirectory(prefix="capsule-test-") as directory:
        os.chmod(directory, 0o755)
        made = RootfsBundle(Path(directory))
        before = made.decoy_state()
        yield made
        assert made.decoy_state() == before, "something outside the root was changed"


class RootfsBundle:
    """A bundle with an almost empty root, and a decoy directory outside it that nobody may touch."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "bundle"
        self.rootfs = self.path / "rootfs"
        self.rootfs.mkdir(parents=True)
        self.decoy = directory / "decoy"
        self.decoy.mkdir()
        for name in ("ptmx", "console", "null", "core_pattern", "passwd", "fd"):
            (self.decoy / name).write_text(f"decoy {name}\n")
        (self.decoy / "dir").mkdir()
        for name in ("proc", "dev", "sys", "etc", "tmp"):
            (self.rootfs / name).mkdir()

    def replace(self, name: str, target: str | None = None) -> Path:
        """Remove a name of the root and, with a target, put a symbolic link there."""
        path = self.rootfs / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if target is not None:
            path.symlink_to(target)
        return path

    def give_away(self, owner: int = 100000) -> None:
        """Make the root, and what is in it now, the root user's of a user namespace."""
        os.chown(self.rootfs, owner, owner)
        for path in self.rootfs.rglob("*"):
            os.lchown(path, owner, owner)

    def decoy_state(self) -> dict[str, tuple]:
        """Describe everything about the decoy that a runtime could have changed."""
        found = {}
        for path in [self.decoy, *sorted(self.decoy.rglob("*"))]:
            st = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(st.st_mode) else ""
            found[str(path)] = (st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_nlink, content)
        return found

    def run(self, mounts: list[dict] | None = None, probe: str = "", *, within: list[str] = IN_MOUNT_NS,
            linux: dict | None = None, top: dict | None = None, **request: object) -> dict:  # fmt: skip
        """Carry out the plan of a config with these mounts; return the child's answer."""
        config = {
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}, **request.pop("process", {})},
            "mounts": [PROC, DEV, PTS] if mounts is None else mounts,
            "linux": {"namespaces": [{"type": word} for word in ("pid", "mount", "ipc", "network")], **(linux or {})},
            **(top or {}),
        }
        request |= {"config": config, "bundle": str(self.path), "probe": probe}
        request["userns"] = not within or request.get("userns", False)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*within, sys.executable, str(CHILD)], input=json.dumps(request), capture_output=True, text=True,
            env=environment, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"the child failed ({done.returncode}): {done.stderr}")
        return json.loads(done.stdout)
