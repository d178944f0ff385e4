"""Groups of the resource director on a directory that stands for its file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import resctrl as fake

from capsule.cgroups import cgroupfs, resctrl
from capsule.errors import CgroupError, SpecError, Unsupported
from capsule.state import journal

pytestmark = pytest.mark.row(143)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(resctrl, "posix", fake.Posix)
    for name in ("tasks", "schemata"):
        (tmp_path / name).touch()
    (tmp_path / "mon_groups").mkdir()
    (tmp_path / "info").mkdir()
    return tmp_path


@pytest.fixture
def written(monkeypatch) -> list[tuple[str, str]]:
    found = []
    monkeypatch.setattr(cgroupfs, "write", lambda directory, name, value: found.append((f"{directory}/{name}", value)))
    return found


def group(root: Path, **rdt) -> resctrl.Group:
    return resctrl.Group(str(root), rdt, "box")


def existing(root: Path, name: str, schemata: str) -> Path:
    fake.Posix.mkdir(str(root / name), 0o755)
    (root / name / "schemata").write_text(schemata)
    return root / name


@pytest.mark.row(140)
@pytest.mark.parametrize(("rdt", "directory"), [({}, "/box"), ({"closID": ""}, "/box"), ({"closID": "gold"}, "/gold"),
                                                ({"closID": "/"}, "")])
def test_the_group_is_named_by_closid_or_the_container(root, rdt, directory):
    assert group(root, **rdt).directory == f"{root}{directory}"


@pytest.mark.row(140)
@pytest.mark.parametrize("name", ["info", "mon_data", "mon_groups"])
def test_a_container_cannot_have_the_name_of_a_kernels_directory(root, name):
    with pytest.raises(SpecError, match="is not a group"):
        resctrl.Group(str(root), {}, name).check()


@pytest.mark.row(141)
def test_shares_are_written_in_the_specifications_order(root, written):
    made = group(root, schemata=["L2:0=f", "L3:1=3"], memBwSchema="MB:0=20;1=70\n",
                 l3CacheSchema="L3:0=7f0;1=1f\nMB:0=10\n L3CODE:0=1")
    made.create()
    schemata = f"{root}/box/schemata"
    assert written == [(schemata, "L3:0=7f0;1=1f\n L3CODE:0=1\n"), (schemata, "MB:0=20;1=70\n"),
                       (schemata, "L2:0=f\nL3:1=3\n")]
    assert made.made == [f"{root}/box"]


@pytest.mark.row(141)
def test_without_shares_nothing_is_written(root, written):
    group(root, closID="gold").create()
    assert (root / "gold").is_dir()
    assert written == []


@pytest.mark.row(141)
def test_a_refused_share_says_what_the_kernel_says_and_leaves_no_group(root, monkeypatch):
    (root / "info/last_cmd_status").write_text("Mask out of range\n")

    def write(directory, name, value):
        raise CgroupError("write", f"{directory}/{name}", errno=22)

    monkeypatch.setattr(cgroupfs, "write", write)
    with pytest.raises(CgroupError, match=r"schemata: invalid argument \(Mask out of range\)"):
        group(root, l3CacheSchema="L3:0=fffffff").create()
    assert not (root / "box").exists()


def test_a_group_that_is_there_is_used_and_never_written_or_removed(root, written):
    gold = existing(root, "gold", "    MB:0=20;1=070\n    L3:0=0007f0;1=00001F\n")
    made = group(root, closID="gold", l3CacheSchema="L3:0=7F0;1=1f", memBwSchema="MB:1=70")
    made.check()
    assert made.planned() == []
    made.create()
    assert (made.made, written) == ([], [])
    resctrl.remove(made.made)
    assert gold.is_dir()


@pytest.mark.parametrize(("rdt", "words"), [
    ({"l3CacheSchema": "L3:0=ff;1=1f"}, "L3:0=7f0, not ff"),
    ({"memBwSchema": "MB:0=30"}, "MB:0=20, not 30"),
    ({"schemata": ["L3:1=0"]}, "L3:1=1f, not 0"),
    ({"schemata": ["L3:2=1"]}, "L3:2=nothing, not 1"),
    ({"l3CacheSchema": "L3:0=7f0", "schemata": ["L3:0=1"]}, "L3:0=7f0, not 1"),
])
def test_a_group_that_is_there_with_other_shares_is_refused(root, rdt, words):
    existing(root, "gold", "    MB:0=20;1=70\n    L3:0=0007f0;1=00001f\n")
    with pytest.raises(SpecError, match=words):
        group(root, closID="gold", **rdt).check()


@pytest.mark.row(142)
def test_monitoring_has_a_group_of_its_own(root):
    made = group(root, closID="gold", enableMonitoring=True)
    assert made.planned() == [f"{root}/gold", f"{root}/gold/mon_groups/box"]
    made.create()
    assert made.groups() == made.made == [f"{root}/gold", f"{root}/gold/mon_groups/box"]
    resctrl.join(made.groups(), 42)
    assert [Path(path, "tasks").read_text() for path in made.groups()] == ["42", "42"]
    resctrl.remove(made.made)
    assert not (root / "gold").exists()
    resctrl.remove(made.made)


@pytest.mark.row(142)
@pytest.mark.parametrize("name", ["gold", "/"])
def test_a_monitoring_group_in_a_group_that_was_there_goes_alone(root, name):
    there = root if name == "/" else existing(root, "gold", "")
    made = group(root, closID=name, enableMonitoring=True)
    made.create()
    assert made.made == [f"{there}/mon_groups/box"]
    resctrl.remove(made.made)
    assert os.listdir(there / "mon_groups") == []
    assert there.is_dir()


@pytest.mark.row(144)
def test_a_machine_without_the_file_system_is_named(monkeypatch):
    monkeypatch.setattr(resctrl.mountinfo, "read_text", lambda path: "1 0 0:1 / /sys rw - sysfs sysfs rw\n")
    with pytest.raises(Unsupported, match="linux.intelRdt: no resctrl file system is mounted"):
        resctrl.find_root()
    line = "9 1 0:9 / /sys/fs/resctrl rw - resctrl resctrl rw\n"
    monkeypatch.setattr(resctrl.mountinfo, "read_text", lambda path: line)
    assert resctrl.find_root() == "/sys/fs/resctrl"


@pytest.mark.row(142, 175)
def test_a_journal_names_what_an_interrupted_create_may_have_made(root):
    made = group(root, closID="gold", enableMonitoring=True)
    lines = journal.to_line(journal.RESCTRL, tuple(made.planned())) + journal.to_line(journal.CGROUP, ("/cg",))
    made.create()
    written = journal.from_bytes(lines)
    assert journal.cgroups(written) == ["/cg"]
    resctrl.remove(journal.resctrl_groups(written))
    assert not (root / "gold").exists()
