"""Limits as properties of a unit, on both versions and for older systemds."""

from __future__ import annotations

import pytest

from capsule.cgroups import cgroupfs
from capsule.cgroups.systemd import devices, keeping, properties, units
from capsule.errors import SpecError, Unsupported

NOW = 252
NONE = (1 << 64) - 1
GROUPS = "Character devices:\n  1 mem\n  4 /dev/vc/0\n  4 tty\n136 pts\n\nBlock devices:\n  8 sd\n"


def early(resources, *, v2=True, version=NOW):
    return [(name, value) for name, _, value in properties.early(resources, v2=v2, version=version)]


def late(resources, *, v2=True):
    return [(name, value) for name, _, value in properties.late(resources, v2=v2)]


def test_a_scope_begins_with_its_process():
    place = units.place("a.slice:b:c", "c", user=False)
    found = dict((name, value) for name, _, value in properties.of_unit(place, 42, v2=True))

    assert found == {
        "Description": "capsule container c", "Slice": "a.slice", "Delegate": True, "PIDs": [42],
        "MemoryAccounting": True,
        "CPUAccounting": True, "IOAccounting": True, "TasksAccounting": True, "DefaultDependencies": False}


def test_a_slice_has_no_process_and_wants_its_parent():
    place = units.place("::a-b.slice", "c", user=False)
    found = dict((name, value) for name, _, value in properties.of_unit(place, 0, v2=False))

    assert found["Wants"] == ["a.slice"] and "BlockIOAccounting" in found
    assert not {"PIDs", "Slice", "Delegate"} & set(found)


@pytest.mark.parametrize(("cpu", "expected"), [
    ({"quota": 50000, "period": 100000}, [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", 500000)]),
    ({"quota": 12345}, [("CPUQuotaPerSecUSec", 130000)]),  # systemd keeps whole percents: rounded up
    ({"quota": 10000}, [("CPUQuotaPerSecUSec", 100000)]),
    ({"quota": -1}, [("CPUQuotaPerSecUSec", NONE)]),
    ({"period": 50000}, [("CPUQuotaPeriodUSec", 50000), ("CPUQuotaPerSecUSec", NONE)]),
    ({"shares": 1024}, [("CPUWeight", 100)]), ({"shares": 2}, [("CPUWeight", 1)]),
    ({"idle": 1}, [("CPUWeight", 0)]), ({"idle": 0}, [("CPUWeight", NONE)]),
    ({"idle": 0, "shares": 262144}, [("CPUWeight", 10000)]),
    ({"cpus": "0-2,9", "mems": "1"}, [("AllowedCPUs", b"\x07\x02"), ("AllowedMemoryNodes", b"\x02")]),
    ({}, []),
])
def test_cpu_on_v2(cpu, expected):
    assert expected == early({"cpu": cpu})


def test_cpu_on_v1():
    found = early({"cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0", "idle": 1}}, v2=False)

    assert [("CPUShares", 512), ("CPUQuotaPeriodUSec", 50000), ("CPUQuotaPerSecUSec", 400000)] == found


def test_what_an_older_systemd_does_not_know_is_left_out():
    cpu = {"quota": 20000, "period": 50000, "cpus": "0"}
    assert [("CPUQuotaPerSecUSec", 400000)] == early({"cpu": cpu}, version=241)
    assert [("CPUWeight", 100)] == early({"cpu": {"idle": 1, "shares": 1024}}, version=251)


def test_shares_and_idle_exclude_each_other():
    with pytest.raises(SpecError, match="unable to apply both"):
        early({"cpu": {"idle": 1, "shares": 1024}})


@pytest.mark.parametrize("cpus", ["", "a", "3-1", "1-", "-", "1,,2", "0-999999"])
def test_what_is_no_list_of_processors_is_refused(cpus):
    with pytest.raises(SpecError):
        properties.bitmap(cpus, "linux.resources.cpu.cpus")


def test_block_io():
    assert [("IOWeight", 7475)] == early({"blockIO": {"weight": 750}})
    assert [("BlockIOWeight", 750)] == early({"blockIO": {"weight": 750}}, v2=False)


@pytest.mark.parametrize(("resources", "expected"), [
    ({"memory": {"limit": 100, "swap": 300, "reservation": 50}},
     [("MemoryMax", 100), ("MemoryLow", 50), ("MemorySwapMax", 200)]),
    ({"memory": {"limit": 100, "swap": -1}}, [("MemoryMax", 100), ("MemorySwapMax", NONE)]),
    ({"memory": {"limit": -1}}, [("MemoryMax", NONE), ("MemorySwapMax", NONE)]),
    ({"memory": {"limit": 100, "swap": 100}}, [("MemoryMax", 100), ("MemorySwapMax", 0)]),
    ({"pids": {"limit": 0}}, [("TasksMax", 1)]), ({"pids": {"limit": -1}}, [("TasksMax", NONE)]),
    ({"pids": {"limit": 7}}, [("TasksMax", 7)]), ({"pids": {}}, []), ({}, []),
    ({"memory": {"limit": 100}, "unified": {"memory.max": "max", "memory.high": "5", "pids.max": "9"}},
     [("MemoryHigh", 5), ("MemoryMax", NONE), ("TasksMax", 9)]),
])
def test_memory_and_pids_on_v2(resources, expected):
    assert expected == late(resources)


def test_memory_on_v1():
    assert [("MemoryLimit", 100)] == late({"memory": {"limit": 100, "swap": 300, "reservation": 50}}, v2=False)


@pytest.mark.parametrize(("unified", "expected"), [
    ({"cpu.max": "max"}, [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", NONE)]),
    ({"cpu.max": "20000 50000"}, [("CPUQuotaPeriodUSec", 50000), ("CPUQuotaPerSecUSec", 400000)]),
    ({"cpu.weight": "250"}, [("CPUWeight", 250)]), ({"cpu.idle": "1"}, [("CPUWeight", 0)]),
    ({"cpuset.cpus": "1"}, [("AllowedCPUs", b"\x02")]), ({"hugetlb.2MB.max": "5", "io.max": "8:0 rbps=1"}, []),
])
def test_unified_files_that_are_properties(unified, expected):
    assert expected == early({"unified": unified})


@pytest.mark.parametrize("unified", [{"cpu.max": "x"}, {"cpu.weight": "-5"}, {"cpu.weight": "5", "cpu.idle": "1"}])
def test_unified_files_that_no_property_can_be_are_refused(unified):
    with pytest.raises(SpecError):
        early({"unified": unified})


# What an update does not name


IN_FORCE = {"cpu.max": "20000 200000", "memory.max": "67108864", "memory.swap.max": "33554432"}


@pytest.fixture
def unified(tmp_path):
    for name, text in IN_FORCE.items():
        (tmp_path / name).write_text(text + "\n")
    return {"": str(tmp_path)}


@pytest.mark.parametrize("changed", [
    {"cpu": {"period": 200000}}, {"cpu": {"quota": 20000}}, {"unified": {"cpu.max": "20000"}},
])
def test_an_update_of_quota_or_period_gives_systemd_both(unified, changed):
    found = early(keeping.completed(unified, changed))
    assert found == [("CPUQuotaPeriodUSec", 200000), ("CPUQuotaPerSecUSec", 100000)]


def test_an_update_of_quota_or_period_on_v1(tmp_path):
    (tmp_path / "cpu.cfs_quota_us").write_text("20000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("200000\n")
    found = early(keeping.completed({"cpu": str(tmp_path)}, {"cpu": {"quota": 20000}}), v2=False)
    assert found == [("CPUQuotaPeriodUSec", 200000), ("CPUQuotaPerSecUSec", 100000)]


def test_an_update_of_swap_alone_counts_the_memory_in_force(unified):
    found = late(keeping.completed(unified, {"memory": {"swap": 96 << 20}}))
    assert ("MemorySwapMax", 32 << 20) in found


def test_nothing_is_added_to_what_an_update_gives_whole(unified):
    for changed in ({}, {"cpu": {"shares": 5}}, {"memory": {"limit": 5, "swap": 7}}, {"pids": {"limit": 3}}):
        assert keeping.completed(unified, changed) == changed


def test_lines_of_weights_are_put_back_one_by_one(tmp_path, monkeypatch):
    """systemd writes its own io.bfq.weight, made of its IOWeight."""
    (tmp_path / "io.bfq.weight").write_text("default 750\n8:0 300\n")
    kept = keeping.read({"": str(tmp_path)})
    (tmp_path / "io.bfq.weight").write_text("default 100\n8:0 300\n")
    written = []
    monkeypatch.setattr(cgroupfs, "write_all", lambda directory, name, values: written.append((name, list(values))))
    keeping.put_back(kept, [])

    assert written == [("io.bfq.weight", ["default 750", "8:0 300"])]


def device(**rule):
    return {"access": "rwm", **rule}


def allowed(rules, *, v2=True):
    return devices.properties(rules, v2=v2, devices_text=GROUPS)


def test_device_rules_become_a_list():
    policy, entries = allowed([
        device(allow=False), device(allow=True, type="b", major=8, minor=0, access="r"),
        device(allow=True, type="c", major=4, access="rw"), device(allow=True, type="b", major=8, access="m"),
    ])

    assert policy == ("DevicePolicy", "s", "strict")
    assert entries[:2] == ("DeviceAllow", "a(ss)")
    found = dict(entries[2])
    assert found["/dev/block/8:0"] == "r" and found["char-tty"] == "rw" and found["/dev/char/1:3"] == "rwm"
    assert found["char-pts"] == "rwm" and found["char-*"] == "m"


def test_everything_allowed_is_left_open():
    assert [("DevicePolicy", "s", "auto"), ("DeviceAllow", "a(ss)", [])] == allowed([device(allow=True)])


def test_rules_that_systemd_cannot_express_are_left_to_our_program_on_v2():
    rules = [device(allow=False), device(allow=True, type="c", major=77, access="rw")]

    assert allowed(rules)[0] == ("DevicePolicy", "s", "auto")
    assert allowed(rules, v2=False)[0] == ("DevicePolicy", "s", "strict")


def test_rules_that_v1_cannot_represent_are_refused_there_alone():
    rules = [device(allow=False), device(allow=True, type="c", major=7),
             device(allow=False, type="c", major=7, minor=7)]

    assert allowed(rules)[0] == ("DevicePolicy", "s", "auto")
    with pytest.raises(Unsupported):
        allowed(rules, v2=False)
