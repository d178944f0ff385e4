"""Limits of containers on a host with cgroup v2 alone: the kernel's files, and what the kernel does for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.wait import wait_until

pytestmark = pytest.mark.requires("root", "runtime", "unified")

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20


@pytest.fixture
def box(bundle):
    """Give a bundle whose cgroup has a name of its own, and no limits."""
    made = bundle(["/payload", "pause"])
    made.linux["cgroupsPath"] = f"/{made.id}-cg/leaf"
    made.linux.pop("resources", None)
    return made


def directory(box) -> Path:
    return ROOT / box.linux["cgroupsPath"].strip("/")


def value(box, name: str) -> str:
    return (directory(box) / name).read_text(encoding="ascii").strip()


def offers(name: str) -> None:
    """Skip a test that needs a controller which this kernel has not."""
    if name not in (ROOT / "cgroup.controllers").read_text(encoding="ascii").split():
        pytest.skip(f"this kernel has no {name} controller on v2")


FILES = [
    ({"memory": {"limit": 64 * MIB}}, "memory.max", str(64 * MIB)),
    ({"memory": {"limit": -1}}, "memory.max", "max"),
    ({"memory": {"reservation": 32 * MIB}}, "memory.low", str(32 * MIB)),
    ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory.swap.max", str(32 * MIB)),
    ({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, "memory.swap.max", "0"),
    ({"memory": {"limit": 64 * MIB, "swap": -1}}, "memory.swap.max", "max"),
    ({"pids": {"limit": 0}}, "pids.max", "1"),
    ({"pids": {"limit": 1}}, "pids.max", "1"),
    ({"pids": {"limit": 20}}, "pids.max", "20"),
    ({"pids": {"limit": -1}}, "pids.max", "max"),
    ({"cpu": {"shares": 1024}}, "cpu.weight", "100"),
    ({"cpu": {"shares": 2}}, "cpu.weight", "1"),
    ({"cpu": {"quota": 50000}}, "cpu.max", "50000 100000"),
    ({"cpu": {"quota": 40000, "period": 200000, "burst": 1000}}, "cpu.max.burst", "1000"),
    ({"cpu": {"period": 50000}}, "cpu.max", "max 50000"),
    ({"cpu": {"idle": 1, "shares": 512}}, "cpu.idle", "1"),
    ({"cpu": {"cpus": "0"}}, "cpuset.cpus", "0"),
    ({"cpu": {"mems": "0"}}, "cpuset.mems", "0"),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "hugetlb.2MB.max", str(4 * MIB)),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "hugetlb.2MB.rsvd.max", str(4 * MIB)),
    ({"unified": {"memory.high": "10485760"}}, "memory.high", "10485760"),
    ({"pids": {"limit": 9}, "unified": {"pids.max": "7"}}, "pids.max", "7"),
]


@pytest.mark.row(81, 82, 83, 89, 90, 91, 93, 94, 95, 100, 103)
@pytest.mark.parametrize(("resources", "file", "expected"), FILES)
def test_a_limit_is_in_the_kernels_file_at_create(capsule, box, resources, file, expected):
    offers(file.partition(".")[0])
    box.linux["resources"] = resources
    capsule.create(box)
    assert value(box, file) == expected


def disk() -> str:
    """Return major:minor of a block device of this machine, "" where there is none."""
    for name in sorted(os.listdir("/sys/block")):
        text = Path("/sys/block", name, "dev").read_text(encoding="ascii").strip()
        if int(Path("/sys/block", name, "size").read_text(encoding="ascii")):
            return text
    pytest.skip("this machine has no block device")


@pytest.mark.row(99)
def test_throttles_are_one_line_of_the_device(capsule, box):
    offers("io")
    device = disk()
    major, minor = map(int, device.split(":"))
    entry = [{"major": major, "minor": minor, "rate": (1 << 53) + 1}]
    box.linux["resources"] = {"blockIO": {"throttleReadBpsDevice": entry, "throttleWriteIOPSDevice": [
        {"major": major, "minor": minor, "rate": 300}]}}
    capsule.create(box)
    assert value(box, "io.max") == f"{device} rbps={(1 << 53) + 1} wbps=max riops=max wiops=300"


@pytest.mark.row(105)
def test_what_is_not_asked_for_is_not_touched(capsule, box):
    before = (ROOT / "cgroup.subtree_control").read_text(encoding="ascii")
    capsule.create(box)
    assert (ROOT / "cgroup.subtree_control").read_text(encoding="ascii") == before
    assert (directory(box).parent / "cgroup.subtree_control").read_text(encoding="ascii").strip() == ""


@pytest.mark.row(107)
@pytest.mark.parametrize(("resources", "words"), [
    ({"unified": {"nonsense.max": "1"}}, "/sys/fs/cgroup/cgroup.controllers has not nonsense"),
    ({"network": {"classID": 5}}, "linux.resources.network.classID: cgroup v2 has no such limit"),
    ({"memory": {"swappiness": 5}}, "linux.resources.memory.swappiness: cgroup v2 has no such limit"),
    ({"memory": {"kernel": 50 * MIB}}, "linux.resources.memory.kernel: kernel memory cannot be limited"),
    ({"unified": {"cgroup.procs": "1"}}, "cgroup.procs"),
    ({"unified": {"cgroup.freeze": "1"}}, "cgroup.freeze"),
    ({"cpu": {"realtimeRuntime": 5}}, "linux.resources.cpu.realtimeRuntime: cgroup v2 has no such limit"),
])
def test_a_limit_that_cannot_be_is_refused_before_anything_is_made(capsule, box, resources, words):
    box.linux["resources"] = resources
    assert words in capsule.create(box, rc=1).err
    assert not directory(box).parent.exists()


@pytest.mark.parametrize("resources", [
    {"cpu": {"period": 100}}, {"unified": {"memory.max": "lots"}}, {"unified": {"pids.nonsense": "1"}}])
def test_a_limit_that_the_kernel_refuses_leaves_no_cgroup(capsule, box, resources):
    box.linux["resources"] = resources
    err = capsule.create(box, rc=1).err
    assert f"{directory(box)}/" in err
    assert not directory(box).parent.exists()


@pytest.mark.row(107)
def test_a_parent_with_processes_cannot_hand_down_and_is_named(capsule, box, leaks):
    parent = directory(box).parent
    parent.mkdir()
    helper = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        (parent / "cgroup.procs").write_text(str(helper))
        box.linux["resources"] = {"memory": {"limit": 64 * MIB}}
        err = capsule.create(box, rc=1).err
        assert f"enable controller memory in {parent}/cgroup.subtree_control: processes are in it" in err
        assert not directory(box).exists()
        # Without limits it runs, and nothing makes a threaded domain of the parent.
        del box.linux["resources"]
        capsule.create(box)
        assert (parent / "cgroup.type").read_text().strip() == "domain"
        capsule.call("delete", "--force", box.id)
    finally:
        os.kill(helper, 9)
        os.waitpid(helper, 0)
        wait_until(lambda: not (parent / "cgroup.procs").read_text())
        parent.rmdir()


@pytest.mark.row(107)
def test_below_a_threaded_cgroup_nothing_runs_and_it_is_said(capsule, box, leaks):
    parent = directory(box).parent
    threaded = parent / "threads"
    threaded.mkdir(parents=True)
    try:
        (threaded / "cgroup.type").write_text("threaded")
        box.linux["cgroupsPath"] = f"/{parent.name}/threads/leaf"
        err = capsule.create(box, rc=1).err
        assert "join cgroup" in err
        assert "domain invalid" in err
        box.linux["resources"] = {"memory": {"limit": 64 * MIB}}
        err = capsule.create(box, rc=1).err
        assert "threaded" in err or "domain invalid" in err
        assert not (threaded / "leaf").exists()
    finally:
        threaded.rmdir()
        parent.rmdir()


@pytest.mark.parametrize("where", ["itself", "its parent"])
def test_a_frozen_cgroup_is_refused_at_once(capsule, box, leaks, where):
    leaf = directory(box)
    leaf.mkdir(parents=True)
    frozen = leaf if where == "itself" else leaf.parent
    try:
        if frozen != leaf:
            leaf.rmdir()
        (frozen / "cgroup.freeze").write_text("1")
        assert "frozen" in capsule.create(box, rc=1).err
        (frozen / "cgroup.freeze").write_text("0")
    finally:
        if leaf.exists():
            leaf.rmdir()
        leaf.parent.rmdir()


def test_a_busy_cgroup_is_refused(capsule, box, leaks):
    leaf = directory(box)
    leaf.mkdir(parents=True)
    helper = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        (leaf / "cgroup.procs").write_text(str(helper))
        assert "1 process(es) found" in capsule.create(box, rc=1).err
    finally:
        os.kill(helper, 9)
        os.waitpid(helper, 0)
        wait_until(lambda: not (leaf / "cgroup.procs").read_text())
        leaf.rmdir()
        leaf.parent.rmdir()


@pytest.mark.parametrize("path", ["/../x", "a/../../b", "..", "/a/.."])
def test_a_path_that_climbs_is_refused(capsule, box, path):
    box.linux["cgroupsPath"] = path
    assert "linux.cgroupsPath" in capsule.create(box, rc=1).err


@pytest.mark.row(81)
def test_too_little_memory_for_the_first_process_is_told_at_create(capsule, box):
    offers("memory")
    box.linux["resources"] = {"memory": {"limit": 4096}}
    err = capsule.create(box, rc=1).err
    assert "memory" in err
    assert "out of memory" in err
    assert not directory(box).parent.exists()


@pytest.mark.row(80)
def test_the_last_matching_device_rule_decides(capsule, box):
    box.linux["resources"] = {"devices": [
        {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}]}
    box.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    box.capabilities("CAP_SYSLOG", "CAP_DAC_OVERRIDE")
    box.shell("(: < /dev/kmsg) && echo read; (: > /dev/kmsg) || echo refused; : < /dev/null && echo null")
    out = capsule.run(box).out
    assert out.split() == ["read", "refused", "null"]


@pytest.mark.row(104)
def test_update_changes_what_is_named_and_takes_a_failure_back(capsule, box):
    offers("memory")
    box.linux["resources"] = {"cpu": {"quota": 50000, "burst": 1000}, "memory": {"limit": 64 * MIB, "swap": 96 * MIB},
                              "pids": {"limit": 20}}
    capsule.create(box)
    capsule.call("update", "--memory", "80M", "--memory-swap", "100M", "--pids-limit", "-1", box.id)
    assert [value(box, name) for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.max.burst")] == [
        str(80 * MIB), str(20 * MIB), "max", "50000 100000", "1000"]
    capsule.call("update", "--cpu-period", "200000", box.id)
    assert value(box, "cpu.max") == "50000 200000"
    capsule.call("update", "--cpu-quota", "7000", "--cpu-period", "10", "--pids-limit", "3", box.id, rc=1)
    assert value(box, "cpu.max") == "50000 200000"
    assert value(box, "pids.max") == "max"
    capsule.call("update", "--pids-limit", "0", box.id)
    assert value(box, "pids.max") == "1"


@pytest.mark.row(88)
def test_a_limit_below_the_usage_is_rejected_where_that_is_asked(capsule, box):
    offers("memory")
    box.linux["resources"] = {"memory": {"limit": 64 * MIB}}
    capsule.create(box)
    document = json.dumps({"memory": {"limit": 4096, "checkBeforeUpdate": True}}).encode()
    assert "rejecting memory limit" in capsule.call("update", "-r", "-", box.id, stdin=document, rc=1).err
    assert value(box, "memory.max") == str(64 * MIB)
    assert capsule.status(box) == "created"


def test_the_pids_limit_is_kept_by_the_kernel(capsule, box):
    box.linux["resources"] = {"pids": {"limit": 3}}
    box.shell("for i in 1 2 3 4 5; do sleep 5 & done; echo all")
    result = capsule.run(box, rc=None)
    assert "all" not in result.out
    assert "fork" in result.err


def test_processes_beyond_the_memory_limit_are_killed_and_told(capsule, box):
    offers("memory")
    box.linux["resources"] = {"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}
    box.shell("x=0123456789abcdef; while :; do x=$x$x; done")
    result = capsule.run(box, rc=None)
    assert result.rc in (137, 2)


def test_statistics_have_the_limits_and_pressure(capsule, box):
    offers("memory")
    box.linux["resources"] = {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}, "pids": {"limit": 20}}
    capsule.create(box)
    data = json.loads(capsule.call("events", "--stats", box.id).out)["data"]
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert data["memory"]["swap"]["limit"] == 96 * MIB
    assert data["pids"]["limit"] == 20
    assert data["pids"]["current"] >= 1
    assert data["cpu"]["usage"]["total"] > 0
    if os.path.exists("/proc/pressure/cpu"):
        assert set(data["cpu"]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}
    if (directory(box) / "memory.peak").exists():
        assert data["memory"]["usage"]["max"] >= data["memory"]["usage"]["usage"] > 0


def owner(path: Path) -> int:
    return os.stat(path).st_uid


def cgroup_mount(*options: str) -> dict:
    return {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", *options]}


@pytest.mark.parametrize(("namespace", "options", "delegated"), [
    (True, ("rw",), True), (True, (), True), (True, ("ro",), False), (False, ("rw",), False), (True, None, False)])
def test_the_cgroup_is_its_users_only_where_it_sees_nothing_else(capsule, box, namespace, options, delegated):
    if namespace:
        box.linux["namespaces"].append({"type": "cgroup"})
    if options is not None:
        box.config["mounts"].append(cgroup_mount(*options))
    box.user(1000)
    capsule.create(box)
    expected = 1000 if delegated else 0
    leaf = directory(box)
    files = Path("/sys/kernel/cgroup/delegate").read_text(encoding="ascii").split()
    assert owner(leaf) == expected
    assert {owner(leaf / name) for name in files if (leaf / name).exists()} == {expected}
    assert {owner(path) for path in leaf.iterdir() if path.name not in files} == {0}


def test_exec_enters_the_cgroup_of_a_cgroup_namespace(capsule, box):
    """A mount with nsdelegate, as systemd makes it, lets no process be cloned across the namespace's border."""
    box.linux["namespaces"].append({"type": "cgroup"})
    capsule.start_container(box)
    assert capsule.exec(box, "/bin/cat", "/proc/self/cgroup").out == "0::/\n"
    assert value(box, "cgroup.procs") == str(capsule.pid(box))


def test_a_delegated_container_limits_what_is_below_it_and_exec_follows(capsule, box):
    box.linux["namespaces"].append({"type": "cgroup"})
    box.config["mounts"].append(cgroup_mount("rw"))
    box.linux["resources"] = {"pids": {"limit": 50}}
    box.user(1000)
    box.shell("cd /sys/fs/cgroup && mkdir init && echo $$ > init/cgroup.procs && echo +pids > cgroup.subtree_control"
              " && echo 5 > init/pids.max && echo done && exec /payload pause")
    capsule.create(box)
    capsule.call("start", box.id)
    wait_until(lambda: (directory(box) / "init/pids.max").exists() and value(box, "init/pids.max") == "5")
    assert capsule.call("exec", box.id, "/bin/cat", "/proc/self/cgroup").out.strip() == "0::/init"
    assert capsule.call("exec", "--user", "1000", box.id, "/bin/sh", "-c",
                        "echo 60 > /sys/fs/cgroup/pids.max", rc=None).rc != 0
    capsule.call("kill", "--all", box.id, "KILL")
    wait_until(lambda: capsule.status(box) == "stopped")
    capsule.call("delete", box.id)
    assert not directory(box).parent.exists()
