"""update: what the kernel's files say afterwards, and what is refused without touching them (cgroup v1)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS

pytestmark = [requires("root", "runtime", "busybox", "gcc", "cgroup1"), pytest.mark.row(104, 180)]

MIB = 1 << 20
OLD_RUNC = "1.1.5 has no such flag, or takes 0 for nothing"


@pytest.fixture
def box(capsule, bundle):
    made = bundle(["/payload", "pause"])
    made.linux["cgroupsPath"] = f"/{made.id}"
    made.linux["resources"] = {"memory": {"limit": 64 * MIB}, "cpu": {"shares": 512}, "pids": {"limit": 20}}
    capsule.start_container(made)
    return made


def value(box, controller: str, name: str) -> str:
    return Path(f"/sys/fs/cgroup/{controller}/{box.id}/{name}").read_text(encoding="ascii").strip()


def update(capsule, box, *flags: str, **how: object):
    return capsule.call("update", *flags, box.id, **how)


def update_by_document(capsule, box, resources: object, **how: object):
    return update(capsule, box, "--resources", "-", stdin=json.dumps(resources).encode(), **how)


def test_a_flag_sets_its_file_and_no_other(capsule, box):
    update(capsule, box, "--pids-limit", "33")
    assert value(box, "pids", "pids.max") == "33"
    assert value(box, "cpu", "cpu.shares") == "512"
    assert value(box, "memory", "memory.limit_in_bytes") == str(64 * MIB)


@pytest.mark.parametrize(
    ("flag", "text", "controller", "file", "expected"),
    [
        ("--cpu-share", "300", "cpu", "cpu.shares", "300"),
        ("--cpu-period", "50000", "cpu", "cpu.cfs_period_us", "50000"),
        ("--cpu-quota", "40000", "cpu", "cpu.cfs_quota_us", "40000"),
        ("--cpuset-cpus", "0", "cpuset", "cpuset.cpus", "0"),
        ("--cpuset-mems", "0", "cpuset", "cpuset.mems", "0"),
        ("--memory", "50M", "memory", "memory.limit_in_bytes", str(50 * MIB)),
        ("--memory", "-1", "memory", "memory.limit_in_bytes", "9223372036854771712"),
        ("--memory-reservation", "33mb", "memory", "memory.soft_limit_in_bytes", str(33 * MIB)),
        ("--memory-swap", "-1", "memory", "memory.memsw.limit_in_bytes", "9223372036854771712"),
        ("--memory-swap", "96MiB", "memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("--pids-limit", "-1", "pids", "pids.max", "max"),
        pytest.param("--pids-limit", "0", "pids", "pids.max", "1", marks=pytest.mark.rival(runc=OLD_RUNC)),
        pytest.param("--cpu-idle", "1", "cpu", "cpu.idle", "1", marks=pytest.mark.rival(runc=OLD_RUNC)),
    ],
)
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_each_flag_stands_before_or_behind_the_id(capsule, box, flag, text, controller, file, expected, behind):
    words = [box.id, flag, text] if behind else [flag, text, box.id]
    capsule.call("update", *words)
    assert value(box, controller, file) == expected


def test_quota_and_period_are_kept_when_the_other_changes(capsule, box):
    update(capsule, box, "--cpu-period", "200000", "--cpu-quota", "50000")
    update(capsule, box, "--cpu-period", "100000")
    assert value(box, "cpu", "cpu.cfs_quota_us") == "50000"
    update(capsule, box, "--cpu-quota", "-1")
    assert (value(box, "cpu", "cpu.cfs_quota_us"), value(box, "cpu", "cpu.cfs_period_us")) == ("-1", "100000")


@pytest.mark.rival(runc=OLD_RUNC)
def test_burst_outlives_other_updates_and_zero_takes_it_away(capsule, box):
    update(capsule, box, "--cpu-period", "100000", "--cpu-quota", "50000", "--cpu-burst", "20000")
    update(capsule, box, "--cpu-quota", "60000")
    assert value(box, "cpu", "cpu.cfs_burst_us") == "20000"
    update(capsule, box, "--cpu-burst", "0")
    assert value(box, "cpu", "cpu.cfs_burst_us") == "0"


def test_memory_and_swap_go_up_and_down_together(capsule, box):
    for memory, swap in ((30, 50), (60, 80), (40, 45), (200, 300), (30, 30)):
        update(capsule, box, "--memory", f"{memory}M", "--memory-swap", f"{swap}M")
        assert value(box, "memory", "memory.limit_in_bytes") == str(memory * MIB)
        assert value(box, "memory", "memory.memsw.limit_in_bytes") == str(swap * MIB)


def test_memory_without_bounds_takes_the_bound_of_memory_and_swap_away(capsule, box):
    update(capsule, box, "--memory", "50M", "--memory-swap", "70M")
    update(capsule, box, "--memory", "-1")
    assert value(box, "memory", "memory.memsw.limit_in_bytes") == "9223372036854771712"


def test_a_document_comes_from_a_file_or_from_stdin_with_keys_in_any_case(capsule, box, workdir):
    update_by_document(capsule, box, {"CPU": {"Cpus": "1", "Shares": 700}, "Pids": {"LIMIT": 9}})
    assert (value(box, "cpuset", "cpuset.cpus"), value(box, "cpu", "cpu.shares")) == ("1", "700")
    assert value(box, "pids", "pids.max") == "9"
    (workdir / "limits.json").write_text('{"memory": {"limit": 41943040}}')
    capsule.call("update", box.id, "--resources=limits.json", cwd=workdir)
    assert value(box, "memory", "memory.limit_in_bytes") == str(40 * MIB)


def test_what_docker_sends_for_one_changed_value_changes_one_value(capsule, box):
    """moby fills in every key; zero is its "not given"."""
    update_by_document(capsule, box, {
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0},
        "cpu": {"shares": 900, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
    })
    assert value(box, "cpu", "cpu.shares") == "900"
    assert value(box, "memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert value(box, "cpu", "cpu.cfs_quota_us") == "-1"


def test_devices_in_a_document_leave_the_device_rules_alone(capsule, box):
    before = value(box, "devices", "devices.list")
    update_by_document(capsule, box, {"devices": [{"allow": True, "access": "rwm"}], "pids": {"limit": 5}})
    assert value(box, "devices", "devices.list") == before
    assert value(box, "pids", "pids.max") == "5"


@pytest.mark.skipif(not os.path.exists("/sys/block/loop1"), reason="no loop devices")
def test_throttled_devices_are_added_to_those_there(capsule, box):
    for major, minor, rate in ((7, 0, 1000000), (7, 1, 2000000), (7, 0, 3000000)):
        rule = {"major": major, "minor": minor, "rate": rate}
        update_by_document(capsule, box, {"blockIO": {"throttleReadBpsDevice": [rule]}})
    lines = value(box, "blkio", "blkio.throttle.read_bps_device").splitlines()
    assert sorted(lines) == ["7:0 3000000", "7:1 2000000"]


@pytest.mark.rival(runc="it leaves what it had set before the failure")
@pytest.mark.parametrize(
    "flags",
    [
        ["--cpu-share", "700", "--cpu-quota", "50000", "--memory", "1"],
        ["--cpuset-cpus", "0", "--pids-limit", "9", "--cpu-period", "1"],
        ["--cpu-share", "700", "--cpuset-cpus", "99"],
    ],
)
def test_an_update_that_fails_changes_nothing(capsule, box, flags):
    def files():
        names = {"cpu": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"), "pids": ("pids.max",),
                 "memory": ("memory.limit_in_bytes",), "cpuset": ("cpuset.cpus",)}
        return [value(box, controller, name) for controller, files in names.items() for name in files]

    before = files()
    update(capsule, box, *flags, rc=1)
    assert files() == before
    assert capsule.status(box) == "running"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cpu-idle", "3"], "cpu.idle"),
        (["--cpu-idle", "-1"], "cpu.idle"),
        (["--memory", "abc"], "invalid value for memory: invalid size: 'abc'"),
        (["--memory", "5X"], "invalid size"),
        (["--cpu-period", "x"], "invalid value for cpu-period"),
        (["--cpu-share", "-3"], "invalid value for cpu-share"),
        (["--pids-limit", "many"], "pids-limit"),
        (["--resources", "/nonexistent"], "open /nonexistent: no such file or directory"),
        (["--memory", "50M", "--memory-swap", "30M"], "swap"),
        (["--l3-cache-schema", "L3:0=f"], "Intel RDT/CAT: l3 cache schema is not enabled"),
        (["--mem-bw-schema", "MB:0=70"], "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ],
)
def test_what_cannot_be_is_refused(capsule, box, flags, words):
    assert words in update(capsule, box, *flags, rc=1).err
    assert value(box, "cpu", "cpu.idle") == "0"
    assert value(box, "cpu", "cpu.shares") == "512"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "resources"),
        (b"[]", "resources"),
        (b'{"memory": {"limit": "64"}}', "memory.limit"),
        (b'{"unified": {"memory.max": "1"}}', "invalid configuration"),
    ],
)
def test_a_document_that_is_none_is_refused(capsule, box, text, words):
    assert words in update(capsule, box, "-r", "-", stdin=text, rc=1).err


@pytest.mark.row(84)
def test_kernel_memory_is_refused_and_nothing_changes(capsule, box):
    before = value(box, "pids", "pids.max")
    result = update(capsule, box, "--kernel-memory", "50M", "--pids-limit", "8", rc=1)
    assert "linux.resources.memory.kernel: kernel memory cannot be limited" in result.err
    assert value(box, "pids", "pids.max") == before


def test_memory_below_what_is_used_is_rejected_beforehand(capsule, box):
    """checkBeforeUpdate (config-linux.md#memory)."""
    resources = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}
    assert "rejecting memory limit" in update_by_document(capsule, box, resources, rc=1).err
    assert value(box, "memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert capsule.status(box) == "running"


def test_a_paused_container_is_updated_and_stays_paused(capsule, box):
    capsule.call("pause", box.id)
    update(capsule, box, "--pids-limit", "44")
    assert value(box, "pids", "pids.max") == "44"
    assert capsule.status(box) == "paused"


def test_a_created_container_is_updated(capsule, bundle):
    box = bundle(["/payload", "pause"])
    box.linux["cgroupsPath"] = f"/{box.id}"
    capsule.create(box)
    update(capsule, box, "--pids-limit", "44")
    assert value(box, "pids", "pids.max") == "44"


def test_a_stopped_container_is_refused(capsule, box):
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    assert "container not running" in update(capsule, box, "--pids-limit", "44", rc=1).err
    assert value(box, "pids", "pids.max") == "20"


def test_an_unknown_container_is_refused(capsule):
    assert "does not exist" in capsule.call("update", "ct-none", "--pids-limit", "4", rc=1).err


@pytest.mark.rival(runc="its record has another form")
def test_the_record_tells_what_is_in_force(capsule, box):
    before = open(capsule.root / box.id / "state.json", "rb")
    update(capsule, box, "--cpu-quota", "50000")
    update(capsule, box, "--pids-limit", "44")
    update(capsule, box, "--memory", "1", rc=1)
    detail = capsule.call("state", "--detail", box.id).json["detail"]
    assert detail["extra"]["resources"] == {
        "memory": {"limit": 64 * MIB}, "cpu": {"shares": 512, "quota": 50000}, "pids": {"limit": 44}}
    assert detail["config"]["linux"]["resources"]["pids"]["limit"] == 20
    with before:  # replaced whole: who has it open reads the old one
        assert b"50000" not in before.read()


def test_updates_do_not_disturb_a_reader_of_devices(capsule, bundle):
    box = bundle().shell("while cat /dev/null; do :; done; echo denied; exit 7")
    capsule.start_container(box)
    for limit in range(30, 45):
        update(capsule, box, "--pids-limit", str(limit))
    assert capsule.status(box) == "running"


def test_a_limit_above_the_parents_is_refused(capsule, bundle):
    box = bundle(["/payload", "pause"])
    parent = Path(f"/sys/fs/cgroup/cpu/{box.id}-pod")
    box.linux["cgroupsPath"] = f"/{box.id}-pod/inner"
    capsule.start_container(box)
    (parent / "cpu.cfs_quota_us").write_text("50000")
    assert "cpu.cfs_quota_us" in update(capsule, box, "--cpu-quota", "60000", rc=FAILS).err
    assert (parent / "inner/cpu.cfs_quota_us").read_text() == "-1\n"
    # Less time in a shorter period: whatever is written first is above the parent's share for a moment.
    update(capsule, box, "--cpu-period", "10000", "--cpu-quota", "3000")
    assert (parent / "inner/cpu.cfs_quota_us").read_text() == "3000\n"
    capsule.delete(box, "--force")
