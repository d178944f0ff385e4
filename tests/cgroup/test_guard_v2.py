"""The area in which an exec's program runs until it is moved into the frozen container: it restricts as the container.

The program is free there from its execve until the runtime has seen that: what it opens then, it keeps.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ebpf, process, stops
from helpers.requires import requires, variant
from helpers.runtime import Runtime
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "gcc", "unified", "devbpf")

ROOT = Path("/sys/fs/cgroup")
DENY_ALL = {"allow": False, "access": "rwm"}
EPERM = 1
MIB = 1 << 20


@pytest.fixture
def box(bundle):
    """Give a bundle that may trace and has the kernel's log as a node, which its rules deny."""
    made = bundle(["/payload", "pause"]).capabilities("CAP_SYS_PTRACE", "CAP_SYSLOG")
    made.linux["cgroupsPath"] = f"/{made.id}-cg/leaf"
    made.linux["devices"] = [{"path": "/dev/k", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]
    made.linux["resources"] = {"devices": [DENY_ALL]}
    return made


def reads(capsule, box):
    """Return the errors of ten programs of which each reads the node at once: most do before they are moved."""
    return {capsule.exec(box, "/payload", "try", "read", "/dev/k").json[0]["errno"] for _ in range(10)}


def test_a_program_opens_no_device_before_it_is_in_the_containers_cgroup(capsule, box):
    capsule.start_container(box)
    assert reads(capsule, box) == {EPERM}


def test_a_program_opens_at_once_what_the_rules_allow(capsule, box):
    box.linux["resources"]["devices"] += [{"allow": True, "type": "c", "access": "rwm"},
                                          {"allow": False, "type": "b", "access": "rwm"}]
    capsule.start_container(box)
    assert reads(capsule, box) == {0}


@requires("stop")
def test_the_area_has_the_device_program_and_the_limits(capsule, box, workdir):
    if "hugetlb" not in (ROOT / "cgroup.controllers").read_text(encoding="ascii").split():
        pytest.skip("this kernel has no hugetlb controller on v2")
    box.linux["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 * MIB}]
    capsule.start_container(box)
    (workdir / "stops").mkdir()
    stopping = Runtime([str(variant("stop"))], capsule.root, workdir / "stops")
    stopped = stops.stop_at(stopping, "r-admitting", "exec", box.id, "/payload", "try", "read", "/dev/k")
    area = ROOT / f"{box.id}-cg" / "leaf:exec"
    assert ebpf.attached(str(area)) == ["capsule_device"]
    assert (area / "hugetlb.2MB.max").read_text(encoding="ascii") == f"{4 * MIB}\n"
    wait_until(lambda: {process.state(pid) for pid in process.descendants(stopped.running.pid)} <= {"Z", ""})
    stopped.proceed()
    assert stopped.running.wait().json[0]["errno"] == EPERM
    assert not area.exists()
