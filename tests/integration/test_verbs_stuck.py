"""Verbs beside something that does not go on: a guard of an exec that hangs, a first process that is stopped."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from helpers import process, stops
from helpers.requires import requires
from helpers.runtime import FAILS, one_line
from helpers.wait import wait_until

pytestmark = requires("root", "stop", "busybox", "gcc", "cgroup1")

PTRACE = "CAP_SYS_PTRACE"


@pytest.fixture
def box(bundle):
    return bundle(["/payload", "pause"]).capabilities(PTRACE)


def stop_exec(stopping, box, name):
    return stops.stop_at(stopping, name, "exec", box.id, "/payload", "exit", "4")


def freezer(box):
    return Path(f"/sys/fs/cgroup/freezer/{box.id}/freezer.state").read_text(encoding="ascii").strip()


def is_gone(pid):
    process.reap_orphans()
    return not process.is_alive(pid)


def assert_gone(*pids):
    for pid in pids:
        wait_until(functools.partial(is_gone, pid), 5, f"the end of {pid}")


@pytest.mark.parametrize("name", ["r-guarded", "exec-joined", "r-admitting"])
def test_forced_delete_does_not_wait_for_an_exec_that_hangs(capsule, stopping, box, name):
    pid = capsule.start_container(box)
    stopped = stop_exec(stopping, box, name)
    below = process.descendants(stopped.running.pid)
    started = time.monotonic()
    capsule.delete(box, "--force")
    assert time.monotonic() - started < 15
    assert not capsule.exists(box)
    stopped.running.wait()
    assert_gone(pid, *below)
    assert not os.path.exists(f"/sys/fs/cgroup/freezer/{box.id}:exec")


@pytest.mark.parametrize("name", ["r-guarded", "exec-joined"])
def test_kill_all_ends_an_exec_that_hangs_before_it_thaws(capsule, stopping, box, name):
    pid = capsule.start_container(box)
    stopped = stop_exec(stopping, box, name)
    below = process.descendants(stopped.running.pid)
    assert freezer(box) == "FROZEN"
    capsule.kill(box, "--all", "KILL")
    stopped.running.wait()
    assert_gone(pid, *below)
    assert capsule.status(box) == "stopped"
    assert not os.path.exists(f"/sys/fs/cgroup/freezer/{box.id}:exec")


@pytest.mark.row(177)
@pytest.mark.parametrize("name", ["r-guarded", "exec-joined"])
def test_another_signal_to_all_leaves_the_guard_alone(capsule, stopping, box, name):
    """The container thawed, its processes could seize what the exec lets in."""
    data = box.rootfs / "data"
    capsule.start_container(box.shell("trap 'touch /data/got' USR1; touch /data/ready; while :; do sleep 0.1; done"))
    wait_until((data / "ready").exists)
    stopped = stop_exec(stopping, box, name)
    capsule.kill(box, "--all", "USR1")
    assert freezer(box) == "FROZEN"
    stopped.proceed()
    assert stopped.running.wait().rc == 4
    wait_until((data / "got").exists)


@pytest.mark.parametrize("verb", ["state", "kill", "pause"])
def test_kill_all_that_is_killed_while_it_has_frozen_is_taken_back(capsule, stopping, box, verb):
    capsule.start_container(box)
    stopped = stops.stop_at(stopping, "r-froze", "kill", "--all", box.id, "WINCH")
    assert freezer(box) == "FROZEN"
    assert capsule.status(box) == "running"
    stopped.running.stop()
    assert freezer(box) == "FROZEN"
    capsule.call(verb, box.id, *(["WINCH"] if verb == "kill" else []))
    if verb == "pause":
        assert capsule.status(box) == "paused"
        capsule.call("resume", box.id)
    assert freezer(box) == "THAWED"
    assert capsule.status(box) == "running"


def test_kill_all_of_a_paused_container_leaves_it_paused(capsule, box):
    capsule.start_container(box)
    capsule.call("pause", box.id)
    capsule.kill(box, "--all", "WINCH")
    assert capsule.status(box) == "paused"
    capsule.call("resume", box.id)


@pytest.mark.parametrize("private_pids", [True, False])
@pytest.mark.parametrize("words", [("delete", "--force"), ("kill", "--all"), ("kill",)])
def test_what_a_container_froze_itself_is_killed(capsule, bundle, words, private_pids):
    """A writable cgroup mount lets it: below its own cgroup, which says THAWED. SIGKILL waits for the thaw there."""
    box = bundle(["/payload", "pause"])
    if not private_pids:
        box.linux["namespaces"] = [entry for entry in box.linux["namespaces"] if entry["type"] != "pid"]
    pid = capsule.start_container(box)
    below = Path(f"/sys/fs/cgroup/freezer/{box.id}/x/y")
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(pid))
    for directory in (below, below.parent):
        (directory / "freezer.state").write_text("FROZEN")
    assert capsule.status(box) == "running"
    flags, sig = (words[1:], []) if words[0] == "delete" else (words[1:], ["KILL"])
    capsule.call(words[0], *flags, box.id, *sig)
    assert_gone(pid)
    if words[0] == "kill":
        capsule.delete(box, "--force")
    assert not capsule.exists(box)


def test_a_first_process_that_is_frozen_again_and_again_is_deleted(capsule, bundle):
    box = bundle(["/payload", "pause"])
    pid = capsule.start_container(box)
    below = Path(f"/sys/fs/cgroup/freezer/{box.id}/x")
    below.mkdir()
    refreezes = f"echo $$ > {below.parent}/cgroup.procs; while echo FROZEN > {below}/freezer.state; do :; done"
    (below / "cgroup.procs").write_text(str(pid))
    freezing = subprocess.Popen(["sh", "-c", refreezes], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (below / "freezer.state").read_text() == "FROZEN\n")
        capsule.delete(box, "--force")
    finally:
        freezing.kill()
        freezing.wait()
    assert_gone(pid)


def test_kill_all_waits_for_a_guard_that_is_well(capsule, stopping, box):
    capsule.start_container(box)
    stopped = stop_exec(stopping, box, "r-guarded")
    killing = capsule.spawn("kill", "--all", box.id, "WINCH")
    stopped.proceed()
    assert stopped.running.wait().rc == 4
    assert killing.wait().rc == 0
    assert freezer(box) == "THAWED"
    assert capsule.status(box) == "running"


@pytest.mark.rival(runc="it waits for ever", crun="it waits for ever")
def test_start_of_a_stopped_first_process_says_so(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    pid = capsule.pid(box)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: process.state(pid) == "T")
    assert "is stopped by a signal" in capsule.start(box, rc=1).err
    assert capsule.status(box) == "created"
    os.kill(pid, signal.SIGCONT)
    capsule.start(box)
    assert capsule.status(box) == "running"


@pytest.mark.row(175)
def test_the_process_of_a_damaged_record_is_ended_in_a_cgroup_that_was_there(capsule, bundle):
    box = bundle(["/payload", "pause"])
    directories = [path / box.id for path in Path("/sys/fs/cgroup").iterdir() if (path / "cgroup.procs").exists()]
    box.linux["cgroupsPath"] = f"/{box.id}"
    try:
        for directory in directories:
            directory.mkdir()
            if directory.parent.name == "cpuset":
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (directory / name).write_text((directory.parent / name).read_text())
        capsule.create(box)
        pid = capsule.pid(box)
        (capsule.root / box.id / "state.json").write_text("{")
        capsule.delete(box, rc=FAILS)
        assert process.is_alive(pid)
        capsule.delete(box, "--force")
        assert_gone(pid)
        assert not (capsule.root / box.id).exists()
        assert all(directory.exists() for directory in directories)
    finally:
        shutil.rmtree(capsule.root / box.id, ignore_errors=True)
        for directory in directories:
            if directory.exists():
                wait_until(functools.partial(is_removed, directory), 5, f"removal of {directory}")


def is_removed(directory):
    try:
        directory.rmdir()
    except OSError:
        process.reap_orphans()
        return False
    return True


@pytest.mark.row(179, 180)
def test_a_socket_that_nobody_accepts_from_holds_nobody_for_ever(capsule, bundle, workdir):
    path, waiting = workdir / "full.sock", []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        try:
            for _ in range(2):
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting[-1].connect(str(path))
            box = bundle(["/payload", "pause"])
            line = one_line(capsule.create(box, "--pidfd-socket", path, rc=1))
            assert f"connect to pidfd socket {path}: connection timed out" in line
            assert not capsule.exists(box)
        finally:
            for connection in waiting:
                connection.close()
