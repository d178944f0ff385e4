"""linux.resources at create on cgroup v1: what the kernel's files say before start, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.requires import requires

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "cgroup1"),
    pytest.mark.row(108),
    pytest.mark.rival(runc="1.1.5 differs in some", crun="1.8.1 differs in some", strict=False),
]

MIB = 1 << 20
MOUNTED = {name for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
           if " - cgroup " in line for name in line.rpartition(" ")[2].split(",")}
UNLIMITED = 1 << 62


def disk() -> str:
    """Return major:minor of a block device of this machine, "" where there is none."""
    for name in sorted(os.listdir("/sys/block")) if os.path.isdir("/sys/block") else []:
        text = Path("/sys/block", name, "dev").read_text(encoding="ascii").strip()
        if int(Path("/sys/block", name, "size").read_text(encoding="ascii")):
            return text
    return ""


@pytest.fixture
def box(bundle):
    """Give a bundle whose cgroup has a name of its own, and no limits."""
    made = bundle(["/payload", "pause"])
    made.linux["cgroupsPath"] = f"/{made.id}-cg/leaf"
    made.linux.pop("resources", None)
    return made


def directory(box, controller: str) -> Path:
    return Path(f"/sys/fs/cgroup/{controller}{box.linux['cgroupsPath']}")


def value(box, controller: str, name: str) -> str:
    return (directory(box, controller) / name).read_text(encoding="ascii").strip()


FILES = [
    ({"memory": {"limit": 64 * MIB}}, "memory", "memory.limit_in_bytes", str(64 * MIB)),
    ({"memory": {"limit": -1}}, "memory", "memory.limit_in_bytes", UNLIMITED),
    ({"memory": {"limit": 2**63 - 1}}, "memory", "memory.limit_in_bytes", UNLIMITED),
    ({"memory": {"reservation": 32 * MIB}}, "memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
    ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory", "memory.memsw.limit_in_bytes",
     str(96 * MIB)),
    ({"memory": {"limit": 64 * MIB, "swap": -1}}, "memory", "memory.memsw.limit_in_bytes", UNLIMITED),
    ({"memory": {"swappiness": 0}}, "memory", "memory.swappiness", "0"),
    ({"memory": {"swappiness": 100}}, "memory", "memory.swappiness", "100"),
    ({"memory": {"useHierarchy": True}}, "memory", "memory.use_hierarchy", "1"),
    ({"memory": {"limit": 64 * MIB, "checkBeforeUpdate": True}}, "memory", "memory.limit_in_bytes",
     str(64 * MIB)),
    ({"cpu": {"shares": 2}}, "cpu", "cpu.shares", "2"),
    ({"cpu": {"shares": 262144}}, "cpu", "cpu.shares", "262144"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_quota_us", "20000"),
    ({"cpu": {"quota": -1, "period": 50000}}, "cpu", "cpu.cfs_period_us", "50000"),
    ({"cpu": {"quota": 20000, "burst": 20000}}, "cpu", "cpu.cfs_burst_us", "20000"),
    ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset", "cpuset.cpus", "0"),
    ({"cpu": {"idle": 1}}, "cpu", "cpu.idle", "1"),
    ({"pids": {"limit": 0}}, "pids", "pids.max", "1"),
    ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
    ({"pids": {"limit": 77}}, "pids", "pids.max", "77"),
    ({"blockIO": {"weight": 10}}, "blkio", "blkio.bfq.weight", "10"),
    ({"blockIO": {"weight": 1000}}, "blkio", "blkio.bfq.weight", "1000"),
]


@pytest.mark.row(81, 82, 83, 85, 87, 88, 89, 90, 91, 93, 94, 95, 96)
@pytest.mark.parametrize(("resources", "controller", "file", "expected"), FILES)
def test_a_limit_is_in_the_kernels_file_at_create(capsule, box, resources, controller, file, expected):
    box.linux["resources"] = resources
    capsule.create(box)
    found = value(box, controller, file)
    assert found == expected if isinstance(expected, str) else int(found) >= expected


@pytest.mark.row(86)
def test_the_oom_killer_is_disabled(capsule, box):
    box.linux["resources"] = {"memory": {"disableOOMKiller": True}}
    capsule.create(box)
    assert "oom_kill_disable 1" in value(box, "memory", "memory.oom_control").splitlines()


@pytest.mark.row(84)
@pytest.mark.parametrize("key", ["kernel", "kernelTCP"])
def test_kernel_memory_is_refused_before_anything_is_made(capsule, box, key):
    box.linux["resources"] = {"memory": {key: 9 * MIB}}
    assert f"linux.resources.memory.{key}: kernel memory cannot be limited" in capsule.create(box, rc=1).err
    assert not directory(box, "memory").exists()


@pytest.mark.row(92)
def test_real_time_is_given_in_the_order_that_the_kernel_takes(capsule, box):
    box.linux["cgroupsPath"] = f"/{box.id}-rt"
    if not os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        box.linux["resources"] = {"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 1000}}
        assert "cpu.rt_" in capsule.create(box, rc=1).err
        return
    box.linux["resources"] = {"cpu": {"realtimePeriod": 2000000, "realtimeRuntime": 1000}}
    capsule.create(box)
    assert value(box, "cpu", "cpu.rt_period_us") == "2000000"
    assert value(box, "cpu", "cpu.rt_runtime_us") == "1000"


@pytest.mark.row(99)
@pytest.mark.parametrize("rate", [1 << 30, (1 << 53) + 1, (1 << 64) - 1])
def test_throttles_are_exact(capsule, box, rate):
    device = disk()
    if not device:
        pytest.skip("this machine has no block device")
    major, minor = map(int, device.split(":"))
    entry = [{"major": major, "minor": minor, "rate": rate}]
    box.linux["resources"] = {"blockIO": {"throttleReadBpsDevice": entry, "throttleWriteBpsDevice": entry}}
    capsule.create(box)
    for name in ("read", "write"):
        found = value(box, "blkio", f"blkio.throttle.{name}_bps_device")
        # The kernel's own "no limit" is the largest number, and it does not list that.
        assert found == ("" if rate == (1 << 64) - 1 else f"{device} {rate}")


@pytest.mark.row(98)
def test_a_weight_of_a_device_is_the_schedulers_to_take(capsule, box):
    """Without the BFQ scheduler on the device the kernel refuses it: the error names file and value."""
    device = disk()
    if not device:
        pytest.skip("this machine has no block device")
    major, minor = map(int, device.split(":"))
    box.linux["resources"] = {"blockIO": {"weightDevice": [{"major": major, "minor": minor, "weight": 321}]}}
    result = capsule.create(box, rc=None)
    if result.rc == 0:
        assert f"{device} 321" in value(box, "blkio", "blkio.bfq.weight_device")
    else:
        assert f"write '{device} 321' to {directory(box, 'blkio')}/blkio.bfq.weight_device" in result.err


@pytest.mark.row(97)
def test_a_leaf_weight_needs_a_kernel_that_has_it(capsule, box):
    box.linux["resources"] = {"blockIO": {"leafWeight": 300}}
    err = capsule.create(box, rc=1).err
    assert "leaf_weight: no such file or directory" in err
    assert not directory(box, "blkio").exists()


ABSENT = [
    ("hugetlb", {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
    ("net_cls", {"network": {"classID": 1048577}}),
    ("net_prio", {"network": {"priorities": [{"name": "lo", "priority": 5}]}}),
    ("rdma", {"rdma": {"mlx5_0": {"hcaHandles": 3}}}),
]


@pytest.mark.row(100, 101, 102)
@pytest.mark.row(107)
@pytest.mark.parametrize(("controller", "resources"), ABSENT)
def test_a_limit_without_its_controller_is_refused_before_anything_is_made(capsule, box, controller, resources):
    if controller in MOUNTED or controller in on_v2():
        pytest.skip(f"{controller} is here")
    box.linux["resources"] = resources
    assert f"the {controller} controller is not mounted" in capsule.create(box, rc=1).err
    assert not directory(box, "pids").parent.exists()


def on_v2() -> list[str]:
    """Return the controllers of a v2 hierarchy beside those of v1."""
    try:
        return Path("/sys/fs/cgroup/unified/cgroup.controllers").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []


@pytest.mark.row(100, 108)
def test_beside_v1_a_controller_is_used_on_v2(capsule, box):
    if "hugetlb" in MOUNTED or "hugetlb" not in on_v2():
        pytest.skip("hugetlb is not on a v2 hierarchy beside v1")
    handed = Path("/sys/fs/cgroup/unified/cgroup.subtree_control")
    before = handed.read_text(encoding="ascii").split()
    box.linux["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
    capsule.create(box)
    try:
        assert value(box, "unified", "hugetlb.2MB.max") == str(4 * MIB)
    finally:
        capsule.call("delete", "--force", box.id)
        if "hugetlb" not in before:
            handed.write_text("-hugetlb", encoding="ascii")


REFUSED = [
    ({"unified": {"memory.high": "1"}}, "linux.resources.unified: it needs cgroup v2"),
    ({"unified": {"cgroup.procs": "1"}}, "moves, stops or ends processes"),
    ({"unified": {"../memory.high": "1"}}, "expected the name of a file in a cgroup"),
    ({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}, "memory.swap: expected memory and swap together"),
    ({"memory": {"swap": 32 * MIB}}, "memory.swap: it needs a memory limit"),
    ({"memory": {"limit": -1, "swap": 32 * MIB}}, "memory.swap: it is less than the unlimited"),
    ({"memory": {"limit": 2**63}}, "memory.limit: expected an integer"),
    ({"memory": {"limit": 1}}, "bytes are in use"),
    ({"memory": {"limit": 1, "checkBeforeUpdate": True}}, "rejecting memory limit 1"),
    ({"cpu": {"shares": 262145}}, "the maximum is 262144"),
    ({"cpu": {"period": 10}}, "write '10' to"),
    ({"cpu": {"quota": 20000, "burst": 30000}}, "cpu.burst: expected at most the quota, 20000, got 30000"),
    ({"cpu": {"cpus": "4095"}}, "write '4095' to"),
    ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugetlb"),
]


@pytest.mark.row(81, 83, 88, 89, 90, 91, 93, 100, 103)
@pytest.mark.parametrize(("resources", "words"), REFUSED)
def test_a_limit_that_cannot_be_is_refused_and_leaves_no_cgroup(capsule, box, resources, words):
    box.linux["resources"] = resources
    assert words in capsule.create(box, rc=1).err
    assert not capsule.exists(box)
    for controller in ("memory", "cpu", "cpuset", "pids"):
        assert not directory(box, controller).parent.exists()


@pytest.fixture
def prepared(capsule, box):
    """Give a bundle whose cgroup is there already, with limits of somebody else's."""
    made = []
    for controller in ("pids", "cpu", "memory"):
        for path in (directory(box, controller).parent, directory(box, controller)):
            path.mkdir()
            made.append(path)
    for controller, name, text in LIMITS:
        (directory(box, controller) / name).write_text(text)
    yield box
    capsule.delete(box, "--force", rc=None)
    for path in reversed(made):
        if path.exists():
            path.rmdir()


LIMITS = [("pids", "pids.max", "77"), ("cpu", "cpu.shares", "333"), ("cpu", "cpu.cfs_quota_us", "90000"),
          ("memory", "memory.limit_in_bytes", str(256 * MIB)), ("memory", "memory.swappiness", "9")]


@pytest.mark.row(61, 105)
@pytest.mark.parametrize("resources", [None, {}, {"memory": {}, "cpu": {}, "pids": {}},
                                       {"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0}}])
def test_what_is_not_asked_for_is_not_touched(capsule, prepared, resources):
    if resources is not None:
        prepared.linux["resources"] = resources
    capsule.create(prepared)
    assert value(prepared, "pids", "cgroup.procs") == str(capsule.pid(prepared))
    assert [value(prepared, controller, name) for controller, name, _ in LIMITS] == [text for _, _, text in LIMITS]


@pytest.mark.row(61)
def test_the_same_path_is_the_same_cgroup(capsule, bundle, box):
    """Absolute from the mount point; a second container of that path is refused while the first has processes."""
    capsule.create(box)
    other = bundle(["/payload", "pause"])
    other.linux["cgroupsPath"] = box.linux["cgroupsPath"]
    assert "cgroup is not empty" in capsule.create(other, rc=1).err
    assert value(box, "pids", "cgroup.procs") == str(capsule.pid(box))
    capsule.delete(box, "--force")
    capsule.create(other)
    assert value(other, "pids", "cgroup.procs") == str(capsule.pid(other))


@requires("userns")
@pytest.mark.row(62)
@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
@pytest.mark.parametrize("words", [["rw"], ["ro"]], ids=["rw", "ro"])
def test_a_v1_cgroup_stays_roots(capsule, box, private, words):
    """Delegation is not secure on v1, whatever the container's mounts and namespaces."""
    box.user_namespace().mount("/sys/fs/cgroup", "cgroup", "cgroup", *words)
    if private:
        box.namespace("cgroup")
    capsule.create(box)
    for controller in ("memory", "pids", "cpu"):
        for path in (directory(box, controller), *directory(box, controller).iterdir()):
            assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)


@pytest.mark.row(80)
@pytest.mark.parametrize(("rules", "errno"), [
    ([{"allow": False, "access": "rwm"}], 1),
    ([{"allow": True, "access": "rwm"}], 0),
    ([{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}], 0),
    ([{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rw"}], 1),
    ([{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": -1, "access": "r"}], 0),
    ([{"allow": True, "type": "a", "access": "rwm"}, {"allow": False, "access": "rwm"}], 1),
])
def test_the_last_matching_device_rule_decides(capsule, box, rules, errno):
    """/dev/kmsg is opened for reading only: that harms nothing where a rule fails to hold."""
    box.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o444}]
    box.linux["resources"] = {"devices": rules}
    box.capabilities("CAP_SYSLOG")
    (found,) = capsule.attempts(box, "open", "/dev/kmsg")
    assert found["errno"] == errno
