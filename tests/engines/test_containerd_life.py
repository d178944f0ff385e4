"""containerd: tasks from their making to their removal, exec, terminals, signals."""

from __future__ import annotations

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

from .kit.containerd import Containerd

ENGINE = Containerd
pytestmark = requires(*Containerd.NEEDS)


def trap(signal: str, status: int) -> tuple[str, ...]:
    """Return a program that says in /ready that it listens, and ends with a status at a signal."""
    return ("sh", "-c", f"trap 'exit {status}' {signal}; touch /ready; while :; do sleep 0.1; done")


def ready(engine, name: str) -> str:
    wait_until(lambda: engine.exec(name, "test", "-e", "/ready", rc=None).rc == 0)
    return name


@pytest.mark.smoke
def test_run_prints_and_is_gone(engine):
    assert engine.run("echo", "hello").out == "hello\n"
    assert engine.call("containers", "list", "--quiet").out == ""


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_run_returns_the_programs_status(engine, status):
    engine.run("sh", "-c", f"exit {status}", rc=status)


def test_stdout_and_stderr_are_apart(engine):
    done = engine.run("sh", "-c", "echo out; echo err >&2")
    assert (done.out, done.err) == ("out\n", "err\n")


def test_run_reads_standard_input(engine):
    assert engine.run("head", "-n", "1", data=b"in\nmore\n").out == "in\n"  # ctr does not pass the end


def test_many_bytes_pass(engine):
    """The program outlives its output: what is in a pipe when it ends is lost now and then, whatever the runtime."""
    assert len(engine.run("sh", "-c", "yes 0123456789 | head -c 3000000; sleep 1").raw) == 3_000_000


def test_a_program_that_is_not_in_the_path(engine):
    assert "executable file not found in $PATH" in engine.run("no-such-program", rc=1).err


def test_a_program_that_is_not_there(engine):
    assert "no such file or directory" in engine.run("/no/such/program", rc=1).err


def test_a_program_that_may_not_be_executed(engine):
    assert "permission denied" in engine.run("/etc/plain", rc=1).err


def test_a_failed_start_leaves_no_task(engine):
    engine.run("no-such-program", rc=1)
    assert engine.call("tasks", "list").lines[1:] == []


@pytest.mark.smoke
def test_a_detached_task_from_run_to_delete(engine):
    name = ready(engine, engine.detached(*trap("TERM", 5)))
    pid, status = engine.task(name)
    assert status == "RUNNING"
    assert engine.box.path(f"/proc/{pid}/comm").read_text() == "sh\n"
    engine.call("tasks", "kill", name)
    assert engine.ended(name) == 5
    engine.call("containers", "delete", name)
    assert engine.call("containers", "list", "--quiet").out == ""


@pytest.mark.parametrize("signal", ["HUP", "USR1", "INT"])
def test_kill_with_a_signal(engine, signal):
    name = ready(engine, engine.detached(*trap(signal, 9)))
    engine.call("tasks", "kill", "--signal", signal, name)
    assert engine.ended(name) == 9


def test_kill_all_ends_every_process(engine):
    name = ready(engine, engine.detached("sh", "-c", "sleep 1000 & touch /ready; wait"))
    engine.call("tasks", "kill", "--all", "--signal", "KILL", name)
    assert engine.ended(name) == 137


def test_a_task_that_runs_is_deleted_only_by_force(engine):
    name = engine.detached()
    assert engine.call("tasks", "delete", name, rc=None).rc != 0
    engine.call("tasks", "delete", "--force", name, rc=None)
    wait_until(lambda: engine.task(name)[1] == "absent")


@pytest.mark.smoke
def test_pause_and_resume(engine):
    name = engine.detached()
    engine.call("tasks", "pause", name)
    assert engine.task(name)[1] == "PAUSED"
    engine.call("tasks", "resume", name)
    assert engine.task(name)[1] == "RUNNING"
    assert engine.exec(name, "echo", "on").out == "on\n"


@pytest.mark.smoke
def test_exec_returns_output_and_status(engine):
    name = engine.detached()
    assert engine.exec(name, "echo", "inside").out == "inside\n"
    engine.exec(name, "sh", "-c", "exit 9", rc=9)


def test_exec_reads_standard_input(engine):
    assert engine.exec(engine.detached(), "cat", data=b"through\n").out == "through\n"


def test_exec_in_a_directory_as_a_user(engine):
    name = engine.detached()
    assert engine.exec(name, "pwd", options=("--cwd", "/etc")).word == "/etc"
    assert engine.exec(name, "id", "-u", options=("--user", "1000")).word == "1000"


def test_exec_of_nothing(engine):
    assert "executable file not found in $PATH" in engine.exec(engine.detached(), "no-such-program", rc=1).err


def test_exec_joins_every_namespace(engine):
    name = engine.detached()
    script = "cd /proc; for ns in cgroup ipc mnt net pid uts; do readlink $0/ns/$ns; done"
    assert engine.exec(name, "sh", "-c", script, "self").out == engine.exec(name, "sh", "-c", script, "1").out


def test_detached_exec(engine):
    name = engine.detached()
    engine.exec(name, "sh", "-c", "touch /ready; sleep 1000", options=("--detach",))
    ready(engine, name)


def test_ps_lists_the_processes(engine):
    name = engine.detached()
    pid, _ = engine.task(name)
    assert [line.split()[0] for line in engine.call("tasks", "ps", name).lines[1:]] == [str(pid)]


def test_metrics_count(engine):
    rows = dict(line.split()[:2] for line in engine.call("tasks", "metrics", engine.detached()).lines if line.strip())
    assert int(rows["pids.current"]) == 1
    assert int(rows["memory.usage_in_bytes"]) > 0


@pytest.mark.smoke
def test_run_on_a_terminal(engine):
    words = ("run", "--rm", "--tty", *engine.on_runtime(), engine.IMAGE, engine.name(), "sh")
    with engine.terminal(*words, rc=3) as pty:
        pty.type("tty; echo is-$((40+2)); exit 3\n")
        assert b"/dev/pts/0" in pty.read_until("is-42")


def test_exec_on_a_terminal(engine):
    name = engine.detached()
    with engine.terminal("tasks", "exec", "--tty", "--exec-id", engine.name(), name, "sh", rc=4) as pty:
        pty.type("tty; echo is-$((40+2)); exit 4\n")
        assert b"/dev/pts/" in pty.read_until("is-42")


def test_the_pid_file_names_the_task(engine):
    file = engine.directory / "pid"
    name = engine.detached(options=("--pid-file", str(file)))
    assert int(file.read_text()) == engine.task(name)[0]


def test_two_containers_with_one_name(engine):
    name = engine.detached()
    done = engine.call("run", "--detach", *engine.on_runtime(), engine.IMAGE, name, "true", rc=1)
    assert "already exists" in done.err


def test_a_task_is_seen_to_end_by_itself(engine):
    name = engine.detached("sh", "-c", "exit 6")
    assert engine.ended(name) == 6
