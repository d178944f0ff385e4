"""features and state against schemas of the specification's documents; what features claims, tried in a container."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.requires import requires

jsonschema = pytest.importorskip("jsonschema")

pytestmark = [
    requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="1.1.5 has an older document", crun="1.8.1 has no such command"),
]

DATA = Path(__file__).resolve().parents[1] / "data"


def schema(name: str) -> dict:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def validate(document: object, name: str) -> None:
    jsonschema.Draft7Validator(schema(name)).validate(document)


@pytest.fixture
def features(capsule) -> dict:
    return capsule.call("features", root=False).json


@pytest.mark.parametrize("name", ["features-schema.json", "state-schema.json"])
def test_the_schemas_are_schemas_and_refuse(name):
    jsonschema.Draft7Validator.check_schema(schema(name))
    with pytest.raises(jsonschema.ValidationError):
        validate({"ociVersionMin": "1.0.0", "ociVersionMax": "1", "status": "done"}, name)


@pytest.mark.row("features:ociVersion", 180)
def test_features_is_what_the_specification_says(features):
    validate(features, "features-schema.json")
    assert (features["ociVersionMin"], features["ociVersionMax"]) == ("1.0.0", "1.3.0")


@pytest.mark.row("features:ociVersion")
@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"])
def test_every_version_in_the_range_runs(capsule, bundle, version):
    box = bundle(["/payload", "exit", "6"])
    box.config["ociVersion"] = version
    capsule.run(box, rc=6)


@pytest.mark.row("features:annotations")
def test_annotations_tell_the_build_and_which_are_unsafe(capsule, features):
    version = capsule.call("--version", root=False).lines[0].split()[-1]
    assert features["annotations"]["capsule.version"] == version
    assert "capsule.commit" in features["annotations"]
    assert features["potentiallyUnsafeConfigAnnotations"] == [
        "org.systemd.property.", "run.oci.keep_original_groups"]


@pytest.mark.row("features:linux.namespaces")
def test_every_namespace_that_features_names_is_made(capsule, bundle, features):
    box = bundle().user_namespace()
    for kind in features["linux"]["namespaces"]:
        if kind != "user":
            box.namespace(kind)
    found = capsule.probe(box)["ns"]
    names = {"network": "net", "mount": "mnt"}
    for kind in features["linux"]["namespaces"]:
        name = names.get(kind, kind)
        assert found[name] not in (None, os.stat(f"/proc/self/ns/{name}").st_ino), kind


@pytest.mark.row("features:linux.capabilities")
def test_every_capability_that_features_names_is_granted(capsule, bundle, features):
    names = features["linux"]["capabilities"]
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    ours = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd"))
    box = bundle(["/bin/grep", "^CapBnd", "/proc/self/status"]).capabilities(*names)
    bounding = int(capsule.run(box).out.split()[1], 16)
    assert bounding == ours & (1 << last + 1) - 1
    assert len(names) > last


@pytest.mark.row("features:hooks")
def test_every_hook_that_features_names_runs(capsule, bundle, features, workdir):
    box = bundle(["/payload", "exit", "0"])
    record = box.rootfs / "hooks"
    record.touch()
    for kind in features["hooks"]:
        # startContainer hooks are the only ones that run inside.
        path = "/hooks" if kind == "startContainer" else str(record)
        box.config.setdefault("hooks", {})[kind] = [
            {"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >> {path}"]}]
    capsule.run(box)
    assert record.read_text().split() == [
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


@pytest.mark.row("features:linux.cgroup")
def test_what_features_says_of_cgroups_is_so(capsule, bundle, features):
    cgroup = features["linux"]["cgroup"]
    assert cgroup == {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}
    box = bundle(["/payload", "pause"])
    if not os.path.exists("/run/systemd/private"):
        box.linux["cgroupsPath"] = f"system.slice:capsule:{box.id}"
        refusal = capsule.call("--systemd-cgroup", *capsule.words_for("create", box), rc=1).err
        assert "no system manager of systemd answers here" in refusal
    box.linux["cgroupsPath"] = f"/{box.id}"
    refusal = capsule.call("--systemd-cgroup", *capsule.words_for("create", box), rc=1).err
    assert "slice:prefix:name" in refusal and "for systemd cgroups" in refusal
    assert not capsule.exists(box)
    # Other verbs carry the option along, as engines pass it with each call.
    capsule.create(box)
    capsule.call("--systemd-cgroup", "start", box.id)
    capsule.call("--systemd-cgroup", "delete", "--force", box.id)


@pytest.mark.row(170, 171)
def test_the_state_is_what_the_specification_says_in_every_status(capsule, bundle):
    box = bundle(["/payload", "pause"])
    box.config["annotations"] = {"a": "b"}
    seen = []

    def look():
        state = capsule.state(box)
        validate(state, "state-schema.json")
        assert state["annotations"] == {"a": "b"}
        assert (state["pid"] == 0) == (state["status"] == "stopped")
        seen.append(state["status"])

    capsule.create(box)
    look()
    capsule.start(box)
    look()
    capsule.call("pause", box.id)
    look()
    capsule.call("resume", box.id)
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    look()
    assert seen == ["created", "running", "paused", "stopped"]
    for entry in capsule.list("--format", "json").json:
        validate(entry, "state-schema.json")
