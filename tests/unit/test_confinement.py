"""--security-opt and --device: words to a config."""

import pytest

from capsule.bundle import confinement, devices
from capsule.errors import CapsuleError
from capsule.spec import example


def applied(*words):
    tree = example.example()
    confinement.apply(tree, confinement.parse(list(words)))
    return tree


def test_masks_are_those_of_every_container_unless_they_are_taken_off():
    linux = applied("unmask=/proc/kcore:/proc/sys", "mask=/proc/cpuinfo")["linux"]
    assert "/proc/kcore" not in linux["maskedPaths"] and "/proc/keys" in linux["maskedPaths"]
    assert "/proc/cpuinfo" in linux["maskedPaths"] and "/proc/sys" not in linux["readonlyPaths"]
    for word in ("unmask=ALL", "systempaths=unconfined"):
        linux = applied(word)["linux"]
        assert (linux["maskedPaths"], linux["readonlyPaths"]) == ([], [])


@pytest.mark.parametrize(("words", "expected"), [
    ((), False), (("no-new-privileges",), True), (("no-new-privileges:true",), True),
    (("no-new-privileges=true", "no-new-privileges=false"), False),
])
def test_no_new_privileges(words, expected):
    assert applied(*words)["process"]["noNewPrivileges"] is expected


def test_filter_and_profile():
    assert confinement.parse(["seccomp=unconfined"]).seccomp is False
    assert applied("apparmor=strict", "label=disable")["process"]["apparmorProfile"] == "strict"


@pytest.mark.parametrize("word", ["seccomp=/a.json", "label=type:x", "apparmor", "mask=proc", "no-new-privileges=x"])
def test_what_is_not_known_is_refused(word):
    with pytest.raises(CapsuleError):
        confinement.parse([word])


def test_a_device_is_a_node_and_a_rule(tmp_path):
    tree = example.example()
    devices.add(tree, ["/dev/null:/dev/nothing:r"])
    node = tree["linux"]["devices"][0]
    assert (node["path"], node["type"], node["major"], node["minor"]) == ("/dev/nothing", "c", 1, 3)
    rule = tree["linux"]["resources"]["devices"][-1]
    assert rule == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}


@pytest.mark.parametrize("text", ["/etc/passwd", "/nonexistent", "null", "/dev/null:null", "/a:/b:/c:r"])
def test_what_is_no_device_is_refused(text):
    with pytest.raises(CapsuleError):
        devices.add(example.example(), [text])
