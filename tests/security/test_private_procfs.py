"""The private procfs: what goes through it reaches procfs itself, whatever is mounted on /proc (CVE-2025-52881)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule._ext import mountapi
from capsule.linux import procfs

pytestmark = [requires("root")]
ROOT = Path(__file__).resolve().parents[2]
PROC_SUPER_MAGIC = 0x9FA0


@pytest.fixture
def proc():
    fd = procfs.open_private_proc(False)
    yield fd
    os.close(fd)


def test_it_is_a_procfs_that_nothing_leads_to(proc):
    assert mountapi.fs_type(proc) == PROC_SUPER_MAGIC
    assert procfs.read_beneath(proc, f"{os.getpid()}/comm") == Path("/proc/self/comm").read_bytes()
    assert procfs.read_beneath(proc, "sys/kernel/ostype") == b"Linux\n"


def test_a_subset_has_processes_only():
    fd = procfs.open_private_proc(True)
    try:
        assert procfs.read_beneath(fd, f"{os.getpid()}/comm")
        with pytest.raises(FileNotFoundError):
            procfs.read_beneath(fd, "sys/kernel/ostype")
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("self/comm", errno.ELOOP), ("1/exe", errno.ELOOP), ("1/root/etc/passwd", errno.ELOOP),
        ("../etc/passwd", errno.EXDEV), ("/etc/passwd", errno.EXDEV), ("sys/../../etc/passwd", errno.EXDEV),
    ],
)  # fmt: skip
def test_no_path_leaves_it(proc, path, expected):
    with pytest.raises(OSError) as caught:
        procfs.read_beneath(proc, path)
    assert caught.value.errno == expected


CHILD = """
import os, subprocess, sys
from capsule.linux import procfs
proc = procfs.open_private_proc(False)
subprocess.run(["mount", "--bind", "/proc/sys/fs", "/proc/sys/kernel"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/proc/sys/net"], check=True)
procfs.write_sysctl(proc, "kernel/domainname", "private")
print(procfs.read_beneath(proc, "sys/kernel/domainname").decode(), end="")
late = procfs.open_private_proc(False)
print(procfs.read_beneath(late, "sys/kernel/domainname").decode(), end="")
"""


@pytest.mark.parametrize("wrapper", [[], ["--missing"]], ids=["modern", "legacy"])
def test_what_is_mounted_over_parts_of_proc_is_not_in_the_way(wrapper):
    source = CHILD
    if wrapper:
        deny = "import sys; sys.path.insert(0, 'tests/helpers')\nimport rootfs_child\nrootfs_child.deny(['fsopen'])\n"
        source = deny + CHILD
    done = subprocess.run(
        ["unshare", "-m", "-u", "--propagation", "private", sys.executable, "-c", source], capture_output=True,
        text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "private\nprivate\n"), done.stderr
