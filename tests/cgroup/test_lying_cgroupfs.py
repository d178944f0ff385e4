"""A cgroup file system that is not one, or not to be written to: create says so, and no limit is lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import world
from helpers.requires import requires
from helpers.runtime import FAILS, Runtime, one_line

pytestmark = requires("root", "runtime", "gcc")

ROOT = Path("/sys/fs/cgroup")


@pytest.fixture
def scene(capsule):
    """Give a maker of the runtime under test behind a script, in a mount namespace of its own."""
    def behind(script: str) -> Runtime:
        capsule.argv[:0] = ["unshare", "-m", "sh", "-ec", f'mount --make-rprivate /; {script}; exec "$@"', "sh"]
        return capsule
    return behind


def hierarchy() -> Path:
    return ROOT / "pids" if world.hierarchy() == "v1" else ROOT


def test_a_file_system_over_the_containers_cgroup_is_refused(scene, bundle, leaks):
    box = bundle(["/bin/true"])
    box.linux["cgroupsPath"] = f"/{box.id}"
    directory = hierarchy() / box.id
    directory.mkdir()
    files = "pids.max tasks cgroup.procs cgroup.events cgroup.controllers cgroup.subtree_control"
    try:
        capsule = scene(f"mount -t tmpfs lying {directory}; cd {directory}; : > pids.current; touch {files}; cd /")
        line = one_line(capsule.create(box, rc=FAILS))
        assert f"create cgroup {directory}: another file system is mounted there" in line
    finally:
        directory.rmdir()
    leaks.check()


def test_a_file_system_over_a_parent_is_refused(scene, bundle, leaks):
    box = bundle(["/bin/true"])
    box.linux["cgroupsPath"] = f"/{box.id}/leaf"
    parent = hierarchy() / box.id
    parent.mkdir()
    try:
        line = one_line(scene(f"mount -t tmpfs lying {parent}").create(box, rc=FAILS))
        assert f"create cgroup {parent}/leaf: another file system is mounted there" in line
    finally:
        parent.rmdir()
    leaks.check()


def test_a_cgroup_file_system_that_cannot_be_written_to_is_refused(scene, bundle, leaks):
    box = bundle(["/bin/true"])
    box.linux["cgroupsPath"] = f"/{box.id}"
    line = one_line(scene(f"mount -o remount,ro,bind {hierarchy()}").create(box, rc=FAILS))
    assert f"create cgroup {hierarchy() / box.id}: read-only file system" in line
    leaks.check()


@pytest.mark.parametrize("rules", [[], [{"allow": True, "access": "rwm"}]])
def test_without_a_cgroup_root_is_told_that_devices_are_not_restricted(capsule, bundle, rules):
    box = bundle(["/bin/true"])
    box.linux["resources"] = {"devices": rules}
    err = capsule.call("--cgroup-manager=disabled", *capsule.words_for("run", box)).err
    assert "access to devices is not restricted: the container has no cgroup" in err


def test_without_a_cgroup_rules_that_deny_are_refused(capsule, bundle):
    box = bundle(["/bin/true"])
    box.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    line = one_line(capsule.call("--cgroup-manager=disabled", *capsule.words_for("run", box), rc=FAILS))
    assert "cannot restrict devices: the container has no cgroup" in line
    assert not capsule.exists(box)
