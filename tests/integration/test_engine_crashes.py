"""Whatever dies while a container of the engine is made, stopped or removed: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import signal

import pytest
from helpers import process, stops
from helpers.engine import Engine
from helpers.requires import requires, variant
from helpers.runtime import FAILS, Runtime
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "stop", "busybox")


@pytest.fixture
def engine(capsule):
    found = Engine(capsule)
    yield found
    found.clean()


@pytest.fixture
def stopping(capsule, workdir):
    (workdir / "stops").mkdir()
    runtime = Runtime([str(variant("stop"))], capsule.root, workdir / "stops")
    yield runtime
    runtime.clean()


def test_a_monitor_that_is_killed_takes_its_container_along(engine) -> None:
    id = engine.detach("echo x >> /tmp/made; cat /tmp/made; exec sleep 60")
    engine.await_log(id, "x")
    engine.kill_monitor(id)
    assert "not cleaned up" in engine.call("system", "check", rc=1).out
    engine.call("system", "check", "--fix")
    assert engine.call("system", "check").out == ""
    assert engine.runtime.ids() == []
    engine.call("start", id)  # nothing is lost
    wait_until(lambda: engine.call("logs", id).lines == ["x", "x", "x"], 10, "the second run")


def test_start_stop_and_rm_clear_away_what_a_killed_monitor_left(engine) -> None:
    ids = [engine.detach("exec sleep 60") for _ in range(3)]
    for id in ids:
        engine.kill_monitor(id)
    engine.call("start", ids[0])
    engine.call("stop", ids[1])
    engine.call("rm", ids[2])
    assert engine.runtime.ids() == [ids[0]] and engine.is_gone(ids[2])


@pytest.mark.parametrize("point", ["engine-recorded", "engine-counted"])
def test_a_run_that_is_killed_can_be_removed(engine, stopping, point) -> None:
    stopped = stops.stop_at(stopping, point, "image", "run", "-d", "--name", "web", "host", "sleep", "60")
    assert stopped is not None
    stopped.kill()
    stopped.running.wait()
    process.reap_orphans()
    engine.call("system", "check", "--fix")
    engine.call("image", "run", "-d", "--name", "other", "host", "true")
    for path in engine.root.glob("[0-9a-f]*"):
        engine.call("rm", "-f", path.name)
    assert list((engine.root / ".names").iterdir()) == []


@pytest.mark.parametrize("point", ["engine-removing", "engine-layers-removed"])
def test_a_removal_that_is_killed_is_finished_by_the_next(engine, stopping, point) -> None:
    id = engine.detach("echo > /tmp/made", "--name", "web")
    engine.wait(id)
    stopped = stops.stop_at(stopping, point, "rm", "web")
    assert stopped is not None
    stopped.kill()
    stopped.running.wait()
    assert "removal" in engine.call("start", "web", rc=FAILS).err
    assert "removal did not finish" in engine.call("system", "check", rc=1).out
    engine.call("system", "check", "--fix")
    assert engine.is_gone(id)


def test_a_stop_that_is_killed_has_the_container_run_no_more(engine, stopping) -> None:
    id = engine.detach("echo up; exec sleep 60", "--restart", "always")
    engine.await_log(id, "up")
    stopped = stops.stop_at(stopping, "engine-stopping", "stop", id)
    assert stopped is not None
    stopped.kill()
    stopped.running.wait()
    os.kill(engine.program(id), signal.SIGKILL)
    wait_until(lambda: not process.is_alive(engine.monitor(id)), 20, "the monitor's end")
    assert engine.record(id)["runs"] == 1


def test_the_command_line_that_started_it_is_of_no_account(engine) -> None:
    """The monitor is in a session of its own, and whoever asked for it may be killed with all that is his."""
    running = engine.runtime.spawn("image", "run", "-d", "host", "/bin/sh", "-c", "echo up; exec sleep 60")
    id = running.wait().out.strip()
    assert os.getsid(engine.monitor(id)) != running.pid
    assert process.is_alive(engine.program(id))
