"""The entry point: which verb each command calls with what, what it prints, and how failures end."""

import json
import os
import sys
import types

import pytest
from helpers.requires import requires

import capsule.cli
from capsule.cli import cmd_version, main as entry, output
from capsule.errors import CapsuleError, ChildError, NotFound
from capsule.runtime import failure
from capsule.spec.load import load_config

STATE = {
    "ociVersion": "1.3.0", "id": "c1", "pid": 42, "status": "running", "bundle": "/b", "rootfs": "/b/rootfs",
    "created": "2024-01-02T03:04:05.6Z", "owner": "root",
}


class Recorder(types.ModuleType):
    """Stand for capsule.verbs: record each call, answer from a table, raise what is an exception."""

    def __init__(self):
        super().__init__("capsule.verbs")
        self.calls = []
        self.answers = {}

    def __getattr__(self, name):
        def verb(*args, **keywords):
            self.calls.append((name, args, keywords))
            answer = self.answers.get(name)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return verb


@pytest.fixture
def verbs(monkeypatch):
    """The recorder, in place of the runtime's verbs for every command module."""
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "capsule.verbs", recorder)
    monkeypatch.setattr(capsule, "verbs", recorder, raising=False)
    for name in [name for name in sys.modules if name.startswith("capsule.cli.cmd_")]:
        monkeypatch.delitem(sys.modules, name)
    return recorder


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Failures are recorded below the default root, which is the machine's."""
    monkeypatch.setattr(failure, "remember", lambda *args, **words: None)


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch):
    """Let no test inherit the log of another."""
    monkeypatch.setattr(output, "_log_fd", output.STDERR)
    monkeypatch.setattr(output, "_json", False)
    yield
    if output._log_fd != output.STDERR:
        os.close(output._log_fd)


def capsule_run(*words):
    """Run a command line and return its exit status."""
    return entry.main([b"capsule", *[os.fsencode(word) for word in words]])


def test_a_relative_path_below_a_removed_directory_is_refused(verbs, tmp_path, monkeypatch, capfd):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert capsule_run("create", "id") == 1
    assert "find the working directory: no such file or directory" in capfd.readouterr().err


def test_create_passes_absolute_paths_of_the_callers_directory(verbs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()

    status = capsule_run("--root", "state", "create", "--pid-file", "pid", "-b", "./b/", "--preserve-fds", "2", "c1")

    assert status == 0
    assert verbs.calls == [
        (
            "create", (f"{here}/state", "c1"),
            {
                "bundle": f"{here}/b", "pid_file": f"{here}/pid", "console_socket": None,
                "pidfd_socket": None, "preserve_fds": 2, "no_pivot": False, "network": None, "no_new_keyring": False,
                "systemd_cgroup": False, "cgroup_access": "",
            },
        )
    ]


def test_run_returns_the_status_of_the_verb(verbs):
    verbs.answers["run"] = 7

    assert capsule_run("run", "--keep", "-d", "c1") == 7
    assert verbs.calls[0][2]["keep"] is True
    assert verbs.calls[0][2]["detach"] is True
    assert verbs.calls[0][2]["bundle"] == os.getcwd()


def test_exec_passes_every_option(verbs):
    verbs.answers["exec_"] = 3

    status = capsule_run(
        "--root", "/r", "exec", "-t", "-e", "A=1", "-u", "1:2", "-g", "5", "--cap", "CAP_KILL", "--cgroup", "sub",
        "--apparmor", "p", "--process-label", "l", "--cwd", "/x", "--ignore-paused", "--no-new-privs",
        "--preserve-fds", "1", "--pidfd-socket", "s", "c1", "ls", "-l",
    )

    assert status == 3
    assert verbs.calls == [
        (
            "exec_", ("/r", "c1"),
            {
                "process_file": None, "args": ["ls", "-l"], "cwd": "/x", "env": ["A=1"], "user": "1:2",
                "additional_gids": [5], "caps": ["CAP_KILL"], "tty": True, "detach": False, "pid_file": None,
                "console_socket": None, "pidfd_socket": f"{os.getcwd()}/s", "preserve_fds": 1, "cgroup": ["sub"],
                "ignore_paused": True,
                "no_new_privs": True, "apparmor": "p", "process_label": "l",
            },
        )
    ]


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["start", "c1"], ("start", ("/r", "c1"), {})),
        (["pause", "c1"], ("pause", ("/r", "c1"), {})),
        (["resume", "c1"], ("resume", ("/r", "c1"), {})),
        (["kill", "c1"], ("kill", ("/r", "c1", 15, False), {})),
        (["kill", "--all", "c1", "9"], ("kill", ("/r", "c1", 9, True), {})),
        (["kill", "c1", "sigusr1"], ("kill", ("/r", "c1", 10, False), {})),
        (["delete", "c1"], ("delete", ("/r", "c1", False), {})),
        (["delete", "--force", "c1"], ("delete", ("/r", "c1", True), {})),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_plain_verbs_are_called_with_root_and_id(verbs, words, call):
    assert capsule_run("--root", "/r", *words) == 0
    assert verbs.calls == [call]


@requires("root")
def test_default_root_is_the_users_runtime_directory_without_privilege(verbs, monkeypatch, tmp_path):
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 1000, -1)
    monkeypatch.setattr("posix.geteuid", lambda: 1000)
    monkeypatch.setitem(__import__("posix").environ, b"XDG_RUNTIME_DIR", os.fsencode(tmp_path))
    capsule_run("start", "c1")

    assert verbs.calls[0][1][0] == f"{tmp_path}/capsule"


def test_default_root_of_root_ignores_the_environment(verbs, monkeypatch):
    monkeypatch.setattr("posix.geteuid", lambda: 0)
    monkeypatch.setitem(__import__("posix").environ, b"XDG_RUNTIME_DIR", b"/run/user/0")
    capsule_run("start", "c1")

    assert verbs.calls[0][1][0] == "/run/capsule"


@pytest.mark.parametrize(
    ("options", "access"),
    [([], ""), (["--rootless", "auto"], ""), (["--rootless=true"], "true"), (["--rootless", "false"], "false"),
     (["--cgroup-manager=disabled", "--rootless=true"], "disabled"), (["--cgroup-manager", "cgroupfs"], "")],
    ids=str,
)
def test_who_may_make_cgroups_is_passed_on(verbs, options, access):
    assert capsule_run(*options, "create", "c1") == 0
    assert verbs.calls[0][2]["cgroup_access"] == access


@pytest.mark.parametrize("option", ["--rootless=yes", "--cgroup-manager=none"])
def test_a_word_that_no_choice_is(verbs, capfd, option):
    assert capsule_run(option, "create", "c1") == 1
    assert "invalid " in capfd.readouterr().err
    assert verbs.calls == []


def test_state_is_printed_as_indented_json(verbs, capfd):
    verbs.answers["state"] = dict(STATE)

    assert capsule_run("state", "c1") == 0
    out = capfd.readouterr().out
    assert json.loads(out) == STATE
    assert out.startswith('{\n  "ociVersion": "1.3.0",\n')
    assert out.endswith("}\n")


def test_state_detail_adds_the_record(verbs, capfd):
    verbs.answers["state"] = dict(STATE)
    verbs.answers["detail"] = {"init_process_pid": 42}

    assert capsule_run("state", "-d", "c1") == 0
    assert json.loads(capfd.readouterr().out)["detail"] == {"init_process_pid": 42}


def test_list_prints_the_table_that_scripts_cut(verbs, capfd):
    verbs.answers["list_"] = [dict(STATE, id="zz", pid=0, status="stopped"), dict(STATE)]

    assert capsule_run("list") == 0
    assert capfd.readouterr().out == (
        "ID          PID         STATUS      BUNDLE      CREATED                  OWNER\n"
        "c1          42          running     /b          2024-01-02T03:04:05.6Z   root\n"
        "zz          0           stopped     /b          2024-01-02T03:04:05.6Z   root\n"
    )


def test_list_wide_shows_the_address_after_the_status(verbs, capfd):
    verbs.answers["list_"] = [dict(STATE, ip="10.0.0.2")]

    assert capsule_run("list", "--wide") == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:4] == ["c1", "42", "running", "10.0.0.2"]


def test_list_says_which_container_cannot_be_read_and_shows_the_others(verbs, capfd):
    broken = dict(STATE, id="zz", status="broken", error="load record of container zz: odd")
    verbs.answers["list_"] = [dict(STATE), broken]

    assert capsule_run("list", "-f", "json") == 0
    out, err = capfd.readouterr()
    assert [each["id"] for each in json.loads(out)] == ["c1", "zz"]
    assert "level=warning" in err
    assert "load record of container zz: odd" in err


def test_list_quiet_prints_ids_only(verbs, capfd):
    verbs.answers["list_"] = [dict(STATE, id="b"), dict(STATE, id="a")]

    assert capsule_run("list", "-q") == 0
    assert capfd.readouterr().out == "a\nb\n"


def test_list_json_is_one_line_in_the_order_engines_match(verbs, capfd):
    verbs.answers["list_"] = [{key: STATE[key] for key in reversed(STATE)}]

    assert capsule_run("list", "-f", "json") == 0
    out = capfd.readouterr().out
    assert out.startswith('[{"ociVersion":"1.3.0","id":"c1","pid":42,"status":"running","bundle":"/b",')
    assert out.count("\n") == 1


def test_list_refuses_an_explicit_root_that_does_not_exist_and_does_not_make_it(verbs, tmp_path, capfd):
    missing = tmp_path / "missing"

    assert capsule_run("--root", str(missing), "list") == 1
    assert not missing.exists()
    assert verbs.calls == []
    assert "no such file or directory" in capfd.readouterr().err


def test_ps_json_is_the_array_of_pids(verbs, capfd):
    verbs.answers["processes"] = [1, 22]

    assert capsule_run("ps", "--format", "json", "c1") == 0
    assert capfd.readouterr().out == "[1,22]\n"


@requires("ps")
def test_ps_table_is_the_hosts_filtered_by_pid(verbs, capfd):
    verbs.answers["processes"] = [os.getpid()]

    assert capsule_run("ps", "c1") == 0
    title, line = capfd.readouterr().out.splitlines()
    assert title.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert line.split()[1] == str(os.getpid())


@requires("ps")
def test_ps_hands_its_options_to_the_hosts_ps(verbs, capfd):
    verbs.answers["processes"] = []

    assert capsule_run("ps", "c1", "-e", "-x") == 0
    assert capfd.readouterr().out.split() == ["PID", "TTY", "STAT", "TIME", "COMMAND"]


def test_version_begins_with_the_lines_engines_parse(capfd):
    assert capsule_run("--version") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"capsule version {capsule.__version__}"
    assert lines[1].startswith("commit: ")
    assert lines[2] == "spec: 1.3.0"


def test_spec_writes_a_config_that_the_reader_accepts(tmp_path):
    assert capsule_run("spec", "--bundle", str(tmp_path)) == 0
    config = load_config((tmp_path / "config.json").read_bytes())
    assert config.process.args == ["sh"]
    assert config.process.terminal


def test_spec_for_a_user_without_privileges_has_a_user_namespace(tmp_path):
    assert capsule_run("spec", "--rootless", "-b", str(tmp_path)) == 0
    config = load_config((tmp_path / "config.json").read_bytes())
    assert "user" in [kind for kind, _path in config.namespaces]


def test_spec_never_overwrites(tmp_path, capfd):
    (tmp_path / "config.json").write_text("mine")

    assert capsule_run("spec", "--bundle", str(tmp_path)) == 1
    assert (tmp_path / "config.json").read_text() == "mine"
    assert "Remove it first" in capfd.readouterr().err


def test_features_prints_the_document(capfd):
    assert capsule_run("features") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["ociVersionMax"] == cmd_version.SPEC_VERSION
    assert document["annotations"]["capsule.version"] == capsule.__version__
    assert document["linux"]["seccomp"]["supportedFlags"]


def test_a_failure_is_one_record_on_stderr_and_status_1(verbs, capfd):
    verbs.answers["start"] = NotFound('container "c1" does not exist')

    assert capsule_run("start", "c1") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith('time="2')
    assert err.endswith('Z" level=error msg="container \\"c1\\" does not exist"\n')


def test_every_failure_of_exec_is_status_255(verbs, capfd):
    verbs.answers["exec_"] = NotFound('container "c1" does not exist')

    assert capsule_run("exec", "c1", "true") == 255
    assert capsule_run("exec", "c1") == 255
    assert capsule_run("--log", "/nonexistent/log", "exec", "c1", "true") == 255


def test_with_a_log_file_the_record_goes_there_and_the_plain_line_to_stderr(verbs, tmp_path, capfd):
    verbs.answers["start"] = CapsuleError("mount", "proc", errno=1)
    path = tmp_path / "log.json"

    assert capsule_run("--log", str(path), "--log-format", "json", "start", "c1") == 1
    record = json.loads(path.read_text())
    assert {"level": "error", "msg": "mount proc: operation not permitted"}.items() <= record.items()
    assert list(record) == ["level", "msg", "time"]
    assert capfd.readouterr().err == "mount proc: operation not permitted\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_file_is_appended_to(verbs, tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    verbs.answers["start"] = CapsuleError("x")
    capsule_run("--log", str(path), "start", "c1")

    assert path.read_text().startswith("before\ntime=")


def test_a_log_file_that_cannot_be_opened_is_an_error(verbs, capfd):
    assert capsule_run("--log", "/nonexistent/log", "start", "c1") == 1
    assert "open /nonexistent/log: no such file or directory" in capfd.readouterr().err
    assert verbs.calls == []


def test_an_unknown_log_format_is_an_error(verbs, capfd):
    assert capsule_run("--log-format", "yaml", "start", "c1") == 1
    assert "invalid log-format: yaml" in capfd.readouterr().err


def test_the_payloads_own_execve_failure_is_one_bare_line(verbs, capfd):
    failure = ChildError("exec", "/run.sh", errno=2)
    failure.stage, failure.step = "T", "execve"
    verbs.answers["run"] = failure

    assert capsule_run("run", "c1") == 1
    assert capfd.readouterr().err == "exec /run.sh: no such file or directory\n"


def test_an_unexpected_exception_is_one_line_without_traceback(verbs, capfd):
    verbs.answers["start"] = ValueError("odd")

    assert capsule_run("start", "c1") == 1
    err = capfd.readouterr().err
    assert "internal error: ValueError: odd" in err
    assert err.count("\n") == 1


def test_debug_says_where_an_error_came_from(verbs, capfd):
    verbs.answers["start"] = ValueError("odd")

    assert capsule_run("--debug", "start", "c1") == 1
    assert "level=debug" in capfd.readouterr().err


def test_debug_records_go_to_the_log_file_only(verbs, tmp_path, capfd):
    verbs.answers["start"] = CapsuleError("x")
    path = tmp_path / "log"
    capsule_run("--debug", "--log", str(path), "--log-format", "json", "start", "c1")

    assert '"level":"debug"' in path.read_text()
    assert capfd.readouterr().err == "x\n"


@pytest.mark.parametrize(
    "words",
    [
        ["checkpoint", "c1"], ["restore", "c1"],
    ],
    ids=" ".join,
)
def test_what_is_not_built_is_refused_and_touches_nothing(verbs, capfd, words):
    assert capsule_run(*words) == 1
    assert "not built yet" in capfd.readouterr().err
    assert verbs.calls == []


@pytest.mark.parametrize("words", [["--systemd-cgroup"], ["--cgroup-manager", "systemd"]], ids=" ".join)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_the_systemd_driver_is_asked_for_in_two_ways(verbs, words, verb):
    verbs.answers["run"] = 0
    assert capsule_run(*words, verb, "c1") == 0
    assert verbs.calls[0][2]["systemd_cgroup"] is True


def test_names_that_are_not_utf8_pass_unchanged(verbs):
    entry.main([b"capsule", b"run", b"-b", b"/b\xff", b"c1"])

    assert verbs.calls[0][2]["bundle"] == "/b\udcff"
