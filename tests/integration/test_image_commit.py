"""commit: what a container has changed becomes an image, and the container goes on, whatever becomes of the call."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from helpers import images, killed, process
from helpers.engine import Engine
from helpers.requires import requires
from helpers.runtime import FAILS, one_line
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox")
POINTS = ["engine-still", "engine-commit-read", "engine-commit-composed"]


@pytest.fixture
def engine(capsule, workdir):
    images.bring(capsule, images.busybox_root(workdir), "box")
    found = Engine(capsule)
    yield found
    found.clean()


def _writer(engine: Engine) -> str:
    """Start a container that writes a number into a file again and again; returns its id."""
    id = engine.detach("echo old > /made; rm /etc/group; i=0; "
                       "while :; do i=$((i+1)); echo $i > /tmp/number; sleep 0.01; done", "--name", "web", image="box")
    wait_until(lambda: _number(engine, id), 20, "the first number")
    return id


def _number(engine: Engine, id: str) -> str:
    try:
        return Path(f"/proc/{engine.program(id)}/root/tmp/number").read_text()
    except OSError:
        return ""


def _goes_on(pid: int) -> None:
    """Wait until a writer writes on; nothing of ours looks at it."""
    path = Path(f"/proc/{pid}/root/tmp/number")
    before = path.read_text()
    wait_until(lambda: path.read_text() not in ("", before), 20, "a further number")


def test_an_image_has_what_the_container_has_changed(engine) -> None:
    id = _writer(engine)
    made = engine.call("commit", "-m", "as it was", "--author", "me", "-c", "CMD cat /made", "web", "box:2").out.strip()
    _goes_on(engine.program(id))
    found = engine.call("image", "get", "box:2").json[0]
    assert made.removeprefix("sha256:")[:12] in found["id"] and len(found["directories"]) == 2
    assert engine.call("image", "run", "--rm", "box:2").out == "old\n"
    assert engine.call("image", "run", "--rm", "box:2", "ls", "/etc").lines == ["passwd"]
    history = engine.call("image", "history", "box:2").out
    assert "as it was" in history


def test_one_that_stands_still_is_read_as_well(engine) -> None:
    id = engine.detach("echo text > /made", image="box")
    engine.wait(id)
    engine.call("commit", id, "box:2")
    assert engine.call("image", "run", "--rm", "box:2", "cat", "/made").out == "text\n"
    paused = _writer(engine)
    engine.call("pause", paused)
    engine.call("commit", paused, "box:3")
    assert engine.call("state", paused).json["status"] == "paused"


@pytest.mark.parametrize("point", POINTS)
def test_a_commit_that_is_killed_leaves_a_container_that_goes_on(point, engine) -> None:
    pid = engine.program(_writer(engine))
    killed.run(point, engine.runtime.root, "commit", "web", "box:2")
    found = engine.call("system", "check", rc=1).out
    assert ("had frozen it" in found) == (point == "engine-still") and "its maker is gone" in found
    _goes_on(pid)
    engine.call("system", "check", "--fix")
    assert engine.call("system", "check", "--deep").out == ""
    assert len(engine.call("image", "list", "-q").lines) == 1
    engine.call("commit", "web", "box:2")
    assert engine.call("image", "run", "--rm", "box:2", "cat", "/made").out == "old\n"


@pytest.mark.parametrize("words", [("ps",), ("exec", "web", "true")])
def test_any_look_thaws_what_a_killed_commit_left_frozen(words, engine) -> None:
    pid = engine.program(_writer(engine))
    killed.run("engine-still", engine.runtime.root, "commit", "web", "box:2")
    assert process.state(pid) == "D" or "frozen 1" in _events(pid)
    engine.call(*words)
    _goes_on(pid)


def _events(pid: int) -> str:
    """Return cgroup.events of a process's cgroup v2, "" on v1."""
    path = Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::")[2].strip()
    try:
        return Path(f"/sys/fs/cgroup{path}/cgroup.events").read_text()
    except OSError:
        return ""


def test_nothing_starts_or_removes_it_meanwhile(engine) -> None:
    id = _writer(engine)
    started = killed.start("engine-still", engine.runtime.root, "commit", "web", "box:2", number=signal.SIGSTOP)
    try:
        wait_until(lambda: process.state(started.pid) == "T", 20, "the stop")
        removing = engine.runtime.spawn("rm", "--force", id)
        wait_until(lambda: process.waits_for_a_lock(removing.pid), 20, "its wait for the lock")
        assert engine.place(id).exists()
        os.kill(started.pid, signal.SIGCONT)
        assert started.wait(timeout=60) == 0, started.communicate()
        assert removing.wait().rc == 0
    finally:
        started.kill()
        started.communicate()
    assert engine.is_gone(id)
    assert engine.call("image", "run", "--rm", "box:2", "cat", "/made").out == "old\n"


def test_a_full_disk_spoils_nothing(workdir, capsule) -> None:
    place = workdir / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "capsule-test", place], check=True)
    try:
        capsule.root = place / "state"
        engine = Engine(capsule)
        images.bring(capsule, images.busybox_root(workdir), "box")
        id = engine.detach("head -c 5000000 /dev/urandom > /big; echo up; exec sleep 600", image="box")
        engine.await_log(id, "up")
        result = capsule.call("commit", id, "box:2", rc=FAILS)
        assert "no space left on device" in one_line(result)
        assert capsule.call("state", id).json["status"] == "running"
        assert process.state(engine.program(id)) == "S"
        assert os.listdir(place / "state" / ".storage" / "staging") == []
        assert not (place / "state" / id / "guard").exists()
        assert capsule.call("system", "check", "--deep").out == ""
        engine.clean()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("verbs", [("stop", "rm"), ("rm --force",)])
def test_a_container_that_has_filled_the_disk_can_be_stopped_and_removed(workdir, capsule, verbs) -> None:
    place = workdir / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "capsule-test", place], check=True)
    try:
        capsule.root = place / "state"
        engine = Engine(capsule)
        images.bring(capsule, images.busybox_root(workdir), "box")
        id = engine.detach("cat /dev/zero > /big; cat /dev/zero > /more; echo full; exec sleep 600",
                           "--stop-timeout", "0", "--restart", "unless-stopped", image="box")
        wait_until(lambda: os.statvfs(place).f_bavail == 0, 20, "the full disk")
        wait_until(lambda: "sleep" in Path(f"/proc/{engine.program(id)}/cmdline").read_text(), 20, "the end of it")
        for verb in verbs:
            capsule.call(*verb.split(), id)
        assert engine.is_gone(id) and os.statvfs(place).f_bavail > 0
        assert capsule.call("system", "check", "--deep").out == ""
    finally:
        subprocess.run(["umount", "-l", place], check=True)
