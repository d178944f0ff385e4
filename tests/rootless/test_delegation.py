"""An ordinary user with a cgroup of its own, to which not every controller comes down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.leaks import SESSION, Snapshot
from helpers.ordinary import UID, UserRuntime, single
from helpers.requires import requires
from helpers.runtime import FAILS, one_line

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "userns", "uidmap", "unified"),
    pytest.mark.rival(runc="its words differ", crun="its words differ", strict=False),
]

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20


@pytest.fixture
def above(leaks: Snapshot) -> Iterator[Path]:
    """Give the cgroup of root that has pids and memory, and hands the user's below it memory alone."""
    (ROOT / "cgroup.subtree_control").write_text("+memory +pids", encoding="ascii")
    top = ROOT / f"{SESSION}-above"
    session = top / "mine" / "session"
    session.mkdir(parents=True)
    (top / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
    for directory in (top / "mine", session):
        for path in (directory, *(directory / f"cgroup.{name}" for name in ("procs", "threads", "subtree_control"))):
            os.chown(path, UID, UID)
    yield top
    for directory in (session, top / "mine", top):
        directory.rmdir()


@pytest.fixture
def delegated(above: Path, rootless: UserRuntime) -> UserRuntime:
    """Give the runtime as the user calls it from a cgroup of its own."""
    rootless.before = (f"echo 0 > {above}/mine/session/cgroup.procs",)
    return rootless


def test_a_controller_that_comes_down_limits(delegated, above, bundle):
    box = single(bundle(["/payload", "pause"]))
    box.linux["resources"] = {"memory": {"limit": 64 * MIB}}
    pid = delegated.start_container(box)
    place = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").strip().removeprefix("0::/")
    assert (ROOT / place).parent == above / "mine"
    assert (ROOT / place / "memory.max").read_text(encoding="ascii").strip() == str(64 * MIB)


@pytest.mark.parametrize(("resources", "limit", "controller", "repair"), [
    ({"pids": {"limit": 5}}, "pids", "pids", "Delegate=cpu cpuset io memory pids"),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "huge page", "hugetlb", "run as root"),
])
def test_one_that_does_not_is_refused_with_who_keeps_it_and_what_repairs_it(delegated, above, bundle, resources, limit,
                                                                            controller, repair):
    box = single(bundle())
    box.linux["resources"] = resources
    words = one_line(delegated.create(box, rc=FAILS))
    keeper = above if controller == "pids" else ROOT
    assert f"cannot set {limit} limit" in words
    assert f"enable controller {controller} in {keeper}/cgroup.subtree_control: {keeper} belongs to uid 0" in words
    assert f"and we are uid {UID}; " in words and repair in words
    assert not delegated.exists(box)
    assert not (above / "mine" / box.id).exists()


def test_an_update_of_devices_is_told_to_change_none(delegated, bundle):
    box = single(bundle(["/payload", "pause"]))
    delegated.start_container(box)
    file = box.path / "limits.json"
    file.write_text('{"devices": [{"allow": true, "type": "c", "major": 1, "access": "r"}]}', encoding="ascii")
    file.chmod(0o644)
    assert "update leaves device rules as they are" in one_line(delegated.call("update", "-r", str(file), box.id))


def test_doctor_names_who_keeps_a_controller(delegated, above):
    document = delegated.call("doctor", "--json", rc=None).json
    [found] = [finding for finding in document["findings"] if finding["subject"] == "cgroup delegation"]
    assert found["status"] == "missing"
    assert " does not hand the " in found["detail"] and " belongs to uid 0" in found["detail"]
    assert "user@.service.d/delegate.conf" in found["repair"]
