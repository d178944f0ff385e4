"""`capsule sandbox`: a command of this machine over this machine, and what it changed."""

from __future__ import annotations

import json
import os
import signal

import pytest
from helpers.requires import requires, variant
from helpers.runtime import FAILS, Runtime, one_line
from helpers.sandbox import Sandbox
from helpers.stops import stop_at
from helpers.wait import wait_until

pytestmark = requires("root", "runtime")


@pytest.fixture
def sandbox(capsule, tmp_path) -> Sandbox:
    return Sandbox(capsule, tmp_path / "project")


def test_a_command_of_the_machine_runs_in_the_callers_directory(sandbox) -> None:
    (sandbox.project / "file").write_text("of the project\n")
    result = sandbox.sh("pwd; cat file; type awk >/dev/null")

    assert result.lines == [str(sandbox.project), "of the project"]


def test_its_status_is_ours(sandbox) -> None:
    assert sandbox.sh("exit 7", rc=7).out == ""
    assert sandbox.sh("sh -c 'kill -KILL $$'; exit $?", rc=137).out == ""


def test_what_it_writes_is_gone(sandbox) -> None:
    (sandbox.project / "file").write_text("old\n")
    result = sandbox.sh("echo new > file; echo more > more; rm -f /etc/passwd; cat file more; test -e /etc/passwd",
                        rc=1)

    assert result.out == "new\nmore\n"
    assert [path.name for path in sandbox.project.iterdir()] == ["file"]
    assert (sandbox.project / "file").read_text() == "old\n" and os.path.exists("/etc/passwd")
    assert sandbox.runtime.ids() == [] and sandbox.kept() == []


def test_input_and_output_pass_through(sandbox) -> None:
    result = sandbox("cat", stdin=b"through\n")
    assert result.out == "through\n"


def test_the_environment_is_the_callers_without_secrets(sandbox) -> None:
    result = sandbox("env", flags=("-e", "GIVEN=1", "-e", "PASSED"),
                     env={"PATH": os.environ["PATH"], "LANG": "C", "AWS_SECRET": "x", "PASSED": "2"})

    names = {line.partition("=")[0] for line in result.lines}
    assert {"PATH", "LANG", "GIVEN", "PASSED"} <= names and not {"AWS_SECRET", "CAPSULE_SANDBOX"} & names


def test_rw_changes_the_host_and_ro_refuses(sandbox, tmp_path) -> None:
    for name in ("open", "shut"):
        (tmp_path / name).mkdir()
    result = sandbox.sh(f"echo 1 > {tmp_path}/open/made; echo 2 > {tmp_path}/shut/made", "--rw", tmp_path / "open",
                        "--ro", tmp_path / "shut", rc=FAILS)

    assert "Read-only" in result.err
    assert (tmp_path / "open" / "made").read_text() == "1\n" and not (tmp_path / "shut" / "made").exists()


def test_a_timeout_ends_it(sandbox) -> None:
    result = sandbox.sh("while :; do sleep 1; done", "--timeout", "0.3", "--json", rc=124)
    assert json.loads(result.err.splitlines()[-1])["reason"] == "timeout"


def test_memory_and_processors_are_limited(sandbox) -> None:
    result = sandbox.sh("x=$(head -c 200000000 /dev/zero | tr '\\0' a); echo ${#x}", "--memory", "40m", "--json",
                        rc=FAILS)

    account = json.loads(result.err.splitlines()[-1])
    assert account["reason"] == "oom" or account["status"] != 0
    assert 0 < account["memory_peak_bytes"] <= 40 << 20


def test_json_tells_status_reason_times_and_memory(sandbox) -> None:
    result = sandbox.sh("echo out; exit 3", "--json", rc=3)

    account = json.loads(result.err)
    assert result.out == "out\n"
    assert (account["status"], account["reason"]) == (3, "exit")
    assert account["wall_seconds"] > 0 and account["cpu_seconds"] > 0 and account["memory_peak_bytes"] > 0
    assert sandbox.runtime.ids() == []


def test_diff_tells_what_changed(sandbox) -> None:
    for name in ("changed", "deleted", "same"):
        (sandbox.project / name).write_text(name)
    (sandbox.project / "tree").mkdir()
    (sandbox.project / "tree" / "leaf").write_text("leaf")
    result = sandbox.sh("echo x > changed; rm deleted; cat same >> same.new; cp -p same s && mv s same; mkdir new;"
                        "echo 1 > new/file; rm -r tree; mkdir tree; echo 2 > tree/other; echo secret > /root/x;"
                        "echo t > /tmp/t", "--diff")

    base = sandbox.project
    assert result.lines == [
        f"C {base}/changed", f"D {base}/deleted", f"A {base}/new", f"A {base}/new/file", f"A {base}/same.new",
        f"D {base}/tree", f"A {base}/tree", f"A {base}/tree/other",
    ]
    assert (base / "tree" / "leaf").exists() and sandbox.kept() == []


def test_apply_makes_the_changes(sandbox) -> None:
    for name in ("changed", "deleted"):
        (sandbox.project / name).write_text(name)
    (sandbox.project / "tree").mkdir()
    (sandbox.project / "tree" / "leaf").write_text("leaf")
    sandbox.sh("echo x > changed; chmod 600 changed; rm deleted; mkdir -m 700 new; echo 1 > new/file;"
               "ln -s changed link; rm -r tree; mkdir tree; echo 2 > tree/other", "--keep")
    sandbox.apply()

    base = sandbox.project
    assert {str(path.relative_to(base)) for path in base.rglob("*")} == {
        "changed", "new", "new/file", "link", "tree", "tree/other"}
    assert (base / "changed").read_text() == "x\n" and (base / "changed").stat().st_mode & 0o777 == 0o600
    assert os.readlink(base / "link") == "changed" and (base / "new").stat().st_mode & 0o777 == 0o700
    assert sandbox.kept() == []


def test_kept_changes_are_shown_before_they_are_applied(sandbox) -> None:
    (sandbox.project / "deleted").write_text("x")
    sandbox.sh("rm deleted; echo 1 > made", "--keep")
    shown = sandbox.runtime.call("sandbox", "kept", sandbox.kept()[0])
    assert shown.lines == [f"D {sandbox.project}/deleted", f"A {sandbox.project}/made"]
    assert (sandbox.project / "deleted").exists()
    assert sandbox.apply().lines == shown.lines


@pytest.mark.parametrize("verb", ["apply", "discard", "kept"])
def test_changes_of_a_sandbox_that_runs_are_left_to_it(sandbox, verb) -> None:
    reading, writing = os.pipe()
    try:
        script = "echo x > file; echo ready; read word"
        running = sandbox.runtime.spawn("sandbox", "--keep", "--", "/bin/sh", "-c", script, stdin=reading,
                                        cwd=sandbox.project)
        running.wait_output("ready")
        (id,) = sandbox.kept()
        assert "it still runs" in one_line(sandbox.runtime.call("sandbox", verb, id, rc=FAILS))
        os.write(writing, b"go\n")
        running.wait()
    finally:
        os.close(reading)
        os.close(writing)
    assert sandbox.kept() == [id] and not (sandbox.project / "file").exists()
    sandbox.apply()
    assert (sandbox.project / "file").read_text() == "x\n"


@pytest.mark.parametrize("flag", [(), ("--diff",), ("--keep",)])
def test_failures_are_recorded_where_the_caller_says(sandbox, tmp_path, flag) -> None:
    log = tmp_path / "log"
    sandbox.runtime.call("--log", log, "--log-format", "json", "sandbox", *flag, "--", "/nonexistent", rc=FAILS,
                         cwd=sandbox.project)
    assert any(json.loads(line)["level"] == "error" for line in log.read_text().splitlines())
    assert sandbox.kept() == []


@pytest.mark.parametrize(("script", "meanwhile", "cause"), [
    ("echo x > file", lambda p: (p / "file").write_text("host's\n"), "changed meanwhile"),
    ("rm file", lambda p: (p / "file").write_text("host's\n"), "changed meanwhile"),
    ("echo x > file", lambda p: (p / "file").unlink(), "removed meanwhile"),
    ("echo x > made", lambda p: (p / "made").write_text("host's\n"), "made meanwhile"),
    ("rm -r tree", lambda p: (p / "tree" / "new").write_text("host's\n"), "changed meanwhile"),
])
def test_apply_refuses_what_changed_meanwhile(sandbox, script, meanwhile, cause) -> None:
    (sandbox.project / "file").write_text("old\n")
    (sandbox.project / "tree").mkdir()
    sandbox.sh(f"{script}; echo other > zz-other", "--keep")
    meanwhile(sandbox.project)
    before = {path: path.lstat().st_mtime_ns for path in sandbox.project.rglob("*")}
    result = sandbox.apply(rc=1)

    assert cause in one_line(result)
    assert {path: path.lstat().st_mtime_ns for path in sandbox.project.rglob("*")} == before
    sandbox.runtime.call("sandbox", "discard", sandbox.kept()[0])
    assert sandbox.kept() == []


@requires("stop")
@pytest.mark.parametrize("point", ["apply-checked", "apply-made"])
def test_an_apply_that_dies_is_finished_by_the_next(sandbox, workdir, point) -> None:
    (sandbox.project / "tree").mkdir()
    (sandbox.project / "tree" / "leaf").write_text("leaf")
    sandbox.sh("rm -r tree; mkdir tree; echo 1 > tree/other; echo 2 > b; echo 3 > c", "--keep")
    (workdir / "stops").mkdir()
    stopping = Runtime([str(variant("stop"))], sandbox.runtime.root, workdir / "stops")
    stopped = stop_at(stopping, point, "sandbox", "apply", sandbox.kept()[0])
    stopped.kill()
    stopped.running.wait()
    sandbox.apply()

    assert {str(path.relative_to(sandbox.project)) for path in sandbox.project.rglob("*")} == {
        "tree", "tree/other", "b", "c"}


def test_a_killed_sandbox_leaves_what_delete_removes(sandbox) -> None:
    running = sandbox.runtime.spawn("sandbox", "--", "sleep", "1000", cwd=sandbox.project)
    wait_until(lambda: len(sandbox.runtime.ids()) == 1, 20, "the sandbox runs")
    (id,) = sandbox.runtime.ids()
    wait_until(lambda: sandbox.runtime.is_running(id), 20, "it has started")
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    sandbox.runtime.call("delete", "--force", id)
    assert sandbox.runtime.ids() == []


@pytest.mark.parametrize(("flags", "text"), [
    (("--net", "host"), "a sandbox joins a network by its name"),
    (("--rw", "/"), "not the whole machine"),
    (("--ro", "/nonexistent-directory"), "no such file"),
    (("--rw", "/proc/self"), "not the whole machine"),
    (("--memory", "lots"), "lots"),
    (("--cpus", "none"), "expected a number"),
    (("--timeout", "soon"), "expected seconds"),
    (("--rw", "/tmp", "--ro", "/tmp"), "--rw as well"),
])
def test_bad_input_is_refused_before_anything_is_made(sandbox, flags, text) -> None:
    for more in ((), ("--keep",)):
        assert text in one_line(sandbox("true", flags=(*flags, *more), rc=FAILS))
    assert sandbox.runtime.ids() == [] and sandbox.kept() == []


@pytest.mark.parametrize(("words", "text"), [
    (("apply",), "expected one id"), (("discard", "a", "b"), "expected one id"),
    (("kept", "x", "y"), "expected at most one id"), (("kept", "x"), "is not kept"),
    (("--rw", "/tmp", "kept"), "--rw"), (("apply", "x"), "is not kept"),
])
def test_words_upon_kept_changes_take_what_they_need(sandbox, words, text) -> None:
    assert text in one_line(sandbox.runtime.call("sandbox", *words, rc=FAILS))


def test_an_unknown_program_is_named(sandbox) -> None:
    assert "nonexistent-program" in one_line(sandbox("nonexistent-program", rc=FAILS))
