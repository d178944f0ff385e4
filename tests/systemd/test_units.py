"""Containers in units of a real systemd (docs/systemd.md): what systemd says of them and what the kernel says."""

from __future__ import annotations

import os
import signal

import pytest
from helpers import process, stops
from helpers.requires import requires
from helpers.runtime import DEADLINE, FAILS
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "systemd", "busybox", "gcc")

DENY_ALL = {"devices": [{"allow": False, "access": "rwm"}]}


@pytest.fixture
def web(bundle):
    """Give a bundle in a unit of its own name: ctN-web-….scope."""
    box = bundle(["/payload", "pause"])
    prefix, _, number = box.id.rpartition("-")
    box.linux["cgroupsPath"] = f"ctest.slice:{prefix}:{number}"
    return box


def unit_of(bundle):
    return f"{bundle.id}.scope"


def cgroup_of(bundle):
    return f"/ctest.slice/{unit_of(bundle)}"


def kill(stopped):
    """Kill the runtime that has stopped itself; nsenter, which stops with its child, goes on."""
    running = stopped.running
    pids = [running.pid, *process.descendants(running.pid)]
    for pid in pids:
        if process.state(pid) == "T" and process.stat(pid)[0] != "nsenter":
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: running.popen.poll() is not None or _go_on(running.pid), 30, "the end of the runtime")


def _go_on(pid):
    if process.state(pid) == "T":
        os.kill(pid, signal.SIGCONT)
    return False


def is_gone(box, unit, cgroup):
    """Tell whether neither systemd nor the kernel has anything of a unit left; any slice's name is "loaded"."""
    assert box.show(unit, "ActiveState") == {"ActiveState": "inactive"}
    assert unit.endswith(".slice") or not box.is_there(unit)
    return box.run("find", "/sys/fs/cgroup", "-name", os.path.basename(cgroup)) == ""


@pytest.mark.row(106)
def test_a_container_lives_in_a_unit_of_its_own(box, capsule, web):
    pid = capsule.start_container(web)
    cgroups = box.cgroups_of(pid)
    shown = box.show(unit_of(web), "Slice", "Delegate", "Description", "DefaultDependencies", "ControlGroup",
                     "ActiveState", "MemoryAccounting", "CPUAccounting", "TasksAccounting", "Transient")

    assert set(cgroups.values() if box.layout == "v1" else [cgroups[""]]) == {cgroup_of(web)}
    assert shown == {
        "Slice": "ctest.slice", "Delegate": "yes", "Description": f"capsule container {web.id.rpartition('-')[2]}",
        "DefaultDependencies": "no", "ControlGroup": cgroup_of(web), "ActiveState": "active", "MemoryAccounting": "yes",
        "CPUAccounting": "yes", "TasksAccounting": "yes", "Transient": "yes"}
    # Nobody but the container is in it: the process that the scope began with has gone.
    assert box.file("systemd", cgroup_of(web), "cgroup.procs") == str(pid)
    capsule.kill(web, "KILL")
    capsule.wait_status(web, "stopped")
    capsule.delete(web)
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_without_a_path_the_unit_is_named_after_the_id(box, capsule, bundle):
    web = bundle(["/payload", "pause"])
    pid = capsule.start_container(web)

    assert box.cgroups_of(pid)[""] == f"/system.slice/capsule-{web.id}.scope"


@pytest.mark.row(106)
def test_slices_nest_as_their_names_say(box, capsule, web):
    web.linux["cgroupsPath"] = f"ctest-a-b.slice:{web.id}:x"
    pid = capsule.start_container(web)

    assert box.cgroups_of(pid)[""] == f"/ctest.slice/ctest-a.slice/ctest-a-b.slice/{web.id}-x.scope"
    assert box.show(f"{web.id}-x.scope", "Slice") == {"Slice": "ctest-a-b.slice"}


@pytest.mark.row(106)
def test_a_name_that_is_a_slice_makes_one(box, capsule, web):
    name = web.id.replace("-", "_") + ".slice"
    web.linux["cgroupsPath"] = f"::{name}"
    pid = capsule.start_container(web)

    assert box.cgroups_of(pid)[""] == f"/{name}"
    assert box.show(name, "ActiveState") == {"ActiveState": "active"}
    capsule.delete(web, "--force")
    assert is_gone(box, name, f"/{name}")


@pytest.mark.row(106)
def test_exec_enters_the_unit(box, capsule, web):
    capsule.start_container(web)
    lines = capsule.exec(web, "/bin/cat", "/proc/self/cgroup").out.splitlines()

    assert f"0::{cgroup_of(web)}" in lines


@pytest.mark.row(106)
def test_pause_and_resume(box, capsule, web):
    capsule.start_container(web)
    capsule.call("pause", web.id)
    frozen = box.file("freezer", cgroup_of(web), "freezer.state" if box.layout == "v1" else "cgroup.freeze")
    assert (capsule.status(web), frozen) == ("paused", "FROZEN" if box.layout == "v1" else "1")
    capsule.call("resume", web.id)
    assert capsule.status(web) == "running"


@pytest.mark.row(106)
def test_a_foreground_run_leaves_nothing(box, capsule, web):
    web.args("/bin/cat", "/proc/self/cgroup")

    assert f"0::{cgroup_of(web)}" in capsule.run(web).out.splitlines()
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_annotations_become_properties(box, capsule, web):
    web.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "123456789", "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.Before": "['ctest.target']"}
    capsule.create(web)
    shown = box.show(unit_of(web), "TimeoutStopUSec", "CollectMode", "Before", "NeedDaemonReload")

    assert shown["CollectMode"] == "inactive-or-failed" and "ctest.target" in shown["Before"]
    assert shown["TimeoutStopUSec"] == "3y 11month 4d 3h 15min 9s" or "y" in shown["TimeoutStopUSec"]
    assert shown["NeedDaemonReload"] == "no"


@pytest.mark.row(106)
@pytest.mark.parametrize(("name", "text", "words"), [
    ("ExecStart", "'/bin/false'", "start unit"), ("CollectMode", "5", "start unit"),
    ("CollectMode", "inactive", "CollectMode"),
])
def test_what_no_scope_can_have_is_refused_and_leaves_nothing(box, capsule, web, name, text, words):
    web.config["annotations"] = {f"org.systemd.property.{name}": text}

    assert words in capsule.create(web, rc=FAILS).err
    assert not capsule.exists(web) and is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_a_unit_that_systemd_has_ended_is_forgotten_by_delete(box, capsule, web):
    # The first process of a pid namespace ignores SIGTERM.
    longer_than_create = int(DEADLINE * 15_000)  # microseconds
    web.config["annotations"] = {"org.systemd.property.RuntimeMaxUSec": f"uint64 {longer_than_create}",
                                 "org.systemd.property.TimeoutStopUSec": "uint64 10000"}
    capsule.start_container(web)
    wait_until(lambda: box.show(unit_of(web), "ActiveState")["ActiveState"] == "failed", 30, "a failed unit")
    assert capsule.status(web) == "stopped"
    capsule.delete(web)
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_a_failed_unit_of_the_name_is_in_nobodys_way(box, capsule, web):
    box.run("systemd-run", "--scope", f"--unit={unit_of(web)}", "--property=RuntimeMaxSec=10ms", "sleep", "60", rc=None)
    wait_until(lambda: box.show(unit_of(web), "ActiveState")["ActiveState"] == "failed", 30, "a failed unit")
    pid = capsule.start_container(web)

    assert box.cgroups_of(pid)[""] == cgroup_of(web)


@pytest.mark.row(106)
def test_anothers_unit_of_the_name_is_left_alone(box, capsule, web, bundle):
    pid = capsule.start_container(web)
    other = bundle(["/payload", "pause"])
    other.linux["cgroupsPath"] = web.linux["cgroupsPath"]

    assert f"container's unit exists already {unit_of(web)}: it is active" in capsule.create(other, rc=FAILS).err
    assert not capsule.exists(other) and capsule.status(web) == "running"
    assert box.file("systemd", cgroup_of(web), "cgroup.procs") == str(pid)


@pytest.mark.row(106)
def test_systemctl_stop_ends_the_container(box, capsule, web):
    web.config["annotations"] = {"org.systemd.property.TimeoutStopUSec": "uint64 10000"}
    capsule.start_container(web)
    box.run("systemctl", "stop", unit_of(web))
    capsule.wait_status(web, "stopped")
    capsule.delete(web)


@pytest.mark.row(106)
def test_a_create_that_fails_leaves_no_unit(box, capsule, web):
    web.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}

    capsule.create(web, rc=FAILS)
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
@pytest.mark.parametrize("point", ["r-journal", "r-cgroup", "r-cloned", "r-recorded", "r-ready"])
def test_a_killed_create_is_cleaned_up_by_delete(box, capsule, stopping, web, point):
    stopped = stops.stop_at(stopping, point, *stopping.words_for("create", web), timeout=60)
    assert stopped is not None
    assert box.is_there(unit_of(web)) == (point != "r-journal")
    kill(stopped)
    stopped.running.wait(60)
    capsule.delete(web, "--force")
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_a_killed_delete_is_finished_by_the_next(box, capsule, stopping, web):
    capsule.start_container(web)
    stopped = stops.stop_at(stopping, "r-remove", "delete", "--force", web.id, timeout=60)
    assert stopped is not None
    kill(stopped)
    stopped.running.wait(60)
    capsule.delete(web, "--force")
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_all_processes_of_a_shared_pid_namespace_die_with_the_container(box, capsule, web):
    web.linux["namespaces"] = [one for one in web.linux["namespaces"] if one["type"] != "pid"]
    web.shell("sleep 1000 & sleep 1000 & exec sleep 1000")
    capsule.start_container(web)
    wait_until(lambda: len(box.file("systemd", cgroup_of(web), "cgroup.procs").split()) == 3)
    capsule.delete(web, "--force")
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_devices_are_restricted_also_after_a_daemon_reload(box, capsule, web, limits):
    web.linux["resources"] = {"devices": [*DENY_ALL["devices"],
                                          {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}
    web.capabilities("CAP_MKNOD").shell("mknod /tmp/kmsg c 1 11; mknod /tmp/null c 1 3; exec sleep 1000")
    os.symlink("busybox", web.rootfs / "bin" / "mknod")
    capsule.start_container(web)
    script = "echo x > /tmp/null && : < /tmp/kmsg"

    def check():
        assert "/tmp/kmsg: operation not permitted" in capsule.exec(web, "/bin/sh", "-c", script, rc=FAILS).err.lower()

    wait_until(lambda: capsule.exec(web, "/bin/test", "-e", "/tmp/null", rc=None).rc == 0)
    check()
    box.run("systemctl", "daemon-reload")
    check()
    capsule.call("update", "--pids-limit", "100", web.id)
    check()


@pytest.mark.row(106)
def test_the_message_bus_serves_where_the_managers_own_socket_is_not_in_sight(box, capsule, web):
    if not box.prefix:
        pytest.skip("the machine's own systemd keeps its socket")
    box.run("mv", "/run/systemd/private", "/run/systemd/hidden")
    try:
        pid = capsule.start_container(web)
        assert box.cgroups_of(pid)[""] == cgroup_of(web)
        capsule.delete(web, "--force")
    finally:
        box.run("mv", "/run/systemd/hidden", "/run/systemd/private")
    assert is_gone(box, unit_of(web), cgroup_of(web))


@pytest.mark.row(106)
def test_a_path_of_another_form_is_refused(box, capsule, web):
    web.linux["cgroupsPath"] = f"/{web.id}"

    assert "slice:prefix:name" in capsule.create(web, rc=FAILS).err
    assert not capsule.exists(web)


# Limits: on v2 only where the machine's controllers are not v1's


@pytest.fixture
def limits(box):
    """Give the layout where the controllers of the tests are there."""
    offered = box.run("cat", "/sys/fs/cgroup/cgroup.controllers", rc=None).split()
    if box.layout == "v2" and not {"cpu", "memory", "pids"} <= set(offered):
        pytest.skip("the controllers are those of the machine's cgroup v1")
    return box.layout


@pytest.mark.row(106)
def test_limits_are_the_units_and_the_files(box, capsule, web, limits):
    web.linux["resources"] = {
        **DENY_ALL, "memory": {"limit": 64 << 20}, "pids": {"limit": 20},
        "cpu": {"shares": 512, "quota": 12345, "period": 50000}}
    capsule.start_container(web)
    names = ("TasksMax", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "DevicePolicy",
             *(("MemoryLimit", "CPUShares") if limits == "v1" else ("MemoryMax", "CPUWeight")))
    shown = box.show(unit_of(web), *names)

    assert [shown.pop(name) for name in names[:3]] == ["20", "250ms", "50ms"]  # whole percents, rounded up
    assert shown == ({"DevicePolicy": "strict", "MemoryLimit": str(64 << 20), "CPUShares": "512"} if limits == "v1" else
                     {"DevicePolicy": "strict", "MemoryMax": str(64 << 20), "CPUWeight": "59"})
    assert quota(box, web, limits) == "12345"  # as given
    assert box.file("pids", cgroup_of(web), "pids.max") == "20"


def quota(box, web, layout):
    if layout == "v1":
        return box.file("cpu", cgroup_of(web), "cpu.cfs_quota_us")
    return box.file("", cgroup_of(web), "cpu.max").split()[0]


@pytest.mark.row(106)
def test_update_changes_unit_and_files_and_nothing_else(box, capsule, web, limits):
    web.linux["resources"] = {**DENY_ALL, "pids": {"limit": 20}, "cpu": {"quota": 12345}}
    capsule.start_container(web)
    if limits == "v1":
        before = box.file("devices", cgroup_of(web), "devices.list")
    capsule.call("update", "--pids-limit", "33", "--memory", str(64 << 20), web.id)

    shown = box.show(unit_of(web), "TasksMax", "MemoryLimit", "MemoryMax")
    assert shown["TasksMax"] == "33" and str(64 << 20) in (shown["MemoryLimit"], shown["MemoryMax"])
    assert (box.file("pids", cgroup_of(web), "pids.max"), quota(box, web, limits)) == ("33", "12345")
    assert capsule.status(web) == "running"
    if limits == "v1":
        assert set(before.split("\n")) == set(box.file("devices", cgroup_of(web), "devices.list").split("\n"))


def test_a_quota_survives_the_update_of_its_period_and_a_daemon_reload(box, capsule, web, limits):
    web.linux["resources"] = {**DENY_ALL, "cpu": {"quota": 20000, "period": 100000}}
    capsule.start_container(web)
    capsule.call("update", "--cpu-period", "200000", web.id)
    box.run("systemctl", "daemon-reload")

    assert box.show(unit_of(web), "CPUQuotaPerSecUSec") == {"CPUQuotaPerSecUSec": "100ms"}
    capsule.call("update", "--pids-limit", "33", web.id)  # with any property systemd writes all that it knows
    assert quota(box, web, limits) == "20000"
    capsule.call("update", "--cpu-quota", "40000", web.id)
    assert box.show(unit_of(web), "CPUQuotaPerSecUSec") == {"CPUQuotaPerSecUSec": "200ms"}


@pytest.mark.row(106)
def test_an_update_that_the_kernel_refuses_changes_nothing(box, capsule, web, limits):
    web.linux["resources"] = {**DENY_ALL, "pids": {"limit": 20}}
    capsule.start_container(web)
    capsule.call("update", "--pids-limit", "33", "--cpu-period", "5", web.id, rc=FAILS)

    assert box.show(unit_of(web), "TasksMax") == {"TasksMax": "20"}
    assert box.file("pids", cgroup_of(web), "pids.max") == "20"


@pytest.mark.row(106)
def test_an_allowed_exception_is_kept_by_update_on_v1(box, capsule, web, limits):
    if limits != "v1":
        pytest.skip("of v1's device list")
    web.linux["resources"] = {"devices": [{"allow": True, "access": "rwm"},
                                          {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}],
                              "pids": {"limit": 20}}
    web.capabilities("CAP_MKNOD", "CAP_SYSLOG").shell("exec sleep 1000")
    os.symlink("busybox", web.rootfs / "bin" / "mknod")
    capsule.start_container(web)
    capsule.exec(web, "/bin/mknod", "/tmp/kmsg", "c", "1", "11")
    for limit in ("30", "31"):
        assert "not permitted" in capsule.exec(web, "/bin/sh", "-c", ": < /tmp/kmsg", rc=FAILS).err.lower()
        capsule.call("update", "--pids-limit", limit, web.id)
    assert "not permitted" in capsule.exec(web, "/bin/sh", "-c", ": < /tmp/kmsg", rc=FAILS).err.lower()


@pytest.mark.row(106)
def test_a_running_program_never_misses_its_devices_during_updates(box, capsule, web, limits):
    web.linux["resources"] = {**DENY_ALL, "pids": {"limit": 20}}
    web.shell("while echo x > /dev/null; do :; done; echo missed > /tmp/missed; exec sleep 1000")
    pid = capsule.start_container(web)
    for number in range(30, 40):
        capsule.call("update", "--pids-limit", str(number), web.id)
    assert not (web.rootfs / "tmp/missed").exists()
    assert box.run("cat", f"/proc/{pid}/comm").strip() == "sh"
