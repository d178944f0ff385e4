"""Device programs in the kernel: attached to v2 cgroups of this test, and probed by a process in them.

Needs a mounted cgroup2 only, also one beside v1.
"""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ebpf
from helpers.leaks import SESSION

from capsule._ext import devbpf
from capsule.cgroups import layout
from capsule.cgroups.v2 import devices
from capsule.errors import CgroupError

pytestmark = pytest.mark.requires("root", "cgroup2", "devbpf")

DENY_ALL = {"allow": False, "access": "rwm"}
KMSG = (1, 11)
_numbers = itertools.count(1)


def rule(allow: bool, numbers: tuple[int, int], access: str) -> dict:
    return {"allow": allow, "type": "c", "major": numbers[0], "minor": numbers[1], "access": access}


def unified_root() -> str:
    for hierarchy in layout.detect(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()):
        if hierarchy.controllers == [layout.UNIFIED]:
            return hierarchy.mount_point
    raise AssertionError("no cgroup2")


@pytest.fixture
def cgroup(leaks: object) -> Iterator[str]:
    """Give a v2 cgroup that is the test's own."""
    directory = f"{unified_root()}/{SESSION}-device{next(_numbers)}"
    os.mkdir(directory)
    yield directory
    os.rmdir(directory)


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    """Give a directory with nodes that anybody could read without the filter."""
    for name, minor in (("mem_null", 3), ("mem_zero", 5), ("mem_full", 7)):
        os.mknod(tmp_path / name, 0o020666, os.makedev(1, minor))
    os.mknod(tmp_path / "misc", 0o020666, os.makedev(10, 1000))
    return tmp_path


def inside(cgroup: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in the cgroup."""
    return subprocess.run(["sh", "-c", f"echo 0 > {cgroup}/cgroup.procs; {script}"], capture_output=True, text=True,
                          check=False)


@pytest.mark.row(80)
def test_a_program_denies_and_allows(cgroup: str, nodes: Path) -> None:
    devices.apply(cgroup, [DENY_ALL])
    # zero is one of the defaults; a number that nobody has is told from a denied one by its error
    assert inside(cgroup, f"head -c1 {nodes}/mem_zero").returncode == 0
    assert "Operation not permitted" in inside(cgroup, f": < {nodes}/misc").stderr
    devices.apply(cgroup, [DENY_ALL, rule(True, (10, 1000), "r")])
    assert "Operation not permitted" not in inside(cgroup, f": < {nodes}/misc").stderr
    assert "Operation not permitted" in inside(cgroup, f": > {nodes}/misc").stderr


@pytest.mark.row(80)
def test_a_device_that_can_be_read_without_the_filter_cannot_with_it(cgroup: str) -> None:
    assert inside(cgroup, ": < /dev/kmsg").returncode == 0
    devices.apply(cgroup, [DENY_ALL])
    assert "Operation not permitted" in inside(cgroup, ": < /dev/kmsg").stderr
    devices.apply(cgroup, [DENY_ALL, rule(True, KMSG, "rw"), rule(False, KMSG, "w")])
    assert inside(cgroup, ": < /dev/kmsg").returncode == 0
    assert "Operation not permitted" in inside(cgroup, ": > /dev/kmsg").stderr


@pytest.mark.row(80)
def test_nodes_can_be_made_but_not_where_a_rule_denies_it(cgroup: str, tmp_path: Path) -> None:
    devices.apply(cgroup, [DENY_ALL])
    assert inside(cgroup, f"mknod {tmp_path}/made b 7 200").returncode == 0


@pytest.mark.row(80)
def test_programs_are_replaced_never_stacked(cgroup: str) -> None:
    for _ in range(5):
        devices.apply(cgroup, [DENY_ALL, rule(True, KMSG, "r")])
    assert ebpf.attached(cgroup) == ["capsule_device"]


def test_replacing_never_leaves_a_gap(cgroup: str) -> None:
    """A reader that would see a moment without a program, or with the old one beside a wider one, fails."""
    devices.apply(cgroup, [DENY_ALL, rule(True, KMSG, "r")])
    reader = subprocess.Popen(
        ["sh", "-c", f"echo 0 > {cgroup}/cgroup.procs; echo ready; "
         "while true < /dev/kmsg && ! true 2>/dev/null > /dev/kmsg; do :; done; echo gap"],
        stdout=subprocess.PIPE, text=True)
    try:
        assert reader.stdout is not None  # for the type checker
        assert reader.stdout.readline() == "ready\n"
        for turn in range(200):
            devices.apply(cgroup, [DENY_ALL, rule(True, KMSG, "r"), rule(True, (10, turn), "r")])
        assert reader.poll() is None
    finally:
        reader.kill()
        rest = reader.communicate()[0]
    assert "gap" not in rest


def attach(cgroup: str, program_fd: int) -> int:
    directory_fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return devbpf.attach(directory_fd, program_fd)
    finally:
        os.close(directory_fd)
        os.close(program_fd)


def test_a_program_of_somebody_else_stays_and_both_decide(cgroup: str) -> None:
    attach(cgroup, ebpf.load("somebody", allow=False))
    for _ in range(2):
        devices.apply(cgroup, [{"allow": True, "access": "rwm"}])
        assert ebpf.attached(cgroup) == ["somebody", "capsule_device"]
    assert "Operation not permitted" in inside(cgroup, ": < /dev/kmsg").stderr


def test_several_of_ours_become_one(cgroup: str) -> None:
    for _ in range(2):
        attach(cgroup, ebpf.load("capsule_device", allow=False))
    assert ebpf.attached(cgroup) == ["capsule_device"]
    devices.apply(cgroup, [{"allow": True, "access": "rwm"}])
    assert ebpf.attached(cgroup) == ["capsule_device"]
    assert inside(cgroup, ": < /dev/kmsg").returncode == 0


def test_a_program_the_verifier_refuses_comes_with_its_words() -> None:
    with pytest.raises(OSError) as caught:
        devbpf.load(bytes.fromhex("9500000000000000"))  # ends without a verdict
    assert caught.value.errno in (errno.EACCES, errno.EINVAL)
    assert "R0" in caught.value.filename


def test_the_error_names_the_cgroup(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=f"attach the device program to {tmp_path}"):
        devices.apply(str(tmp_path), [DENY_ALL])
