"""podman: containers from their making to their removal."""

from __future__ import annotations

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

from .kit.podman import Podman

ENGINE = Podman
pytestmark = requires(*Podman.NEEDS)


@pytest.mark.smoke
def test_run_prints_and_is_gone(engine):
    assert engine.run("echo", "hello") == "hello\n"
    assert engine.call("ps", "--all", "--quiet").out == ""


@pytest.mark.smoke
@pytest.mark.parametrize("status", [0, 3, 42])
def test_run_returns_the_programs_status(engine, status):
    engine.sh(f"exit {status}", rc=status)


@pytest.mark.smoke
def test_a_detached_container_from_run_to_rm(engine):
    name = engine.detached("sh", "-c", "echo started; trap 'echo stopping; exit 5' TERM; while :; do sleep 1; done")
    wait_until(lambda: "started" in engine.call("logs", name).out)
    assert engine.call("exec", name, "echo", "inside").out == "inside\n"
    engine.call("exec", name, "sh", "-c", "exit 9", rc=9)
    engine.call("exec", name, "nothing", rc=127)
    assert engine.inspect(name, ".State.Status") == "running"
    engine.call("stop", "--time", "10", name)
    assert engine.inspect(name, ".State.ExitCode") == "5"
    assert engine.call("logs", name).lines == ["started", "stopping"]
    engine.call("rm", name)
    assert engine.call("ps", "--all", "--quiet").out == ""


def test_create_start_attach(engine):
    name = engine.call("create", engine.IMAGE, "echo", "late").word
    assert engine.call("start", "--attach", name).out == "late\n"
    engine.call("rm", name)
