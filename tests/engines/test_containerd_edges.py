"""containerd: less common ways to make, feed and limit a task."""

from __future__ import annotations

import json

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

from .kit.containerd import Containerd

ENGINE = Containerd
pytestmark = requires(*Containerd.NEEDS)
EROFS = 30


def test_create_then_start(engine):
    """Without --runc-binary, which `containers create` lacks, the runtime is the `runc` of the daemon's PATH."""
    name = engine.name()
    engine.call("containers", "create", engine.IMAGE, name, "echo", "late")
    assert engine.task(name) == (0, "absent")
    assert engine.call("tasks", "start", name).out == "late\n"


@pytest.mark.smoke
def test_output_to_nowhere(engine):
    """ctr then gives the runtime a null device that is open for reading only."""
    assert engine.run("echo", "lost", options=["--null-io"]).out == ""


def test_output_to_a_file(engine):
    name = engine.name()
    log = engine.directory / f"{name}.log"
    engine.call("run", "--detach", "--log-uri", f"file://{log}", *engine.on_runtime(), engine.IMAGE, name,
                "echo", "kept")
    assert engine.ended(name) == 0
    wait_until(lambda: log.read_text() == "kept\n")


@pytest.mark.parametrize("word, number", [("SIGHUP", 1), ("SIGUSR1", 10), ("12", 12)])
def test_kill_by_name_and_by_number(engine, word, number):
    name = engine.name()
    log = engine.directory / f"{name}.log"
    engine.call("run", "--detach", "--log-uri", f"file://{log}", *engine.on_runtime(), engine.IMAGE, name,
                "/payload", "trap")
    wait_until(lambda: log.exists() and "ready" in log.read_text())
    engine.call("tasks", "kill", "--signal", word, name)
    wait_until(lambda: f"signal {number} " in log.read_text())
    engine.call("tasks", "kill", name)
    assert engine.ended(name) == 42


def test_a_seccomp_profile_of_ones_own(engine):
    profile = engine.directory / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 17}]}))
    out = engine.run("/payload", "try", "mkdir", "/new", options=["--seccomp", "--seccomp-profile", str(profile)]).out
    assert json.loads(out)[0]["errno"] == 17


def test_masked_and_read_only_paths(engine):
    out = engine.run("/payload", "try", "write", "/proc/sys/kernel/domainname", "create", "/sys/new").out
    assert [entry["errno"] for entry in json.loads(out)] == [EROFS, EROFS]


@pytest.mark.known(runc="leaves the parents that it made", crun="leaves the parents that it made")
def test_a_cgroup_of_ones_own(engine):
    name = engine.detached(options=["--cgroup", "/chosen/below"])
    assert engine.box.group_of(engine.task(name)[0], "pids").endswith("/chosen/below")


def test_more_memory_than_allowed(engine):
    engine.run("sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done", options=["--memory-limit", str(16 << 20)],
               rc=137)


def test_a_root_without_an_image(engine, bundle):
    root = str(bundle().rootfs)
    out = engine.call("run", "--rm", *engine.on_runtime(), "--rootfs", root, engine.name(), "/bin/echo", "plain").out
    assert out == "plain\n"


def test_a_missing_source_of_a_mount(engine):
    done = engine.run("true", options=["--mount", "type=bind,src=/no/such/source,dst=/data,options=rbind:ro"], rc=1)
    assert "/no/such/source" in done.err and "no such file or directory" in done.err.lower()


def test_several_tasks_at_once(engine):
    names = [engine.detached("sh", "-c", f"sleep 0.1; exit {number}") for number in range(4)]
    assert [engine.ended(name) for name in names] == [0, 1, 2, 3]
