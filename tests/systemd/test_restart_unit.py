"""contrib/systemd/capsule-restart.service: containers that start again with the machine, and end with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.requires import ROOT, binary, requires
from helpers.systemd_box import Box

pytestmark = requires("root", "runtime", "systemd")
UNIT = ROOT / "contrib" / "systemd" / "capsule-restart.service"
PROGRAM = "/usr/local/bin/capsule"


@pytest.fixture
def engine(box: Box, workdir: Path, leaks: object) -> Iterator[Callable[..., str]]:
    """Give the engine beside the units of that systemd, and the unit with this tree's program in it."""
    if box.layout == "v2" and "pids" not in box.run("cat", "/sys/fs/cgroup/cgroup.controllers").split():
        pytest.skip("version 2 of this machine's cgroups has no controller pids")
    words = [*binary(), "--root", str(workdir / "state")]
    text = UNIT.read_text(encoding="utf-8")
    assert text.count(PROGRAM) == 2
    copy = workdir / UNIT.name
    copy.write_text(text.replace(PROGRAM, " ".join(words)), encoding="utf-8")
    target = f"/run/systemd/system/{UNIT.name}"
    box.run("cp", copy, target)
    box.run("systemctl", "daemon-reload")
    try:
        yield lambda *more: box.run(*words, *more)
    finally:
        box.run(*words, "rm", "--all", "--force")
        box.run("systemctl", "stop", UNIT.name, rc=None)
        box.run("rm", target)
        box.run("systemctl", "daemon-reload")


def test_those_that_somebody_stopped_stay_so_and_the_others_run_again(box, engine) -> None:
    def states() -> dict[str, str]:
        return {row["Names"][0]: row["State"] for row in json.loads(engine("ps", "--all", "--format", "json"))}

    policies = {"always": "always", "kept": "unless-stopped", "ended": "unless-stopped", "plain": "no"}
    for name, policy in policies.items():
        engine("image", "run", "-d", "--stop-timeout", "0", "--name", name, "--restart", policy, "host", "sleep", "600")
    engine("stop", "ended")
    if box.prefix:  # what a boot does to directories would be done to the machine's
        assert "tmpfiles" not in box.run("systemctl", "list-dependencies", "--all", "--plain", UNIT.name)
    box.run("systemctl", "start", UNIT.name)
    assert states() == {"always": "running", "kept": "running", "ended": "exited", "plain": "running"}

    box.run("systemctl", "stop", UNIT.name)
    assert set(states().values()) == {"exited"}
    box.run("systemctl", "start", UNIT.name)
    assert states() == {"always": "running", "kept": "running", "ended": "exited", "plain": "exited"}
    assert box.show(UNIT.name, "Result", "ActiveState") == {"Result": "success", "ActiveState": "active"}


def test_one_that_cannot_start_takes_no_other_along(box, engine) -> None:
    box.run("mkdir", "-p", "/tmp/capsule-test-gone")
    for name, more in (("good", []), ("broken", ["-v", "/tmp/capsule-test-gone:/gone"])):
        engine("image", "run", "-d", "--stop-timeout", "0", "--name", name, "--restart", "always", *more, "host",
               "sleep", "600")
    engine("stop", "good", "broken", "--for-reboot")
    box.run("rmdir", "/tmp/capsule-test-gone")
    box.run("systemctl", "start", UNIT.name, rc=None)

    states = {row["Names"][0]: row["State"] for row in json.loads(engine("ps", "--all", "--format", "json"))}
    assert states == {"good": "running", "broken": "exited"}
    assert box.show(UNIT.name, "ActiveState") == {"ActiveState": "active"}
    box.run("systemctl", "stop", UNIT.name)
    assert json.loads(engine("ps", "--format", "json")) == []
