"""Docker: what its daemon does beside podman's words."""

from __future__ import annotations

import time

from helpers.requires import requires
from helpers.wait import wait_until

from .kit.docker import Docker

ENGINE = Docker
pytestmark = requires(*Docker.NEEDS)


def test_the_daemon_knows_which_runtime_a_container_has(engine):
    assert engine.inspect(engine.detached(), ".HostConfig.Runtime") == engine.runtime


def test_the_runtimes_error_reaches_the_user(engine):
    done = engine.call("run", "--rm", "--sysctl", "kernel.core_uses_pid=1", engine.IMAGE, "true", rc=125)
    assert "kernel.core_uses_pid" in done.err


def test_a_restart_policy_starts_it_again(engine):
    name = engine.detached("sh", "-c", "exit 3", options=("--restart", "on-failure:2"))
    wait_until(lambda: engine.inspect(name, ".RestartCount") == "2" and
               engine.inspect(name, ".State.Status") == "exited")
    assert engine.inspect(name, ".State.ExitCode") == "3"


def test_events_tell_the_life_of_a_container(engine):
    since = time.time()
    name = engine.call("create", engine.IMAGE, "true").word
    engine.call("start", "--attach", name)
    seen = engine.call("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}",
                       "--filter", f"container={name}", "--format", "{{.Action}}").lines
    assert [word for word in seen if word in ("create", "start", "die")] == ["create", "start", "die"]


def test_a_health_check_runs_by_exec(engine):
    name = engine.detached(options=("--health-cmd", "test -e /data", "--health-interval", "1s"))
    wait_until(lambda: engine.inspect(name, ".State.Health.Status") == "healthy")


def test_privileged_exec_has_more_capabilities(engine):
    name = engine.detached()
    script = "grep CapEff /proc/self/status"
    plain, privileged = (int(engine.call("exec", *options, name, "sh", "-c", script).word.split()[1], 16)
                         for options in ((), ("--privileged",)))
    assert privileged & plain == plain
    assert privileged.bit_count() > plain.bit_count()


def test_what_needs_too_much_memory_is_killed_and_said_so(engine):
    name = engine.detached("sh", "-c", "tail /dev/zero", options=("--memory", "16m", "--memory-swap", "16m"))
    assert engine.call("wait", name).word == "137"
    assert engine.inspect(name, ".State.OOMKilled") == "true"
