"""Detached containers: their monitor, their end, stop, start, restart, removal."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from helpers import process
from helpers.engine import refused
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox")
PRIVATE_MAX_KB = 500


def private_kb(pid: int) -> int:
    """Return what a process has for itself alone (proc_pid_smaps_rollup)."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return sum(int(row[1]) for row in rows if row[0].startswith("Private_"))


def test_the_monitor_is_the_programs_parent_and_small(engine) -> None:
    id = engine.detach("echo up; exec sleep 60", "--name", "web")
    engine.await_log(id, "up")
    monitor, program = engine.monitor(id), engine.program(id)
    assert process.stat(program)[2] == monitor
    assert private_kb(monitor) < PRIVATE_MAX_KB
    assert {os.readlink(f"/proc/{monitor}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    assert os.getsid(monitor) == monitor
    assert [line.split()[0] for line in engine.call("list").lines[1:]] == [id]


def test_the_end_is_written_down_and_cleaned_up(engine, capsule) -> None:
    id = engine.detach("exit 5", "--name", "web")
    assert engine.wait("web") == 5
    end = engine.end(id)
    assert (end["reason"], end["wait_status"] >> 8, end["run"]) == ("exit", 5, 1)
    assert not process.is_alive(engine.monitor(id)) and capsule.ids() == []
    assert engine.record(id)["wanted"] is False
    assert engine.wait(id[:8]) == 5


def test_a_failure_to_start_is_told_and_leaves_nothing(engine, capsule) -> None:
    result = capsule.call("image", "run", "-d", "--name", "web", "host", "/no/such/program", rc=FAILS)
    assert "/no/such/program" in refused(result) and result.out == ""
    assert list(engine.root.glob("[0-9a-f]*")) == [] and list((engine.root / ".names").iterdir()) == []


def test_verbs_of_the_runtime_take_names_and_beginnings_of_ids(engine) -> None:
    id = engine.detach("trap 'exit 7' USR1; echo up; while :; do sleep 0.01; done", "--name", "web")
    engine.await_log(id, "up")
    assert engine.call("exec", "web", "/bin/echo", "inside").out == "inside\n"
    assert engine.call("state", id[:12]).json["id"] == id
    engine.call("pause", "web")
    engine.call("resume", "web")
    engine.call("kill", "web", "USR1")
    assert engine.wait("web") == 7
    assert "does not exist" in engine.call("kill", "nobody", rc=FAILS).err


def test_stop_sends_the_stop_signal_then_kill(engine) -> None:
    polite = engine.detach("trap 'exit 3' INT; echo up; while :; do sleep 0.01; done", "--stop-signal", "INT")
    stubborn = engine.detach("trap '' TERM; echo up; while :; do sleep 0.01; done", "--stop-timeout", "1")
    for id in (polite, stubborn):
        engine.await_log(id, "up")
    assert engine.call("stop", polite, stubborn).lines == [polite, stubborn]
    assert engine.end(polite)["wait_status"] == 3 << 8
    assert engine.end(stubborn)["wait_status"] == signal.SIGKILL
    engine.call("stop", polite)  # it does not run


def test_a_paused_container_can_be_stopped(engine) -> None:
    id = engine.detach("trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done")
    engine.await_log(id, "up")
    engine.call("pause", id)
    engine.call("stop", id)
    assert engine.end(id)["wait_status"] == 3 << 8


def test_start_runs_it_again_with_its_changes(engine) -> None:
    id = engine.detach("echo x >> /tmp/made; wc -l < /tmp/made", "--name", "web")
    assert engine.wait(id) == 0
    for word in ("web", id, id[:10]):
        engine.call("start", word)
        assert engine.wait(id) == 0
    assert engine.call("logs", id).lines == ["1", "2", "3", "4"]
    assert engine.record(id)["runs"] == 4


def test_a_container_of_the_foreground_is_kept_and_can_be_started(engine, capsule) -> None:
    script = "cat /tmp/made 2> /dev/null; echo kept > /tmp/made; exit 4"
    capsule.call("image", "run", "--name", "once", "host", "/bin/sh", "-c", script, rc=4)
    assert engine.wait("once") == 4
    assert "foreground" in refused(engine.call("logs", "once", rc=FAILS))
    engine.call("start", "once")
    assert engine.wait("once") == 4 and engine.call("logs", "once").out == "kept\n"
    capsule.call("image", "run", "--rm", "--name", "gone", "host", "/bin/true")
    assert "does not exist" in engine.call("wait", "gone", rc=FAILS).err


def test_restart_stops_and_starts(engine) -> None:
    id = engine.detach("echo up; exec sleep 60", "--stop-timeout", "0")
    engine.await_log(id, "up")
    before = engine.program(id)
    engine.call("restart", id)
    assert engine.program(id) != before and engine.record(id)["runs"] == 2
    assert "running already" in refused(engine.call("start", id, rc=FAILS))


def test_on_failure_runs_it_again_so_often(engine) -> None:
    id = engine.detach("exit 9", "--restart", "on-failure:2")
    wait_until(lambda: engine.record(id)["runs"] == 3 and not engine.record(id)["wanted"], 30, "three runs")
    assert engine.wait(id) == 9 and engine.record(id)["restarts"] == 2
    fine = engine.detach("exit 0", "--restart", "on-failure")
    assert engine.wait(fine) == 0
    wait_until(lambda: not engine.record(fine)["wanted"], 10, "the end of it")
    assert engine.record(fine)["runs"] == 1


def test_always_is_ended_by_stop_alone(engine) -> None:
    id = engine.detach("echo run; exit 0", "--restart", "always")
    wait_until(lambda: engine.record(id)["runs"] >= 3, 30, "three runs")
    engine.call("stop", id)
    monitor = engine.monitor(id)
    assert not process.is_alive(monitor) and engine.record(id)["wanted"] is False
    runs = engine.record(id)["runs"]
    assert engine.call("logs", id).lines == ["run"] * runs
    engine.call("start", id)
    wait_until(lambda: engine.record(id)["runs"] > runs, 10, "another run")


def test_a_time_limit_ends_it(engine) -> None:
    id = engine.detach("trap 'exit 0' TERM; while :; do sleep 0.01; done", "--timeout", "0.3")
    engine.wait(id)
    assert engine.end(id)["reason"] == "timeout"


@requires("cgroup1")
def test_a_lack_of_memory_is_the_reason(engine) -> None:
    id = engine.detach("head -c 200m /dev/zero | tail > /dev/null; exit 1", "-m", "20m")
    engine.wait(id)
    assert engine.end(id)["reason"] == "oom"


def test_rm_wants_an_end_or_force(engine, capsule) -> None:
    id = engine.detach("exec sleep 60", "--name", "web")
    assert "running" in refused(engine.call("rm", "web", rc=FAILS))
    assert engine.call("rm", "-f", "web").out == "web\n"
    assert engine.is_gone(id) and capsule.ids() == []
    again = engine.detach("exit 0", "--name", "web")
    engine.wait(again)
    engine.call("rm", "web")
    assert engine.is_gone(again)
    assert "does not exist" in refused(engine.call("rm", "web", rc=FAILS))
    engine.call("rm", "-f", "web")


def test_what_is_removed_at_its_end_is_gone_when_waited_for(engine) -> None:
    id = engine.detach("read line; exit 6", "--rm", "-i")
    waiting = engine.runtime.spawn("wait", id)
    engine.call("attach", id, stdin=b"go\n", rc=6)
    assert waiting.wait().out == "6\n"
    wait_until(lambda: engine.is_gone(id), 10, "the removal")


def test_a_name_is_taken_once(engine) -> None:
    id = engine.detach("exec sleep 60", "--name", "web")
    result = engine.call("image", "run", "-d", "--name", "web", "host", "true", rc=FAILS)
    assert id[:12] in refused(result)
    assert [path.name for path in engine.root.glob("[0-9a-f]*")] == [id]


def test_health_is_looked_after(engine) -> None:
    id = engine.detach("touch /tmp/well; exec sleep 60", "--health-cmd", "echo seen; test -e /tmp/well",
                       "--health-interval", "100ms", "--health-retries", "2")

    def health() -> dict:
        path = engine.place(id) / "health.json"
        return json.loads(path.read_text()) if path.exists() else {"status": ""}

    wait_until(lambda: health()["status"] == "healthy", 30, "healthy")
    assert health()["looks"][-1]["output"] == "seen\n"
    told = engine.call("inspect", id).json[0]["State"]["Health"]
    assert told["Status"] == "healthy" and told["FailingStreak"] == 0 and "echo seen" in told["Command"][-1]
    assert {key: told["Log"][-1][key] for key in ("ExitCode", "Output")} == {"ExitCode": 0, "Output": "seen\n"}
    assert " (healthy)" in engine.call("ps").out
    watching = engine.runtime.spawn("events")
    try:
        watching.wait_output(" start ")  # it has looked once
        engine.call("exec", id, "/bin/rm", "/tmp/well")
        assert "health=healthy" not in watching.wait_output("health=unhealthy").out
    finally:
        watching.stop()
    told = engine.call("inspect", id).json[0]["State"]["Health"]
    assert told["Status"] == "unhealthy" and told["FailingStreak"] >= 2 and told["Log"][-1]["ExitCode"] == 1
    assert " (unhealthy)" in engine.call("ps").out
    assert engine.call("ps", "-q", "--filter", "health=unhealthy").out.strip() == id[:12]
    assert health()["failing"] >= 2 and health()["looks"][-1]["exit_code"] == 1


def test_a_look_that_takes_too_long_leaves_nothing_behind(engine) -> None:
    id = engine.detach("exec sleep 60", "--health-cmd", "sleep 600 & sleep 600; true", "--health-interval", "100ms",
                       "--health-timeout", "200ms")
    path = engine.place(id) / "health.json"

    def looks() -> int:
        return len(json.loads(path.read_text())["looks"]) if path.exists() else 0

    wait_until(lambda: looks() >= 3, 30, "three looks")
    assert json.loads(path.read_text())["looks"][-1]["exit_code"] == -1
    wait_until(lambda: len(engine.call("top", id).lines) <= 2 + 3, 10, "the end of earlier looks")


def test_a_reboot_leaves_it_to_be_started_and_removed(engine, capsule) -> None:
    """What a reboot takes is the processes and the runtime's records; what is below /var stays."""
    id = engine.detach("echo x >> /tmp/made; cat /tmp/made; exec sleep 60", "--name", "web")
    engine.await_log(id, "x")
    engine.kill_monitor(id)
    capsule.call("delete", "--force", id)
    assert capsule.ids() == []
    assert engine.wait("web") == 255  # nobody could write down how it ended
    engine.call("start", "web")
    wait_until(lambda: engine.call("logs", "web").lines == ["x", "x", "x"], 10, "the second run")
    engine.call("stop", "-t", "0", "web")
    engine.call("rm", "web")


def test_after_a_reboot_those_start_that_are_wanted(engine, capsule) -> None:
    ids = {name: engine.detach("exec sleep 60", "--name", name, "--stop-timeout", "0", "--restart", policy)
           for name, policy in {"always": "always", "kept": "unless-stopped", "ended": "unless-stopped",
                                "plain": "no"}.items()}
    engine.call("stop", "ended")
    for name in ("always", "kept", "plain"):
        engine.kill_monitor(ids[name])
        capsule.call("delete", "--force", ids[name])

    started = engine.call("start", "--all", "--filter", "should-start-on-boot=true").lines
    assert sorted(started) == sorted([ids["always"], ids["kept"]])
    assert sorted(engine.call("ps", "--format", "{{.Names}}").lines) == ["always", "kept"]
    of_policy = ("--filter", "restart-policy=unless-stopped")
    assert engine.call("stop", "--all", "--for-reboot", *of_policy).lines == [ids["kept"]]
    assert engine.call("start", "--all", *of_policy, "--filter", "should-start-on-boot=true").lines == [ids["kept"]]
    engine.call("stop", "kept")
    assert engine.call("start", "--all", "--filter", "should-start-on-boot=true").lines == []


def test_a_log_is_no_fifo(engine, tmp_path) -> None:
    os.mkfifo(tmp_path / "log")
    flags = ("--log-opt", f"path={tmp_path}/log")
    result = engine.call("image", "run", "-d", *flags, "host", "true", rc=FAILS, timeout=60)
    assert "log: not a regular file" in refused(result) and list(engine.root.glob("[0-9a-f]*")) == []


def test_who_has_anothers_network_is_started_after_it(engine) -> None:
    base = engine.detach("exec sleep 60", "--name", "zbase", "--stop-timeout", "0")
    guest = engine.detach("exec sleep 60", "--name", "aguest", "--stop-timeout", "0", "--network", "container:zbase")
    engine.call("stop", "--all")
    assert engine.call("start", "--all").lines == [base, guest]


@pytest.mark.parametrize(("flags", "text"), [
    (("--restart", "often"), "on-failure"), (("--restart", "always:3"), "on-failure"),
    (("--restart", "on-failure:x"), "number"),
    (("--restart", "always", "--rm"), "--rm"), (("--log-driver", "syslog"), "k8s-file"),
    (("--log-opt", "max-size=x"), "invalid size"), (("--log-opt", "max-file=0"), "1 to"),
    (("--log-opt", "tag=x"), "path="),
    (("--log-driver", "none", "--log-opt", "max-file=2"), "keeps no log"), (("--stop-signal", "NOSUCH"), "stop signal"),
    (("--stop-timeout", "-1"), "seconds"), (("--health-interval", "1s"), "--health-cmd"),
    (("--health-cmd", "true", "--health-interval", "x"), "duration"), (("--timeout", "x"), "seconds"),
    (("--log-opt", "path=/no/such/directory/log"), "open log"), (("--log-opt", "path=/dev/null"), "not a regular file"),
])
def test_bad_options_are_refused_before_anything_is_kept(engine, flags, text) -> None:
    assert text in refused(engine.call("image", "run", "-d", *flags, "host", "true", rc=FAILS))
    assert list(engine.root.glob("[0-9a-f]*")) == []


@pytest.mark.parametrize("flags", [("--restart", "always"), ("--health-cmd", "true"), ("--log-driver", "none")])
def test_what_needs_a_monitor_is_refused_in_the_foreground(engine, flags) -> None:
    assert "--detach" in refused(engine.call("image", "run", *flags, "host", "true", rc=FAILS))


def test_restarts_wait_longer_each_time(engine) -> None:
    began = time.monotonic()
    id = engine.detach("exit 1", "--restart", "on-failure:3")
    wait_until(lambda: engine.record(id)["runs"] == 4, 30, "four runs")
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4
