"""Whatever dies while a container of the engine is made, stopped or removed: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from helpers import process, stops
from helpers.requires import requires, variant
from helpers.runtime import FAILS, Runtime
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "stop", "busybox")


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


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_a_removal_that_is_killed_takes_the_volumes_that_it_was_asked_for(engine, stopping, flags) -> None:
    engine.wait(engine.detach("echo kept > /data/file", "--name", "web", "-v", "/data"))
    engine.detach("exec sleep 60", "--name", "other", "-v", "/data")
    for name, words in (("web", flags), ("other", ("--force", *flags))):
        stopped = stops.stop_at(stopping, "engine-removing", "rm", *words, name)
        assert stopped is not None
        stopped.kill()
        stopped.running.wait()
    engine.call("system", "check", "--fix")
    assert list(engine.root.glob("[0-9a-f]*")) == []
    left = engine.call("volume", "list", "-q").lines
    assert len(left) == (0 if flags else 2)
    engine.call("volume", "prune", "--force")


def test_an_upper_layer_whose_making_was_killed_is_made_again(engine, stopping) -> None:
    stopped = stops.stop_at(stopping, "engine-upper-made", "image", "run", "-d", "--name", "web", "host", "sleep", "60")
    assert stopped is not None and not stopped.is_runtime
    stopped.running.popen.kill()  # who asked for it, and would remove it
    stopped.kill()
    stopped.running.wait()
    process.reap_orphans()
    engine.call("start", "web")
    assert engine.call("exec", "web", "stat", "-c", "%a", "/").out == f"{os.stat('/').st_mode & 0o7777:o}\n"


def test_the_holds_of_a_container_in_the_making_are_let_alone(engine, stopping) -> None:
    stopped = stops.stop_at(stopping, "volume-filled", "image", "run", "-d", "-v", "data:/data", "host", "sleep", "60")
    assert stopped is not None
    assert engine.call("system", "check", "--fix").out == ""
    stopped.proceed()
    id = stopped.running.wait().out.strip()
    assert id[:12] in engine.call("volume", "delete", "data", rc=FAILS).err


def test_a_volume_that_is_pruned_before_it_is_held_is_made_again(engine, stopping) -> None:
    stopped = stops.stop_at(stopping, "volume-not-held", "image", "run", "-d", "-v", "/data", "host", "sleep", "60")
    assert stopped is not None
    first = engine.call("volume", "list", "-q").lines
    assert len(first) == 1 and engine.call("volume", "prune", "--force").rc == 0
    stopped.proceed()
    wait_until(lambda: process.state(stopped.pid) == "T", 20, "the second stop")
    stopped.proceed()
    id = stopped.running.wait().out.strip()
    assert engine.record(id)["volumes"][0]["name"] in engine.call("volume", "list", "-q").lines
    engine.call("rm", "--force", "-v", id)


def test_a_container_whose_record_is_damaged_lets_go_of_its_volumes(engine) -> None:
    id = engine.detach("true", "-v", "data:/data", "-v", "/more")
    engine.wait(id)
    (engine.place(id) / "record.json").write_text("{")
    assert "rm --force" in engine.call("system", "check", "--fix", rc=1).out
    assert id in engine.call("volume", "delete", "data", rc=FAILS).err  # it may be mended, and its data is somebody's
    engine.call("rm", "--force", id)
    assert engine.is_gone(id)
    engine.call("volume", "delete", "data")
    engine.call("volume", "prune", "--force")
    assert engine.call("volume", "list", "-q").out == ""


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


@pytest.mark.parametrize("verb", ["rm", "start"])
def test_who_waits_for_a_monitor_does_not_keep_its_lock_from_it(verb, engine) -> None:
    """The end of a run is written under the container's lock, which `rm` and `start` have taken by then."""
    id = engine.detach("echo up; exec sleep 600")
    engine.await_log(id, "up")
    monitor, program = engine.monitor(id), engine.program(id)
    os.kill(monitor, signal.SIGSTOP)
    os.kill(program, signal.SIGKILL)
    wait_until(lambda: process.state(program) == "Z", 20, "the end of the program")
    waiting = engine.runtime.spawn(verb, id)
    wait_until(lambda: any(process.waits_for_a_lock(pid) for pid in [waiting.pid, *process.descendants(waiting.pid)]),
               20, "the wait for the monitor")
    os.kill(monitor, signal.SIGCONT)
    assert waiting.wait().rc == 0
    if verb == "rm":
        assert engine.is_gone(id)
    else:
        assert engine.record(id)["runs"] == 2 and process.is_alive(engine.program(id))


def test_check_leads_names_to_their_containers_again(engine) -> None:
    id = engine.detach("exec sleep 60", "--name", "web")
    engine.call("stop", "-t", "0", "web")
    names = engine.root / ".names"
    (names / "web").unlink()
    (names / "lost").symlink_to("0" * 64)
    assert engine.call("system", "check", rc=1).out.count("fault") == 2
    assert engine.call("system", "check", "--fix").out.count("fixed") == 2
    assert os.readlink(names / "web") == id and os.listdir(names) == ["web"]
    assert engine.call("system", "check").out == ""


def test_what_a_crash_of_the_machine_leaves_of_a_throw_away_container_goes(engine) -> None:
    """Its record is not synced, so that it may be empty; one that has layers is somebody's."""
    ids = [engine.detach("true"), engine.detach("true")]
    for id in ids:
        engine.wait(id)
        (engine.place(id) / "record.json").write_bytes(b"")
    for path in engine.place(ids[0]).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    engine.call("system", "check", "--fix", rc=1)
    assert engine.is_gone(ids[0]) and engine.place(ids[1]).exists()


def test_check_ends_what_a_container_that_is_gone_held(engine) -> None:
    id = engine.detach("exec sleep 60", "-v", "data:/data", "-v", "/more")
    engine.kill_monitor(id)
    engine.call("system", "check", "--fix")
    shutil.rmtree(engine.place(id))  # as a restored backup may lack it
    assert engine.call("system", "check", rc=1).out.count("a container that is gone") == 2
    engine.call("system", "check", "--fix")
    engine.call("volume", "delete", "data")
    engine.call("volume", "prune", "--force")


def test_the_command_line_that_started_it_is_of_no_account(engine) -> None:
    """The monitor is in a session of its own, and whoever asked for it may be killed with all that is his."""
    running = engine.runtime.spawn("image", "run", "-d", "host", "/bin/sh", "-c", "echo up; exec sleep 60")
    id = running.wait().out.strip()
    assert os.getsid(engine.monitor(id)) != running.pid
    assert process.is_alive(engine.program(id))
