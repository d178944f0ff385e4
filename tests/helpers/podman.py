"""podman with storage of its own, in a mount namespace of its own, on the runtime under test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import process
from .payload import parse_mountinfo
from .runtime import DEADLINE
from .wait import wait_until


def _parents() -> list[Path]:
    """Return where podman puts the group above its containers, in every cgroup hierarchy."""
    points = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return [Path(entry["point"]) / "libpod_parent" for entry in parse_mountinfo(points)
            if entry["type"] in ("cgroup", "cgroup2")]


class Podman:
    """podman commands that share one storage; nothing outlives `close`."""

    def __init__(self, runtime: Sequence[str], directory: Path) -> None:
        self.directory = directory
        self.wrapper = directory / "runtime" / "capsule"
        self.wrapper.parent.mkdir()
        self._wrap(runtime)
        self.argv = ["podman", "--runtime", str(self.wrapper), "--cgroup-manager", "cgroupfs",
                     "--root", str(directory / "root"), "--runroot", str(directory / "run"),
                     "--tmpdir", str(directory / "tmp"), "--events-backend", "file",
                     "--storage-driver", "vfs", "--log-level", "error"]
        self._configure()
        self._parents = [path for path in _parents() if not path.exists()]
        self._holder = self._hold()

    def _configure(self) -> None:
        """Ask for small limits: podman's defaults need CAP_SYS_RESOURCE, which not every root has."""
        (self.directory / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n')

    def _wrap(self, runtime: Sequence[str]) -> None:
        """Put the runtime and a state root of its own behind one path, as podman takes no arguments."""
        words = " ".join(f"'{word}'" for word in [*runtime, "--root", str(self.directory / "state")])
        self.wrapper.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        self.wrapper.chmod(0o755)

    def _hold(self) -> subprocess.Popen:
        """Keep a mount namespace alive, so that podman's mounts are never the host's."""
        holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "infinity"],
                                  stdin=subprocess.DEVNULL)
        process.own(holder.pid)
        wait_until(lambda: os.readlink(f"/proc/{holder.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"))
        return holder

    def start(self, *words: str, **how: object) -> subprocess.Popen:
        """Start a command inside the mount namespace."""
        argv = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--", *self.argv, *words]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "TMPDIR": str(self.directory),
               "XDG_RUNTIME_DIR": str(self.directory),
               "CONTAINERS_CONF": str(self.directory / "containers.conf")}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started = subprocess.Popen(argv, env=env, **{**pipes, **how})  # type: ignore[call-overload]
        process.own(started.pid)
        return started

    def call(self, *words: str, rc: int | None = 0, timeout: float = 3 * DEADLINE) -> tuple[str, str]:
        """Run a command to its end and return what it printed; compare its exit status."""
        started = self.start(*words)
        try:
            out, err = started.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            started.kill()
            out, err = started.communicate()
            raise AssertionError(f"podman {words} hangs:\n{out!r}\n{err!r}") from None
        finally:
            process.disown(started.pid)
        if rc is not None:
            assert started.returncode == rc, f"podman {words}: {started.returncode}, not {rc}\n{err.decode()}"
        return out.decode(), err.decode()

    def monitors(self) -> list[int]:
        """Return the conmon processes of this storage."""
        return self._processes(b"conmon")

    def _processes(self, word: bytes) -> list[int]:
        found = []
        for pid in process.all_pids():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if word in words and str(self.directory).encode() in words:
                found.append(pid)
        return found

    def close(self) -> None:
        """Remove every container and end what is left, by pid."""
        self.call("rm", "--all", "--force", "--time", "0", rc=None)
        # A monitor that ends starts `podman container cleanup`, which goes on writing to the storage by itself.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._processes(b"podman") and not self.monitors(), DEADLINE)
        for pid in self.monitors():
            process.end(pid)
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()
        process.disown(self._holder.pid)
        process.reap_orphans()
        self._remove_parents()

    def _remove_parents(self) -> None:
        """Remove the groups that podman leaves after its last container, unless another podman is in them."""
        for parent in self._parents:
            for group in (parent / "conmon", parent):
                with contextlib.suppress(OSError):
                    group.rmdir()
