"""create, start, run, kill, delete, state: what each does and refuses."""

from __future__ import annotations

import json
import os
import signal

import pytest
from helpers.process import is_alive
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")


def test_create_makes_a_container_that_waits(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    state = capsule.state(box)
    assert (state["id"], state["status"]) == (box.id, "created")
    assert state["bundle"] == str(box.path)
    assert is_alive(state["pid"])


def test_the_state_of_a_stopped_process_that_waits_can_be_asked_for_ever(capsule, bundle):
    """Nobody takes the questions from the start socket's queue."""
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    os.kill(capsule.pid(box), signal.SIGSTOP)
    assert {capsule.status(box) for _ in range(30)} == {"created"}


@pytest.mark.row(173)
def test_create_does_not_run_the_program(capsule, bundle):
    box = bundle().shell("touch /data/ran; sleep 100")
    capsule.create(box)
    assert not (box.rootfs / "data/ran").exists()
    capsule.start(box)
    wait_until((box.rootfs / "data/ran").exists)
    assert capsule.status(box) == "running"


def test_start_runs_the_program_in_the_process_of_create(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    pid = capsule.pid(box)
    capsule.start(box)
    assert capsule.pid(box) == pid
    wait_until(lambda: os.readlink(f"/proc/{pid}/exe") == "/payload")


@pytest.mark.row(171)
def test_the_whole_life_of_a_container(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.start(box)
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    assert capsule.state(box).get("pid", 0) == 0
    capsule.delete(box)
    assert not capsule.exists(box)
    assert capsule.ids() == []


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_run_returns_the_status_of_the_program(capsule, bundle, status):
    box = bundle(["/payload", "exit", str(status)])
    capsule.run(box, rc=status)
    assert not capsule.exists(box)


def test_run_returns_128_and_the_signal_that_ended_the_program(capsule, bundle):
    box = bundle(["/payload", "pause"])
    running = capsule.spawn_run(box)
    wait_until(lambda: capsule.exists(box) and capsule.status(box) == "running")
    os.kill(capsule.pid(box), signal.SIGKILL)
    assert running.wait().rc == 128 + signal.SIGKILL


def test_run_passes_stdin_and_stdout_through(capsule, bundle):
    text = bytes(range(256)) * 1000
    result = capsule.run(bundle(["/payload", "cat"]), stdin=text)
    assert result.raw == text


def test_run_passes_stderr_through(capsule, bundle):
    result = capsule.run(bundle().shell("echo out; echo err >&2"))
    assert (result.out, result.err) == ("out\n", "err\n")


@pytest.mark.rival(crun="has no run --keep")
def test_run_keep_leaves_a_stopped_container(capsule, bundle):
    box = bundle(["/payload", "exit", "3"])
    capsule.run(box, "--keep", rc=3)
    assert capsule.status(box) == "stopped"
    capsule.delete(box)
    assert not capsule.exists(box)


def test_run_detach_returns_while_the_program_runs(capsule, bundle):
    box = bundle(["/payload", "pause"])
    pid = capsule.start_container(box)
    assert capsule.status(box) == "running"
    assert is_alive(pid)


def test_a_program_that_ends_leaves_a_stopped_container(capsule, bundle):
    box = bundle(["/payload", "exit", "0"])
    capsule.create(box)
    capsule.start(box)
    capsule.wait_status(box, "stopped")


@pytest.mark.row(182)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_the_pid_file_holds_the_pid_and_nothing_else(capsule, bundle, workdir, verb):
    box = bundle(["/payload", "pause"])
    flags = ["--pid-file", workdir / "pid"] + (["--detach"] if verb == "run" else [])
    getattr(capsule, verb)(box, *flags)
    assert (workdir / "pid").read_text() == str(capsule.pid(box))


def test_a_relative_pid_file_belongs_to_the_working_directory(capsule, bundle, workdir):
    box = bundle(["/payload", "pause"])
    (workdir / "here").mkdir()
    capsule.create(box, "--pid-file", "pid", cwd=workdir / "here")
    assert (workdir / "here/pid").read_text() == str(capsule.pid(box))


def test_the_foreground_run_writes_its_pid_file_too(capsule, bundle, workdir):
    box = bundle(["/payload", "pause"])
    running = capsule.spawn_run(box, "--pid-file", workdir / "pid")
    wait_until((workdir / "pid").exists)
    wait_until(lambda: (workdir / "pid").read_text() == str(capsule.pid(box)))
    capsule.kill(box, "KILL")
    assert running.wait().rc == 137


def test_a_relative_bundle_belongs_to_the_working_directory(capsule, bundle):
    box = bundle(["/payload", "exit", "5"])
    box.write()
    capsule.call("run", "--bundle", box.path.name, box.id, cwd=box.path.parent, rc=5)


def test_the_bundle_is_the_working_directory_when_none_is_given(capsule, bundle):
    box = bundle(["/payload", "exit", "6"])
    box.write()
    capsule.call("run", box.id, cwd=box.path, rc=6)


@pytest.mark.row(173)
def test_edits_of_the_config_after_create_have_no_effect(capsule, bundle):
    box = bundle().shell("echo first > /data/said; sleep 100")
    capsule.create(box)
    box.shell("echo second > /data/said; sleep 100").write()
    capsule.start(box)
    wait_until((box.rootfs / "data/said").exists)
    wait_until(lambda: (box.rootfs / "data/said").read_text())
    assert (box.rootfs / "data/said").read_text() == "first\n"


@pytest.mark.row(174)
def test_a_second_start_is_refused(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.start(box)
    capsule.start(box, rc=1)
    assert capsule.status(box) == "running"


@pytest.mark.row(174)
def test_start_of_a_stopped_container_is_refused(capsule, bundle):
    box = bundle(["/payload", "exit", "0"])
    capsule.create(box)
    capsule.start(box)
    capsule.wait_status(box, "stopped")
    capsule.start(box, rc=1)


def test_start_of_an_unknown_container_is_refused(capsule):
    capsule.start("nobody", rc=1)


@pytest.mark.row(174)
def test_delete_refuses_a_running_container(capsule, bundle):
    box = bundle(["/payload", "pause"])
    pid = capsule.start_container(box)
    capsule.delete(box, rc=1)
    assert capsule.status(box) == "running"
    assert is_alive(pid)


def test_delete_force_ends_a_running_container(capsule, bundle):
    box = bundle(["/payload", "pause"])
    pid = capsule.start_container(box)
    capsule.delete(box, "--force")
    assert not capsule.exists(box)
    wait_until(lambda: not is_alive(pid))


@pytest.mark.row(174)
def test_delete_kills_a_created_container(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    pid = capsule.pid(box)
    capsule.delete(box)
    assert not capsule.exists(box)
    wait_until(lambda: not is_alive(pid))


def test_delete_of_an_unknown_container_is_an_error(capsule):
    assert "does not exist" in capsule.delete("nobody", rc=1).err


def test_delete_force_of_an_unknown_container_succeeds(capsule):
    capsule.delete("nobody", "--force")


@pytest.mark.row(177)
def test_kill_takes_a_number_a_name_and_a_full_name(capsule, bundle):
    box = bundle().args("/payload", "trap")
    running = capsule.spawn_run(box)
    running.wait_output("ready")
    for word, number in (("10", 10), ("USR2", 12), ("SIGHUP", 1)):
        capsule.kill(box, word)
        running.wait_output(f"signal {number} ")
    capsule.kill(box)
    assert running.wait().rc == 42


@pytest.mark.row(174)
def test_kill_of_a_stopped_container_is_refused_in_the_words_engines_know(capsule, bundle):
    box = bundle(["/payload", "exit", "0"])
    capsule.create(box)
    capsule.start(box)
    capsule.wait_status(box, "stopped")
    assert "container not running" in capsule.kill(box, "KILL", rc=1).err


def test_kill_all_of_a_stopped_container_succeeds(capsule, bundle):
    box = bundle(["/payload", "exit", "0"])
    capsule.create(box)
    capsule.start(box)
    capsule.wait_status(box, "stopped")
    capsule.kill(box, "--all", "9")


def test_kill_of_a_created_container_ends_it(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")


def test_kill_of_an_unknown_container_names_it(capsule):
    assert "does not exist" in capsule.kill("nobody", "KILL", rc=1).err


@pytest.mark.row(177)
@pytest.mark.parametrize("word", ["NOSUCH", "999", "SIG"])
def test_kill_refuses_what_is_no_signal(capsule, bundle, word):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    capsule.call("kill", box.id, word, rc=FAILS)
    assert capsule.status(box) == "running"


@pytest.mark.row(170)
def test_the_state_of_an_unknown_container_is_an_error(capsule):
    assert "does not exist" in capsule.call("state", "nobody", rc=1).err


@pytest.mark.row(170)
def test_the_state_document_has_the_keys_that_programs_read(capsule, bundle):
    box = bundle(["/payload", "pause"])
    box.config["annotations"] = {"org.example.color": "blue"}
    capsule.create(box)
    state = capsule.state(box)
    assert state["ociVersion"].startswith("1.")
    assert state["annotations"] == {"org.example.color": "blue"}
    assert state["rootfs"] == str(box.rootfs)
    assert state["created"].endswith("Z") or "+" in state["created"]
    assert state["owner"] in ("root", "")


def test_roots_are_worlds_apart(capsule, bundle, workdir):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.call("--root", workdir / "other", "state", box.id, rc=1, root=False)


@pytest.mark.row(180)
def test_list_shows_what_exists(capsule, bundle):
    first, second = bundle(["/payload", "pause"]), bundle(["/payload", "pause"])
    capsule.create(first)
    capsule.start_container(second)
    assert sorted(capsule.ids()) == sorted([first.id, second.id])
    lines = capsule.list().out.splitlines()
    assert lines[0].split()[:5] == ["ID", "PID", "STATUS", "BUNDLE", "CREATED"]
    row = next(line.split() for line in lines if line.startswith(second.id + " "))
    assert row[1:4] == [str(capsule.pid(second)), "running", str(second.path)]


@pytest.mark.row(180)
@pytest.mark.rival(crun="prints other keys")
def test_list_as_json_is_one_line_with_keys_in_order(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    text = capsule.list("--format", "json").out
    assert text.count("\n") <= 1
    (row,) = json.loads(text)
    assert list(row)[:7] == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"]
    assert (row["id"], row["status"], row["pid"]) == (box.id, "created", capsule.pid(box))


@pytest.mark.row(180)
def test_ps_as_json_is_the_pids_on_the_host(capsule, bundle):
    box = bundle(["/payload", "children", "3"])
    running = capsule.spawn_run(box)
    running.wait_output("ready")
    pids = capsule.ps(box, "--format", "json").json
    assert len(pids) == 4
    assert capsule.pid(box) in pids
    assert all(is_alive(pid) for pid in pids)
    capsule.kill(box, "KILL")
    running.wait()


@pytest.mark.row(180)
@requires("ps")
def test_ps_prints_a_table_of_the_containers_processes(capsule, bundle):
    box = bundle(["/payload", "pause"])
    pid = capsule.start_container(box)
    header, row = capsule.ps(box).out.splitlines()
    assert header.split()[:3] == ["UID", "PID", "PPID"]
    assert row.split()[1] == str(pid)
    assert row.endswith("/payload pause")


def test_an_orphan_in_the_container_dies_with_its_first_process(capsule, bundle):
    box = bundle(["/payload", "children", "5"])
    running = capsule.spawn_run(box)
    running.wait_output("ready")
    pids = capsule.ps(box, "--format", "json").json
    os.kill(capsule.pid(box), signal.SIGKILL)
    running.wait()
    wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.row(177)
def test_kill_all_reaches_every_process(capsule, bundle):
    box = bundle(["/payload", "children", "3"]).without_namespace("pid")
    running = capsule.spawn_run(box)
    running.wait_output("ready")
    pids = capsule.ps(box, "--format", "json").json
    capsule.kill(box, "--all", "KILL")
    running.wait()
    wait_until(lambda: not any(map(is_alive, pids)))
