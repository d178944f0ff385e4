"""Containers from their making to their removal."""

from __future__ import annotations

import signal
import subprocess

import pytest
from helpers.wait import wait_until

LETTERS = "Docker 20.10 looks for the words with other letters: no such file or directory"


class Life:
    @pytest.mark.smoke
    def test_run_prints_and_is_gone(self, engine):
        assert engine.run("echo", "hello") == "hello\n"
        assert engine.call("ps", "--all", "--quiet").out == ""

    @pytest.mark.parametrize("status", [0, 3, pytest.param(42, marks=pytest.mark.smoke), 255])
    def test_run_returns_the_programs_status(self, engine, status):
        engine.sh(f"exit {status}", rc=status)

    def test_a_program_ended_by_a_signal_is_128_and_its_number(self, engine):
        engine.sh("(sleep 1000) & kill -TERM $!; wait $!", rc=128 + signal.SIGTERM)

    @pytest.mark.known(crun=LETTERS)
    @pytest.mark.parametrize("program", [pytest.param("no-such-program", marks=pytest.mark.smoke), "/no/such/program"])
    def test_a_missing_program_is_127(self, engine, program):
        engine.run(program, rc=127)

    @pytest.mark.known(crun=LETTERS)
    @pytest.mark.parametrize("program", [pytest.param("/etc/plain", marks=pytest.mark.smoke), "/etc"])
    def test_a_program_that_may_not_be_executed_is_126(self, engine, program):
        engine.run(program, rc=126)

    def test_a_wrong_flag_is_125(self, engine):
        engine.run("true", options=["--no-such-flag"], rc=125)

    @pytest.mark.known(crun=LETTERS)
    def test_a_missing_program_leaves_a_created_container(self, engine):
        engine.call("run", "--name", "lost", *engine.OFFLINE, engine.IMAGE, "/no/such/program", rc=127)
        assert engine.status("lost") in ("created", "initialized")
        engine.call("rm", "lost")

    @pytest.mark.smoke
    def test_a_detached_container_from_run_to_rm(self, engine):
        name = engine.detached("sh", "-c",
                               "echo started; trap 'echo stopping; exit 5' TERM; while :; do sleep 0.1; done")
        engine.wait_log(name, "started")
        assert engine.exec(name, "echo", "inside").out == "inside\n"
        assert engine.status(name) == "running"
        engine.call("stop", "--time", "10", name)
        assert engine.inspect(name, ".State.ExitCode") == "5"
        assert engine.call("logs", name).lines == ["started", "stopping"]
        engine.call("rm", name)
        assert engine.call("ps", "--all", "--quiet").out == ""

    def test_create_start_attach(self, engine):
        name = engine.create("echo", "late")
        assert engine.status(name) == "created"
        assert engine.call("start", "--attach", name).out == "late\n"
        assert engine.status(name) == "exited"

    def test_start_again(self, engine):
        name = engine.create("sh", "-c", "echo again >> /count; wc -l < /count")
        for number in ("1", "2", "3"):
            assert engine.call("start", "--attach", name).word == number

    def test_restart_of_a_running_container(self, engine):
        name = engine.trapping()
        first = engine.pid(name)
        engine.call("restart", name)
        wait_until(lambda: engine.call("logs", name).out.count("ready") == 2)
        assert engine.pid(name) != first
        assert "signal 15" in engine.call("logs", name).out

    def test_a_failing_container_is_restarted(self, engine):
        name = engine.detached("sh", "-c", "echo run; exit 7", options=["--restart", "on-failure:2"])
        wait_until(lambda: engine.call("logs", name).lines == ["run"] * 3, 30)
        engine.wait_status(name, "exited")
        assert engine.inspect(name, ".State.ExitCode") == "7"

    def test_kill_and_wait(self, engine):
        name = engine.detached()
        engine.call("kill", name)
        assert engine.call("wait", name).word == "137"

    @pytest.mark.parametrize("word, number", [("HUP", 1), ("SIGUSR1", 10), ("12", 12)])
    def test_kill_sends_the_signal_named(self, engine, word, number):
        name = engine.trapping()
        engine.call("kill", "--signal", word, name)
        engine.wait_log(name, f"signal {number} ")
        assert engine.status(name) == "running"

    def test_stop_sends_sigterm_first(self, engine):
        name = engine.trapping()
        engine.call("stop", name)
        assert engine.inspect(name, ".State.ExitCode") == "42"

    def test_stop_kills_who_does_not_listen(self, engine):
        name = engine.detached("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
        engine.wait_log(name, "deaf")
        engine.call("stop", "--time", "1", name)
        assert engine.inspect(name, ".State.ExitCode") == "137"

    def test_stop_with_the_signal_of_the_container(self, engine):
        name = engine.trapping("--stop-signal", "USR2")
        engine.call("stop", "--time", "1", name)
        assert "signal 12 " in engine.call("logs", name).out

    def test_the_end_of_the_first_process_ends_the_others(self, engine):
        name = engine.detached("sh", "-c", "sleep 1000 & sleep 1000 & echo ready; read x")
        engine.call("wait", name)
        assert not [line for line in engine.box.processes().values() if "sleep 1000" in line]

    @pytest.mark.smoke
    def test_pause_and_unpause(self, engine):
        name = engine.detached()
        engine.call("pause", name)
        assert engine.status(name) == "paused"
        assert engine.knob(name, "freezer", "freezer.state") == "FROZEN"
        engine.call("exec", name, "true", rc=None)
        engine.call("unpause", name)
        assert engine.knob(name, "freezer", "freezer.state") == "THAWED"
        assert engine.exec(name, "echo", "on").out == "on\n"

    def test_a_paused_container_is_removed_by_force(self, engine):
        name = engine.detached()
        engine.call("pause", name)
        engine.call("rm", "--force", name)
        assert engine.call("ps", "--all", "--quiet").out == ""

    def test_a_running_container_is_not_removed(self, engine):
        name = engine.detached()
        assert engine.call("rm", name, rc=None).rc != 0
        assert engine.status(name) == "running"
        engine.call("rm", "--force", name)

    def test_logs_keep_the_two_streams(self, engine):
        name = engine.detached("sh", "-c", "echo out; echo err >&2")
        engine.call("wait", name)
        logs = engine.call("logs", name)
        assert (logs.out, logs.err) == ("out\n", "err\n")
        assert engine.call("logs", "--tail", "1", name).out in ("out\n", "")

    def test_logs_follow_until_the_end(self, engine):
        name = engine.trapping()
        following = engine.start("logs", "--follow", name)
        engine.call("kill", "--signal", "USR1", name)
        engine.call("stop", name)
        assert [line.split()[0] for line in engine.finish(following).lines] == ["ready", "signal", "signal"]

    def test_much_output_arrives_whole(self, engine):
        out = engine.sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
        assert out == "".join(f"line {i}\n" for i in range(20000))

    def test_attach_to_a_running_container(self, engine):
        script = "echo ready; read word; echo got $word; read word"
        name = engine.detached("sh", "-c", script, options=["--interactive"])
        engine.wait_log(name, "ready")
        started = engine.start("attach", name, stdin=subprocess.PIPE)
        started.stdin.write(b"typed\n")
        started.stdin.flush()
        engine.wait_log(name, "got typed")
        assert engine.finish(started, data=b"end\n").out.strip() == "got typed"

    def test_standard_input_is_passed(self, engine):
        assert engine.run("cat", options=["--interactive"], data=b"from stdin\n" * 5000) == "from stdin\n" * 5000

    def test_standard_error_is_apart(self, engine):
        done = engine.call("run", "--rm", *engine.OFFLINE, engine.IMAGE, "sh", "-c", "echo out; echo err >&2")
        assert (done.out, done.err) == ("out\n", "err\n")

    def test_a_removed_container_is_gone_although_it_failed(self, engine):
        engine.sh("exit 1", rc=1)
        assert engine.call("ps", "--all", "--quiet").out == ""

    def test_rename(self, engine):
        name = engine.detached()
        engine.call("rename", name, "other")
        assert engine.exec("other", "echo", "here").out == "here\n"

    def test_the_names_are_listed(self, engine):
        engine.detached(options=["--name", "first"])
        engine.create("true", options=["--name", "second"])
        assert engine.call("ps", "--format", "{{.Names}}").lines == ["first"]
        assert sorted(engine.call("ps", "--all", "--format", "{{.Names}}").lines) == ["first", "second"]

    def test_cidfile_holds_the_name(self, engine):
        file = engine.directory / "cid"
        file.unlink(missing_ok=True)
        name = engine.detached(options=["--cidfile", str(file)])
        assert file.read_text() == name

    def test_several_containers_at_once(self, engine):
        names = [engine.detached("sh", "-c", f"exit {number}") for number in range(4)]
        assert [engine.call("wait", name).word for name in names] == ["0", "1", "2", "3"]
