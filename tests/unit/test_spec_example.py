"""The example config and the features document agree with what load_config accepts."""

from __future__ import annotations

import json
import os

import pytest
from helpers.config import encoded

from capsule.errors import CapsuleError
from capsule.spec.example import example
from capsule.spec.features import features
from capsule.spec.load import load_config


@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("cgroup_v2", [False, True])
def test_the_example_is_acceptable(rootless: bool, cgroup_v2: bool) -> None:
    config = load_config(json.dumps(example(rootless, cgroup_v2=cgroup_v2)).encode())
    kinds = [kind for kind, _ in config.namespaces]
    assert ("cgroup" in kinds) == cgroup_v2
    assert ("user" in kinds, "network" in kinds) == (rootless, not rootless)


def test_the_example_has_what_its_editors_look_for() -> None:
    tree = example()
    assert tree["process"]["args"] == ["sh"]
    assert tree["process"]["terminal"] is True
    assert sorted(tree["process"]["capabilities"]) == ["bounding", "effective", "permitted"]
    assert tree["root"] == {"path": "rootfs", "readonly": True}
    assert tree["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert [mount["destination"] for mount in tree["mounts"]] == [
        "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]


def test_the_rootless_example_maps_the_caller() -> None:
    tree = example(True)
    assert tree["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert "resources" not in tree["linux"]
    assert "gid=5" not in json.dumps(tree)


def accepted(*edits: tuple[str, object]) -> bool:
    try:
        load_config(encoded(*edits))
    except CapsuleError:
        return False
    return True


@pytest.mark.row("features:mountOptions", "features:hooks", "features:linux.namespaces", "features:linux.seccomp")
def test_features_lists_only_what_is_accepted() -> None:
    tree = features(annotations={"a": "b"})
    linux, seccomp = tree["linux"], tree["linux"]["seccomp"]
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}]
    mount = {"destination": "/x", "type": "tmpfs", "source": "/x", "uidMappings": maps, "gidMappings": maps}
    assert all(accepted(("mounts", [{**mount, "options": [word]}])) for word in tree["mountOptions"])
    assert all(accepted(("hooks", {kind: [{"path": "/x"}]})) for kind in tree["hooks"])
    assert all(accepted(("linux.seccomp", {"defaultAction": word, "listenerPath": "/s"}))
               for word in seccomp["actions"])
    assert all(accepted(("linux.seccomp", {"defaultAction": "SCMP_ACT_LOG", "flags": [word]}))
               for word in seccomp["supportedFlags"])
    assert all(accepted(("linux.seccomp", {"defaultAction": "SCMP_ACT_LOG", "architectures": [word]}))
               for word in seccomp["archs"])
    assert all(accepted(("hostname", ""), ("linux.namespaces", [{"type": kind, "path": "/x"}]))
               for kind in linux["namespaces"])
    assert tree["annotations"] == {"a": "b"}


@pytest.mark.row("features:linux.intelRdt", "features:linux.netDevices", "features:linux.mountExtensions")
def test_features_denies_what_is_refused() -> None:
    linux = features()["linux"]
    assert linux["selinux"]["enabled"] is accepted(("process.selinuxLabel", "l"))
    assert linux["apparmor"]["enabled"] is accepted(("process.apparmorProfile", "p"))
    assert linux["intelRdt"]["enabled"] is accepted(("linux.intelRdt", {"closID": "x"}))
    assert linux["netDevices"]["enabled"] is accepted(("linux.netDevices", {"eth0": {}}))
    assert bool(linux["memoryPolicy"]["modes"]) is accepted(("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0"}))
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["mountExtensions"]["idmap"]["enabled"] is accepted(
        ("mounts.0.options", ["idmap"]), ("mounts.0.uidMappings", maps), ("mounts.0.gidMappings", maps))
    assert ("SCMP_ACT_NOTIFY" in linux["seccomp"]["actions"]) is accepted(
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"}))


@pytest.mark.row("features:hooks", "features:linux.seccomp", "features:linux.lsm", "features:linux.memoryPolicy")
def test_features_list_all_that_a_process_may_ask_for() -> None:
    """Recognised is what counts, whatever this machine has (features-linux.md)."""
    linux = features()["linux"]
    assert features()["hooks"] == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart",
                                   "poststop"]
    assert (linux["apparmor"], linux["selinux"]) == ({"enabled": True}, {"enabled": True})
    seccomp = linux["seccomp"]
    assert (len(seccomp["actions"]), len(seccomp["operators"]), len(seccomp["archs"])) == (9, 7, 23)
    assert seccomp["supportedFlags"] == seccomp["knownFlags"]
    assert {flag.removeprefix("SECCOMP_FILTER_FLAG_") for flag in seccomp["knownFlags"]} == {
        "TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"}
    for mode in linux["memoryPolicy"]["modes"]:
        nodes = {} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"nodes": "0"}
        assert accepted(("linux.memoryPolicy", {"mode": mode, **nodes}))
    assert len(linux["memoryPolicy"]["modes"]) == 7
    for flag in linux["memoryPolicy"]["flags"]:
        assert accepted(("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}))
