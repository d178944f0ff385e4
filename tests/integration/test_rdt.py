"""linux.intelRdt from create to delete, on a directory that stands for its file system; refusals without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.requires import ROOT, requires
from helpers.runtime import FAILS, Runtime

pytestmark = [
    requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="says other words", crun="says other words", strict=False),
]


@pytest.fixture
def root(workdir) -> Path:
    path = workdir / "resctrl"
    for name in ("mon_groups", "info"):
        (path / name).mkdir(parents=True)
    for name in ("tasks", "schemata"):
        (path / name).touch()
    return path


@pytest.fixture
def runtime(capsule, root) -> Runtime:
    """Give the runtime under an ordinary Python, which takes the directory for the resource director's."""
    words = [sys.executable, "-I", str(ROOT / "tests/helpers/fallback.py"), f"resctrl={root}"]
    capsule.argv = words
    return capsule


def rdt(box, **fields):
    box.linux["intelRdt"] = fields
    return box


@pytest.mark.row(140, 142, 175)
def test_a_group_lives_from_create_to_delete(runtime, bundle, root):
    box = rdt(bundle(["/payload", "pause"]), enableMonitoring=True)
    runtime.create(box)
    pid = str(runtime.pid(box))
    group = root / box.id
    assert (group / "tasks").read_text() == pid
    assert (group / "mon_groups" / box.id / "tasks").read_text() == pid
    runtime.start(box)
    runtime.kill(box, "9")
    runtime.wait_status(box, "stopped")
    runtime.delete(box)
    assert sorted(path.name for path in root.iterdir()) == ["info", "mon_groups", "schemata", "tasks"]


@pytest.mark.row(143, 175)
def test_a_group_that_was_there_is_joined_and_stays(runtime, bundle, root):
    (root / "gold").mkdir()
    (root / "gold/tasks").touch()
    (root / "gold/schemata").write_text("L3:0=0f\n")
    box = rdt(bundle(["/payload", "pause"]), closID="gold", l3CacheSchema="L3:0=f")
    pid = runtime.start_container(box)
    assert (root / "gold/tasks").read_text() == str(pid)
    (root / "gold/tasks").write_text("")
    runtime.exec(box, "/payload", "exit", "0")
    assert (root / "gold/tasks").read_text().isdigit()
    runtime.delete(box, "--force")
    assert (root / "gold/schemata").read_text() == "L3:0=0f\n"


@pytest.mark.row(141)
def test_shares_reach_the_new_group(runtime, bundle, root):
    box = rdt(bundle(["/payload", "pause"]), closID="/".join(["gold"]), memBwSchema="MB:0=20")
    runtime.create(box)
    assert (root / "gold/schemata").read_text() == "MB:0=20\n"
    assert (root / "schemata").read_text() == ""


@pytest.mark.row(104, 141)
def test_update_changes_the_shares_of_its_own_group_only(runtime, bundle, root):
    box = rdt(bundle(["/payload", "pause"]), memBwSchema="MB:0=20")
    runtime.create(box)
    runtime.call("update", "--mem-bw-schema", "MB:0=70", box.id)
    assert (root / box.id / "schemata").read_text() == "MB:0=70\n"
    runtime.call("update", "--mem-bw-schema", "MB:0=30", "--cpu-period", "10", box.id, rc=1)
    assert (root / box.id / "schemata").read_text() == "MB:0=70\n"
    (root / "gold").mkdir()
    for name in ("tasks", "schemata"):
        (root / "gold" / name).touch()
    other = rdt(bundle(["/payload", "pause"]), closID="gold")
    runtime.create(other)
    err = runtime.call("update", "--l3-cache-schema", "L3:0=f", other.id, rc=1).err
    assert f"gold was there before container {other.id} and is not changed" in err
    assert (root / "gold/schemata").read_text() == ""


@pytest.mark.row(143, 172)
def test_other_shares_are_refused_and_a_failed_create_leaves_no_group(runtime, bundle, root):
    (root / "gold").mkdir()
    (root / "gold/schemata").write_text("L3:0=0f\n")
    box = rdt(bundle(["/payload", "exit", "0"]), closID="gold", l3CacheSchema="L3:0=7")
    assert "is there already and has L3:0=f, not 7" in runtime.run(box, rc=1).err
    other = rdt(bundle(["/payload", "exit", "0"]), closID="new", enableMonitoring=True).hook("prestart", "/bin/false")
    runtime.run(other, rc=FAILS)
    assert not (root / "new").exists()


@pytest.mark.row(144)
@pytest.mark.parametrize("fields", [{}, {"closID": "gold"}, {"closID": "/"}, {"enableMonitoring": True}])
def test_without_the_file_system_the_field_is_refused(capsule, bundle, fields):
    if any(" - resctrl " in line for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        pytest.skip("this machine has the file system")
    box = rdt(bundle(["/payload", "exit", "0"]), **fields)
    assert "config.json linux.intelRdt: no resctrl file system is mounted" in capsule.run(box, rc=1).err
    assert not capsule.exists(box)


@pytest.mark.row(140)
@pytest.mark.parametrize(("name", "words"), [
    *[(name, "linux.intelRdt.closID: expected") for name in ("../../tmp/x", "/abs", "a/b", "..", ".", "a\nb", "//")],
    ("info", "linux.intelRdt.closID")])
def test_a_closid_that_leads_elsewhere_is_refused(runtime, bundle, root, name, words):
    before = sorted(root.rglob("*"))
    box = rdt(bundle(["/payload", "exit", "0"]), closID=name)
    assert words in runtime.run(box, rc=1).err
    assert sorted(root.rglob("*")) == before


@pytest.mark.row(141)
@pytest.mark.parametrize("fields", [
    {"l3CacheSchema": "7f0"}, {"memBwSchema": "MB:0=1\nMB:1=2"}, {"schemata": ["L3:0=1\nMB:0=1"]}, {"schemata": [""]}])
def test_a_schema_that_is_none_is_refused(runtime, bundle, fields):
    box = rdt(bundle(["/payload", "exit", "0"]), **fields)
    assert f"linux.intelRdt.{next(iter(fields))}" in runtime.run(box, rc=1).err
