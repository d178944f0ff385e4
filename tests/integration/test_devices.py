"""/dev: the default nodes and links, devices of the config, and what the device cgroup allows."""

from __future__ import annotations

import os
import stat

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS

pytestmark = requires("root", "runtime", "busybox", "gcc")

NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
         "tty": (5, 0)}
UNCHECKED = pytest.mark.rival(runc="1.1.5 does not check it")
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
         "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}


@pytest.mark.parametrize("name", NODES)
@pytest.mark.row(58)
def test_a_default_device(capsule, bundle, name):
    (found,) = capsule.attempts(bundle(), "stat", f"/dev/{name}")
    assert stat.S_ISCHR(found["mode"])
    assert stat.S_IMODE(found["mode"]) == 0o666
    assert (found["major"], found["minor"]) == NODES[name]
    assert (found["uid"], found["gid"]) == (0, 0)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.row(58, 59)
def test_a_default_link(capsule, bundle, name):
    (found,) = capsule.attempts(bundle(), "readlink", f"/dev/{name}")
    assert found["text"] == LINKS[name]


@pytest.mark.row(58)
def test_default_devices_work(capsule, bundle):
    box = bundle().shell("head -c 3 /dev/zero | od -An -tx1; echo lost > /dev/null; echo x > /dev/full")
    os.symlink("busybox", box.rootfs / "bin/head")
    os.symlink("busybox", box.rootfs / "bin/od")
    result = capsule.run(box, rc=1)
    assert result.out.split() == ["00", "00", "00"]


@pytest.mark.row(57)
def test_a_device_of_the_config(capsule, bundle):
    box = bundle()
    box.linux["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/deep/er", "type": "u", "major": 1, "minor": 5},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        {"path": "/dev/disk", "type": "b", "major": 7, "minor": 77}]
    mine, deeper, pipe, disk = capsule.attempts(
        box, *(word for name in ("mine", "deep/er", "pipe", "disk") for word in ("stat", f"/dev/{name}")))
    assert (stat.filemode(mine["mode"]), mine["uid"], mine["gid"]) == ("crw-r-----", 3, 4)
    assert (mine["major"], mine["minor"]) == (1, 3)
    assert (deeper["major"], deeper["minor"]) == (1, 5)
    assert stat.filemode(pipe["mode"]) == "prw-------"
    assert stat.S_ISBLK(disk["mode"])
    assert (disk["major"], disk["minor"]) == (7, 77)


@pytest.mark.rival(runc="1.1.5 denies it in the device cgroup then")
@pytest.mark.row(57)
def test_a_default_device_listed_again_is_tolerated(capsule, bundle):
    box = bundle()
    box.linux["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]
    (found,) = capsule.attempts(box, "write", "/dev/null")
    assert found["errno"] == 0


@pytest.mark.parametrize("device", [
    {"path": "/dev/x", "type": "q", "major": 1, "minor": 3},
    pytest.param({"path": "/dev/x", "type": "c", "major": -5, "minor": 3}, marks=UNCHECKED),
    pytest.param({"path": "/dev/x", "type": "c", "major": 2**33, "minor": 3}, marks=UNCHECKED),
    pytest.param({"type": "c", "major": 1, "minor": 3}, marks=UNCHECKED)],
    ids=["type", "negative", "large", "no path"])
def test_a_device_that_cannot_be_is_refused(capsule, bundle, device):
    box = bundle()
    box.linux["devices"] = [device]
    capsule.run(box, rc=FAILS)
    assert not capsule.exists(box)


def test_an_image_with_nodes_of_its_own_needs_no_mount_on_dev(capsule, bundle):
    box = bundle().without_mount("/dev")
    found = capsule.attempts(box, *(word for name in NODES for word in ("stat", f"/dev/{name}")))
    assert [(entry["major"], entry["minor"]) for entry in found] == list(NODES.values())


@requires("userns")
@pytest.mark.row(57, 58)
def test_devices_in_a_user_namespace_are_those_of_the_host(capsule, bundle):
    box = bundle().user_namespace()
    found = capsule.attempts(box, *(word for name in NODES for word in ("stat", f"/dev/{name}")))
    assert [(entry["major"], entry["minor"]) for entry in found] == list(NODES.values())


@requires("cgroup1")
@pytest.mark.row(80)
def test_what_is_not_listed_is_denied(capsule, bundle):
    box = bundle().capabilities("CAP_MKNOD")
    box.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    os.mknod(box.rootfs / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    os.mknod(box.rootfs / "kmsg", stat.S_IFCHR | 0o666, os.makedev(1, 11))
    tried = capsule.attempts(box, "open", "/disk", "open", "/kmsg", "open-rw", "/dev/null")
    assert [entry["errno"] for entry in tried] == [1, 1, 0]


@requires("cgroup1")
@pytest.mark.row(80)
def test_what_is_listed_is_allowed(capsule, bundle):
    box = bundle().capabilities("CAP_SYSLOG")
    box.linux["resources"] = {"devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]}
    os.mknod(box.rootfs / "kmsg", stat.S_IFCHR | 0o666, os.makedev(1, 11))
    tried = capsule.attempts(box, "open", "/kmsg", "write", "/kmsg")
    assert [entry["errno"] for entry in tried] == [0, 1]
