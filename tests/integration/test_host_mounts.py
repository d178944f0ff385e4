"""A container without a mount namespace mounts in the caller's: at its end the tree is as it was."""

from __future__ import annotations

import subprocess

import pytest
from helpers import process, stops
from helpers.payload import parse_mountinfo
from helpers.requires import requires, variant
from helpers.runtime import FAILS, Runtime

pytestmark = requires("root", "runtime", "busybox", "gcc")


@pytest.fixture
def box(bundle):
    """Give a bundle that shares the caller's mount namespace, with mounts below its root."""
    made = bundle(["/payload", "pause"]).without_namespace("mount")
    made.linux["maskedPaths"] = made.linux["readonlyPaths"] = []
    yield made
    while points(made):
        subprocess.run(["umount", "-l", made.rootfs], check=True)


def points(box):
    """Return the mount points of the caller's tree that lie in a bundle."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        found = [entry["point"] for entry in parse_mountinfo(file.read())]
    return [point for point in found if point.startswith(str(box.path))]


@pytest.mark.parametrize("flags", [[], ["--force"]], ids=["delete", "force"])
def test_delete_unmounts(capsule, box, flags):
    capsule.create(box)
    assert f"{box.rootfs}/dev/pts" in points(box)
    capsule.delete(box, *flags)
    assert points(box) == []


def test_a_foreground_run_unmounts(capsule, box):
    capsule.run(box.args("/payload", "exit", "3"), rc=3)
    assert points(box) == []


def test_a_failed_create_unmounts(capsule, box):
    capsule.create(box.args("/none"), rc=FAILS)
    assert points(box) == []


@requires("stop")
@pytest.mark.parametrize("name", ["mounted", "r-recorded", "r-ready"])
def test_a_killed_create_is_unmounted_by_force(capsule, box, workdir, name):
    (workdir / "stops").mkdir()
    stopping = Runtime([str(variant("stop"))], capsule.root, workdir / "stops")
    stopped = stops.stop_at(stopping, name, *stopping.words_for("create", box))
    stopped.running.stop()
    if not stopped.is_runtime and process.state(stopped.pid) == "T":
        stopped.proceed()
    assert points(box)
    capsule.delete(box, "--force")
    assert points(box) == []
    process.reap_orphans()


def test_a_mount_that_was_on_the_root_before_stays(capsule, box):
    """As an engine's overlay is; after a record that was damaged, too."""
    subprocess.run(["mount", "--bind", box.rootfs, box.rootfs], check=True)
    for damage in (False, True):
        pid = capsule.start_container(box)
        if damage:
            (capsule.root / box.id / "state.json").write_bytes(b"")
        capsule.delete(box, "--force")
        assert not process.is_alive(pid)
        assert points(box) == [str(box.rootfs)]
