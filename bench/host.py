"""The machine that is measured: a mount namespace of our own, and what to print about it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), what)


def private_mounts() -> None:
    """Enter a mount namespace of our own, where nothing that we mount is the host's."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS), "unshare")
    _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount / private")


def hide_hybrid() -> bool:
    """Mount the hugetlb controller as version 1 where it sits in version 2 beside version 1.

    crun 1.8 refuses such a host. Tells whether it was mounted; `show_hybrid` takes it back.
    """
    unified = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    target = Path("/sys/fs/cgroup/hugetlb")
    if not unified.exists() or "hugetlb" not in unified.read_text().split():
        return False
    target.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", target], check=False)
    return done.returncode == 0


def show_hybrid() -> None:
    """Give the hugetlb controller back to version 2."""
    target = Path("/sys/fs/cgroup/hugetlb")
    for directory, _, _ in sorted(os.walk(target), reverse=True):
        if directory != str(target):
            os.rmdir(directory)
    subprocess.run(["umount", target], check=False)
    target.rmdir()


def facts() -> dict:
    """Return what a reader needs to know about the machine."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    return {"kernel": platform.release(), "cpu": cpu, "cpus": os.cpu_count(),
            "virtual": Path("/sys/hypervisor").exists() or "hypervisor" in Path("/proc/cpuinfo").read_text(),
            "cgroups": "hybrid" if Path("/sys/fs/cgroup/unified").exists() else
            "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"}


def version(program: str) -> str:
    """Return the first line of a runtime's --version."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [f"{program}: {done.returncode}"])[0]


def find(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
