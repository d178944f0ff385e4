"""An exec freezes a container with CAP_SYS_PTRACE (docs/security.md): what else must not come of that."""

from __future__ import annotations

import fcntl
import functools
import json
import os

import pytest
from helpers import process, stops
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = requires("root", "stop", "busybox", "gcc", "cgroup1")

PTRACE = "CAP_SYS_PTRACE"


@pytest.fixture
def box(bundle):
    return bundle(["/payload", "pause"]).capabilities(PTRACE)


def stop_exec(stopping, box, name, *flags):
    return stops.stop_at(stopping, name, "exec", *flags, box.id, "/payload", "exit", "4")


def is_gone(pid):
    process.reap_orphans()
    return not process.is_alive(pid)


def freezer(box):
    with open(f"/sys/fs/cgroup/freezer/{box.id}/freezer.state", encoding="ascii") as file:
        return file.read().strip()


def test_what_the_program_forks_at_once_is_in_the_containers_cgroups(capsule, box):
    """It runs before it can be moved into a frozen cgroup; its children would be frozen by nobody, later."""
    capsule.start_container(box)
    directory = f"/sys/fs/cgroup/freezer/{box.id}"
    for count in range(1, 11):
        capsule.exec(box, "/bin/sh", "-c", "sleep 99 & sleep 99 & wait", flags=["--detach"])
        # What was forked before the exec returned was moved; what is forked later starts where its parent is.
        assert not os.path.exists(f"{directory}:exec")
        wait_until(lambda count=count: sleepers(directory) == 2 * count)


def sleepers(directory):
    """Count the processes of a cgroup that run sleep."""
    with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
        names = [(process.stat(int(line)) or ("",))[0] for line in file]
    return names.count("sleep")


def test_several_execs_at_once(capsule, box):
    capsule.start_container(box)
    for _ in range(5):
        for one in [capsule.spawn_exec(box, "/payload", "exit", "3") for _ in range(4)]:
            assert one.wait().rc == 3, repr(one.result)


def test_meanwhile_it_is_not_paused(capsule, stopping, box):
    capsule.start_container(box)
    stopped = stop_exec(stopping, box, "r-guarded")
    assert freezer(box) == "FROZEN"
    assert capsule.status(box) == "running"
    stopped.proceed()
    assert stopped.running.wait().rc == 4
    assert freezer(box) == "THAWED"


@pytest.mark.parametrize("name", ["r-guarded", "exec-joined", "r-admitting"])
def test_killed_meanwhile_the_next_verb_thaws(capsule, stopping, box, name):
    capsule.start_container(box)
    for verb in ("state", "exec", "pause", "kill"):
        stopped = stop_exec(stopping, box, name)
        below = process.descendants(stopped.running.pid)
        stopped.running.stop()
        if not stopped.is_runtime and process.state(stopped.pid) == "T":
            stopped.proceed()
        assert freezer(box) == "FROZEN"
        words = {"exec": ["/payload", "exit", "0"], "kill": ["WINCH"]}.get(verb, [])
        capsule.call(verb, box.id, *words)
        if verb == "pause":
            assert freezer(box) == "FROZEN"
            capsule.call("resume", box.id)
        assert freezer(box) == "THAWED"
        assert capsule.status(box) == "running"
        for pid in below:
            wait_until(functools.partial(is_gone, pid), 5, "the end of the exec")
        assert not os.path.exists(f"/sys/fs/cgroup/freezer/{box.id}:exec")


def test_a_paused_container_stays_paused(capsule, stopping, box):
    capsule.start_container(box)
    capsule.call("pause", box.id)
    assert "cannot exec in a paused container" in capsule.exec(box, "/payload", "exit", "0", rc=255).err
    stop_exec(stopping, box, "r-guarded", "--ignore-paused").running.stop()
    assert capsule.status(box) == "paused"
    # It runs until it is moved into the frozen cgroup: a program that ended at once would not meet it.
    running = capsule.spawn_exec(box, "/bin/sh", "-c", "sleep 1; exit 5", flags=["--ignore-paused"])
    wait_until(lambda: len(capsule.ps(box, "--format", "json").json) >= 2, 10, "sh in the frozen cgroup")
    assert capsule.status(box) == "paused"
    capsule.call("resume", box.id)
    assert running.wait().rc == 5


def test_a_capability_given_to_an_exec_is_remembered(capsule, stopping, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    assert stop_exec(stopping, box, "r-guarded") is None
    capsule.exec(box, "/payload", "exit", "0", flags=["--cap", PTRACE])
    stopped = stop_exec(stopping, box, "r-guarded")
    assert stopped is not None
    stopped.proceed()
    assert stopped.running.wait().rc == 4


def waits_for_lock(pid):
    with open("/proc/locks", encoding="ascii") as file:
        return any("->" in line and f" {pid} " in line for line in file)


def test_an_update_while_it_waits_for_the_lock_is_not_forgotten(capsule, bundle):
    """The record is read before the lock is there, and written after."""
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    directory = capsule.root / box.id
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = capsule.spawn_exec(box, "/payload", "exit", "0", flags=["--cap", PTRACE])
        wait_until(functools.partial(waits_for_lock, running.pid), 10, "an exec that waits")
        record = (directory / "state.json").read_bytes()
        assert record.count(b'"extra":{') == 1
        (directory / "new").write_bytes(record.replace(b'"extra":{', b'"extra":{"resources":{"pids":{"limit":77}},'))
        (directory / "new").rename(directory / "state.json")
    finally:
        os.close(lock)
    assert running.wait().rc == 0
    extra = json.loads((directory / "state.json").read_text())["extra"]
    assert extra["ptrace"] is True and extra["resources"] == {"pids": {"limit": 77}}
