"""Scheduling, I/O priority, CPU affinity, execution domain, memory policy: what the kernel says the program has."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from helpers.requires import ROOT, requires
from helpers.runtime import FAILS, one_line

pytestmark = requires("root", "runtime", "busybox", "gcc")

OTHER, FIFO, RR, BATCH, IDLE, DEADLINE = 0, 1, 2, 3, 5, 6
RT, BE, IO_IDLE = 1, 2, 3
REAL_TIME = {"realtimeRuntime": 10000, "realtimePeriod": 1000000}  # us; a cgroup v1 hands it out


def io(kind: int, level: int) -> str:
    return "idle" if kind == IO_IDLE else f"{('', 'realtime', 'best-effort')[kind]}: prio {level}"


def ionice(pid: int) -> str:
    """Ask the kernel through util-linux for a process's I/O priority."""
    return subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.strip()


def refused(capsule, box, where: str, *words: str) -> None:
    """Assert one line that names the place; nothing is left."""
    line = one_line(capsule.run(box.args("/payload", "exit", "0"), rc=1))
    for word in (where, *words):
        assert word in line, line
    assert not capsule.exists(box)


# Scheduler

@pytest.mark.row(24)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 sets it after the filter", strict=False)
@pytest.mark.parametrize(("wanted", "facts"), [
    ({"policy": "SCHED_OTHER", "nice": 7}, {"policy": OTHER, "nice": 7}),
    ({"policy": "SCHED_OTHER", "nice": -20}, {"policy": OTHER, "nice": -20}),
    ({"policy": "SCHED_BATCH", "nice": 3}, {"policy": BATCH, "nice": 3}),
    ({"policy": "SCHED_IDLE"}, {"policy": IDLE}),
    pytest.param({"policy": "SCHED_FIFO", "priority": 1}, {"policy": FIFO, "priority": 1}, marks=requires("realtime")),
    pytest.param({"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
                 {"policy": RR, "priority": 99, "flags": 1}, marks=requires("realtime")),
    ({"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000, "period": 40000000,
      "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]},
     {"policy": DEADLINE, "runtime": 1000000, "deadline": 20000000, "period": 40000000, "flags": 6}),
], ids=["nice", "minus 20", "batch", "idle", "fifo", "round robin", "deadline"])
def test_the_scheduler_of_the_first_process(capsule, bundle, wanted, facts):
    box = bundle().user(1000, 1000)
    box.process["scheduler"] = wanted
    if "priority" in wanted and os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        box.linux["resources"] = {"cpu": dict(REAL_TIME)}
    found = capsule.probe(box)["sched"]
    assert {key: found[key] for key in facts} == facts


@pytest.mark.row(24)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 ignores it for exec", strict=False)
def test_an_exec_has_the_configs_scheduler_or_its_own(capsule, bundle, workdir):
    box = bundle(["/payload", "pause"])
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 4}
    capsule.start_container(box)
    assert capsule.probe_exec(box)["sched"]["policy"] == BATCH
    own = {**box.process, "args": ["/payload", "probe"], "scheduler": {"policy": "SCHED_IDLE"}}
    found = capsule.call("exec", "--process", process_file(workdir, own), box.id).json
    assert found["sched"]["policy"] == IDLE


def process_file(workdir, tree: dict):
    path = workdir / "process.json"
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.row(24)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 checks none of it")
@pytest.mark.parametrize(("wanted", "where"), [
    ({"nice": 1}, "process.scheduler.policy"),
    ({"policy": "SCHED_ROUND"}, "process.scheduler.policy"),
    ({"policy": "SCHED_ISO"}, "process.scheduler.policy"),
    ({"policy": "SCHED_OTHER", "nice": 20}, "process.scheduler.nice"),
    ({"policy": "SCHED_FIFO", "priority": 1, "nice": 1}, "process.scheduler.nice"),
    ({"policy": "SCHED_FIFO"}, "process.scheduler.priority"),
    ({"policy": "SCHED_RR", "priority": 100}, "process.scheduler.priority"),
    ({"policy": "SCHED_OTHER", "priority": 1}, "process.scheduler.priority"),
    ({"policy": "SCHED_BATCH", "runtime": 1}, "process.scheduler.runtime"),
    ({"policy": "SCHED_DEADLINE", "deadline": 10, "period": 10}, "process.scheduler.runtime"),
    ({"policy": "SCHED_DEADLINE", "runtime": 11, "deadline": 10}, "process.scheduler.deadline"),
    ({"policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 10, "period": 9}, "process.scheduler.period"),
    ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RECLAIM"]}, "process.scheduler.flags[0]"),
    ({"policy": "SCHED_OTHER", "flags": ["NO_FLAG"]}, "process.scheduler.flags[0]"),
])
def test_a_scheduler_that_cannot_be_is_refused(capsule, bundle, wanted, where):
    box = bundle()
    box.process["scheduler"] = wanted
    refused(capsule, box, where)


@pytest.mark.row(24)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="says less")
def test_real_time_that_the_cgroup_does_not_have_is_explained(capsule, bundle):
    if not os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        pytest.skip("no cgroup v1 that hands out real time")
    box = bundle()
    box.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1}
    refused(capsule, box, "set scheduler SCHED_FIFO", "linux.resources.cpu.realtimeRuntime")


# I/O priority

@pytest.mark.row(25)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
@pytest.mark.parametrize(("wanted", "value"), [
    ({"class": "IOPRIO_CLASS_RT", "priority": 3}, io(RT, 3)),
    ({"class": "IOPRIO_CLASS_BE", "priority": 7}, io(BE, 7)),
    ({"class": "IOPRIO_CLASS_BE"}, io(BE, 0)),
    ({"class": "IOPRIO_CLASS_IDLE", "priority": 0}, io(IO_IDLE, 0)),
])
def test_the_io_priority(capsule, bundle, wanted, value):
    box = bundle(["/payload", "pause"]).user(1000, 1000)
    box.process["ioPriority"] = wanted
    capsule.start_container(box)
    assert ionice(capsule.pid(box)) == value
    kind, level = divmod(capsule.probe_exec(box)["ioprio"], 1 << 13)
    assert io(kind, level) == value


@pytest.mark.row(25)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
@pytest.mark.parametrize(("wanted", "where"), [
    ({"priority": 1}, "process.ioPriority.class"),
    ({"class": "IOPRIO_CLASS_NONE"}, "process.ioPriority.class"),
    ({"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority"),
    ({"class": "IOPRIO_CLASS_BE", "priority": -1}, "process.ioPriority.priority"),
])
def test_an_io_priority_that_cannot_be_is_refused(capsule, bundle, wanted, where):
    box = bundle()
    box.process["ioPriority"] = wanted
    refused(capsule, box, where)


# CPU affinity

@requires("cpus2")
@pytest.mark.row(26)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
@pytest.mark.parametrize(("wanted", "cpus"), [
    ({"final": "1"}, [1]), ({"initial": "0", "final": "1"}, [1]), ({"final": "0-1"}, [0, 1]),
    ({"initial": "", "final": ""}, [0, 1])])
def test_the_affinity_of_an_exec(capsule, bundle, wanted, cpus):
    box = bundle(["/payload", "pause"])
    box.process["execCPUAffinity"] = wanted
    capsule.start_container(box)
    found = capsule.probe_exec(box)["cpu_list"]
    assert [cpu for cpu in found if cpu < 2] == cpus


@requires("cpus2")
@pytest.mark.row(26)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
def test_the_affinity_is_not_the_first_process_s(capsule, bundle):
    box = bundle()
    box.process["execCPUAffinity"] = {"initial": "0", "final": "1"}
    assert capsule.probe(box)["cpus"] == os.cpu_count()


@requires("cpus2")
@pytest.mark.row(26)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
def test_a_process_of_its_own_has_its_own_affinity(capsule, bundle, workdir, payload):
    """And the caller's mask never reaches it."""
    box = bundle(["/payload", "pause"])
    box.process["execCPUAffinity"] = {"final": "1"}
    capsule.start_container(box)
    own = {**box.process, "args": ["/payload", "probe"], "execCPUAffinity": {"final": "0"}}
    scene = [str(payload), "host", "cpu", "1"]
    found = capsule.call("exec", "--process", process_file(workdir, own), box.id, scene=scene).json
    assert found["cpu_list"] == [0]


@pytest.mark.row(26)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
@pytest.mark.parametrize("text", ["x", "1-", "3-1", "-1", "0,,1", "99999", "0;1"])
def test_a_list_of_cpus_that_is_none_is_refused(capsule, bundle, text):
    box = bundle()
    box.process["execCPUAffinity"] = {"initial": text}
    refused(capsule, box, "process.execCPUAffinity.initial", "expected a list such as 0-3,7")


@pytest.mark.row(26)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
@pytest.mark.parametrize("name", ["initial", "final"])
def test_cpus_that_are_not_there_fail_the_exec(capsule, bundle, name):
    box = bundle(["/payload", "pause"])
    box.process["execCPUAffinity"] = {name: "4000-4010"}
    capsule.start_container(box)
    line = one_line(capsule.exec(box, "/payload", "exit", "0", rc=FAILS))
    assert f"execCPUAffinity.{name} 4000-4010" in line
    assert len(capsule.ps(box, "--format", "json").json) == 1


# Execution domain

@pytest.mark.row(67)
@pytest.mark.rival(runc="1.1.5 does not know it", strict=False)
@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_the_execution_domain(capsule, bundle, domain, number):
    box = bundle(["/payload", "pause"])
    box.linux["personality"] = {"domain": domain}
    pid = capsule.start_container(box)
    with open(f"/proc/{pid}/personality", encoding="ascii") as file:
        assert int(file.read(), 16) == number
    facts = capsule.probe_exec(box)
    assert facts["personality"] == number
    assert facts["machine"] == ("i686" if domain == "LINUX32" else os.uname().machine)


@pytest.mark.row(67, 68)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="ignores them")
@pytest.mark.parametrize(("wanted", "where"), [
    ({"domain": "LINUX64"}, "linux.personality.domain"),
    ({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}, "linux.personality.flags[0]"),
])
def test_an_execution_domain_that_cannot_be_is_refused(capsule, bundle, wanted, where):
    box = bundle()
    box.linux["personality"] = wanted
    refused(capsule, box, where)


@pytest.mark.row(68)
@pytest.mark.rival(runc="1.1.5 does not know it", strict=False)
def test_an_empty_list_of_flags_asks_for_nothing(capsule, bundle):
    box = bundle()
    box.linux["personality"] = {"domain": "LINUX32", "flags": []}
    assert capsule.probe(box)["personality"] == 8


# Memory policy

@pytest.mark.row(69)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
@pytest.mark.parametrize(("wanted", "mode", "nodes"), [
    ({"mode": "MPOL_BIND", "nodes": "0"}, 2, 1),
    ({"mode": "MPOL_PREFERRED", "nodes": "0"}, 1, 1),
    ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, 3, 1),
    ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, 6, 1),
    ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, 5, 1),
    ({"mode": "MPOL_LOCAL"}, 4, 0),
    ({"mode": "MPOL_DEFAULT"}, 0, 0),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 2 | 1 << 15, 1),
    ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, 3 | 1 << 14, 1),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, 2 | 1 << 13, 1),
])
def test_the_memory_policy(capsule, bundle, wanted, mode, nodes):
    if not os.path.exists("/proc/self/numa_maps"):
        pytest.skip("a kernel without NUMA")
    box = bundle(["/payload", "pause"])
    box.linux["memoryPolicy"] = wanted
    capsule.start_container(box)
    assert capsule.probe_exec(box)["mempolicy"] == {"mode": mode, "nodes": nodes}
    with open(f"/proc/{capsule.pid(box)}/numa_maps", encoding="ascii") as file:
        word = file.read().split("\n", 1)[0].split()[1]
    shown = wanted["mode"].removeprefix("MPOL_").lower().replace("_", " ")
    assert word.startswith({"preferred many": "prefer", "preferred": "prefer",
                            "weighted interleave": "weighted"}.get(shown, shown))


@pytest.mark.row(69)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
@pytest.mark.parametrize(("wanted", "where"), [
    ({"nodes": "0"}, "linux.memoryPolicy.mode"),
    ({"mode": "MPOL_RANDOM"}, "linux.memoryPolicy.mode"),
    ({"mode": "MPOL_BIND"}, "linux.memoryPolicy.nodes"),
    ({"mode": "MPOL_BIND", "nodes": "2-1"}, "linux.memoryPolicy.nodes"),
    ({"mode": "MPOL_LOCAL", "nodes": "0"}, "linux.memoryPolicy.nodes"),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_MOVE"]}, "linux.memoryPolicy.flags[0]"),
    ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, "linux.memoryPolicy.flags[0]"),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]},
     "linux.memoryPolicy.flags[1]"),
])
def test_a_memory_policy_that_cannot_be_is_refused(capsule, bundle, wanted, where):
    box = bundle()
    box.linux["memoryPolicy"] = wanted
    refused(capsule, box, where)


@pytest.mark.row(69)
@pytest.mark.rival(runc="1.1.5 does not know it", crun="1.8.1 does not know it")
def test_a_node_that_is_not_there_is_named_with_those_that_are(capsule, bundle):
    if not os.path.exists("/proc/self/numa_maps") or os.path.exists("/sys/devices/system/node/node63"):
        pytest.skip("a kernel without NUMA, or a machine with 64 nodes")
    box = bundle()
    box.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "63"}
    refused(capsule, box, "set memory policy MPOL_BIND 63", "the nodes allowed are 0")


# Labels

def has(path: str) -> bool:
    return os.path.exists(path)


@pytest.mark.row(19, 179)
@pytest.mark.skipif(has("/sys/module/apparmor"), reason="AppArmor is here")
def test_an_apparmor_profile_without_apparmor_is_refused(capsule, bundle):
    box = bundle()
    box.process["apparmorProfile"] = "a-profile"
    line = capsule.run(box, rc=FAILS).err
    assert "apparmor" in line.lower()
    assert not capsule.exists(box)
    running = bundle(["/payload", "pause"])
    capsule.start_container(running)
    err = capsule.exec(running, "/payload", "exit", "0", flags=["--apparmor", "a-profile"], rc=FAILS).err
    assert "AppArmor is not enabled" in err and "a-profile" in err


@pytest.mark.row(20, 179)
@pytest.mark.rival(runc="1.1.5 ignores it", crun="ignores it", strict=False)
@pytest.mark.skipif(has("/sys/fs/selinux/enforce"), reason="SELinux is here")
def test_an_selinux_label_without_selinux_is_refused(capsule, bundle):
    box = bundle()
    box.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
    refused(capsule, box, "SELinux is not enabled", "container_t")
    running = bundle(["/payload", "pause"])
    capsule.start_container(running)
    err = capsule.exec(running, "/payload", "exit", "0", flags=["--process-label", "a_label"], rc=FAILS).err
    assert "SELinux is not enabled" in err and "a_label" in err


@pytest.mark.row(65)
@pytest.mark.rival(runc="1.1.5 ignores it", crun="ignores it", strict=False)
@pytest.mark.skipif(has("/sys/fs/selinux/enforce"), reason="SELinux is here")
def test_a_mount_label_without_selinux_is_refused(capsule, bundle):
    box = bundle()
    box.linux["mountLabel"] = "system_u:object_r:container_file_t:s0"
    refused(capsule, box, "apply mount label", "SELinux is not enabled")


def believe(capsule, module: str) -> None:
    """Have capsule, under an ordinary Python, take the machine to have a security module; the kernel knows better."""
    if capsule.name != "capsule":
        pytest.skip("another runtime")
    capsule.argv = [sys.executable, "-I", str(ROOT / "tests/helpers/fallback.py"), module]


@pytest.mark.row(19, 20)
@pytest.mark.skipif(has("/sys/fs/selinux/enforce") or has("/sys/module/apparmor"), reason="a module is here")
@pytest.mark.parametrize("userns", [False, True])
@pytest.mark.parametrize(("module", "field", "flag"), [
    ("apparmor", "apparmorProfile", "--apparmor"), ("selinux", "selinuxLabel", "--process-label")])
def test_a_label_that_the_kernel_does_not_take_starts_nothing(
        capsule, bundle, module, field, flag, userns):
    """It is written to the kernel's own file, found through a procfs that no container controls."""
    believe(capsule, module)
    box = bundle().shell("echo ran > /data/said")
    if userns:
        box.user_namespace()
    box.process[field] = "a-label"
    (box.rootfs / "data").chmod(0o777)
    capsule.create(box)
    assert "label: " in one_line(capsule.start(box, rc=FAILS))
    capsule.wait_status(box, "stopped")
    assert not (box.rootfs / "data/said").exists()
    capsule.delete(box)
    running = bundle(["/payload", "pause"])
    capsule.start_container(running)
    assert "label: " in one_line(capsule.exec(running, "/payload", "exit", "0", flags=[flag, "a-label"], rc=FAILS))
    assert len(capsule.ps(running, "--format", "json").json) == 1
    capsule.delete(running, "--force")
