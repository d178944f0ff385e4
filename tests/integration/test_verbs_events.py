"""events: what programs that were written for runc read, and when it ends."""

from __future__ import annotations

import json

import pytest
from helpers import process
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.wait import wait_until

pytestmark = [requires("root", "runtime", "busybox", "gcc", "cgroup1"), pytest.mark.row(180)]

MIB = 1 << 20


def lines(result) -> list[dict]:
    return [json.loads(line) for line in result.out.splitlines()]


def stats(capsule, box) -> dict:
    result = capsule.call("events", "--stats", box.id)
    assert len(result.lines) == 1
    assert result.out.startswith(f'{{"type":"stats","id":"{box.id}","data":{{')
    return result.json["data"]


def test_statistics_have_runcs_shape_and_the_kernels_values(capsule, bundle):
    box = bundle(["/payload", "pause"])
    box.linux["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}
    capsule.start_container(box)
    data = stats(capsule, box)
    assert set(data) == {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"}
    assert data["pids"] == {"current": 1, "limit": 20}
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert set(data["memory"]) | {"cache"} == {"cache", "usage", "swap", "kernel", "kernelTCP", "raw"}
    assert data["memory"]["raw"]["hierarchical_memory_limit"] == 64 * MIB
    assert data["cpu"]["usage"]["total"] > 0
    assert {"percpu", "percpu_kernel", "percpu_user", "kernel", "user"} <= set(data["cpu"]["usage"])
    assert sum(data["cpu"]["usage"]["percpu"]) == data["cpu"]["usage"]["total"]
    assert data["cpuset"]["cpus"] and data["cpuset"]["mems"]
    assert (data["intel_rdt"], data["network_interfaces"]) == ({}, None)


def test_cpu_time_and_throttling_are_counted(capsule, bundle):
    box = bundle().shell("while :; do :; done")
    box.linux["resources"] = {"cpu": {"period": 20000, "quota": 2000}}
    capsule.start_container(box)
    running = capsule.spawn("events", "--interval", "100ms", box.id)
    running.wait_output('"throttledTime"')
    running.stop()
    last = [event for event in lines(running.result) if event["data"]["cpu"]["throttling"].get("throttledTime")][-1]
    assert last["data"]["cpu"]["throttling"]["throttledPeriods"] > 0
    assert last["data"]["cpu"]["usage"]["total"] > 0


def test_events_come_at_intervals_and_end_with_the_container(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    running = capsule.spawn("events", "--interval", "50ms", box.id)
    running.wait_output("\n")
    capsule.delete(box, "--force")
    result = running.wait()
    assert result.rc == 0, repr(result)
    assert {event["type"] for event in lines(result)} == {"stats"}
    assert result.err == ""


@pytest.mark.rival(runc="it goes on until the container is deleted")
def test_events_end_when_the_program_ends(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    running = capsule.spawn("events", "--interval", "10m", box.id)
    wait_for_watch(running)
    capsule.kill(box, "KILL")
    assert running.wait().rc == 0


def test_lack_of_memory_is_told(capsule, bundle):
    # The inner shell's variable grows until the kernel kills it; the outer one lives on.
    box = bundle().shell("while ! [ -e /go ]; do sleep 0.1; done;"
                         " (v=xxxxxxxx; while :; do v=$v$v; done); exec /payload pause")
    box.linux["resources"] = {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}
    capsule.start_container(box)
    running = capsule.spawn("events", "--interval", "10m", box.id)
    wait_for_watch(running)
    (box.rootfs / "go").touch()
    running.wait_output(f'{{"type":"oom","id":"{box.id}"}}\n')
    assert capsule.is_running(box)
    capsule.delete(box, "--force")
    assert running.wait().rc == 0
    assert {event["type"] for event in lines(running.result)} == {"oom"}


def wait_for_watch(running) -> None:
    """Wait until the runtime holds the eventfd that it gave to the kernel."""
    def watches() -> bool:
        return any("eventfd" in target for target in process.descriptors(running.pid).values())

    wait_until(watches, 20, "the watch of the memory")


def test_the_program_that_the_kernel_killed_is_told_before_the_end(capsule, bundle):
    box = bundle().shell("while ! [ -e /go ]; do sleep 0.1; done; v=xxxxxxxx; while :; do v=$v$v; done")
    box.linux["resources"] = {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}
    capsule.start_container(box)
    running = capsule.spawn("events", "--interval", "10m", box.id)
    wait_for_watch(running)
    (box.rootfs / "go").touch()
    if capsule.name == "runc":
        running.wait_output("oom")
        capsule.delete(box, "--force")
    assert [event["type"] for event in lines(running.wait())] == ["oom"]


@pytest.mark.parametrize(("value", "words"), [("0s", "must be greater than 0"), ("5", "interval"), ("x", "interval"),
                                              ("-1s", "interval"), ("1s2", "interval")])
def test_an_interval_that_is_none_is_refused(capsule, bundle, value, words):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    result = capsule.call("events", "--interval", value, box.id, rc=FAILS)
    assert words in result.err
    assert result.out == "" or capsule.name == "runc"


@pytest.mark.parametrize("flag", [[], ["--stats"]])
def test_a_stopped_container_is_refused(capsule, bundle, flag):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    assert "is not running" in capsule.call("events", *flag, box.id, rc=1).err


def test_an_unknown_container_is_refused(capsule):
    assert "does not exist" in capsule.call("events", "--stats", "ct-none", rc=1).err


def test_a_paused_container_has_statistics(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    capsule.call("pause", box.id)
    assert stats(capsule, box)["pids"]["current"] == 1
