"""The library's client against a launcher that only pretends: what it asks, what it hears, what it leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.wait import wait_until

import capsule
from capsule import ContainerStatus, Factory, Process, log
from capsule.client import launcher

TREE = Path(capsule.__file__).parents[1]
CONFIG = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/", "env": ["A=1"], "user": {"uid": 0, "gid": 0}},
    "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
}


class Fake:
    """The pretending launcher: answers to give, requests that were seen."""

    def __init__(self, directory):
        self.directory = directory
        self.answers = {}
        source = (Path(__file__).parent / "fake_launcher.py").read_text()
        self.path = directory / "capsule"
        self.path.write_text(f"#!{sys.executable} -Bs\n{source}")
        self.path.chmod(0o755)
        (directory / "tree").write_text(str(TREE))
        self.answer()

    def answer(self, **answers):
        self.answers.update(answers)
        (self.directory / "answers.json").write_text(json.dumps(self.answers))

    @property
    def all_reaped(self):
        """Whether every launcher that was started has been waited for."""
        return all(is_reaped(int(path.stem.partition("-")[2])) for path in self.directory.glob("seen-*.json"))

    @property
    def seen(self):
        return [json.loads(path.read_text()) for path in sorted(self.directory.glob("seen-*.json"))]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    directory = tmp_path / "fake"
    directory.mkdir()
    made = Fake(directory)
    monkeypatch.setenv(launcher.LAUNCHER_VARIABLE, str(made.path))
    yield made
    wait_until(no_orphan_is_left, 5)


@pytest.fixture
def container(fake, tmp_path):
    return Factory(tmp_path / "root").create("c1", CONFIG, bundle=tmp_path / "bundle")


def is_inheritable(fd):
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def no_orphan_is_left():
    launcher.reap_finished()
    return not launcher._orphans


def is_reaped(pid):
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        (lambda c: c.start(), {"verb": "start"}),
        (lambda c: c.destroy(), {"verb": "destroy", "force": False}),
        (lambda c: c.destroy(force=True), {"verb": "destroy", "force": True}),
        (lambda c: c.signal(signal.SIGUSR1), {"verb": "signal", "signal": 10, "all": False}),
        (lambda c: c.signal(9, all=True), {"verb": "signal", "signal": 9, "all": True}),
        (lambda c: c.pause(), {"verb": "pause"}),
        (lambda c: c.resume(), {"verb": "resume"}),
    ],
)
def test_each_verb_is_one_request(container, fake, tmp_path, call, request_):
    assert call(container) is None
    assert [seen["request"] for seen in fake.seen] == [{"root": str(tmp_path / "root"), "id": "c1", **request_}]
    assert fake.all_reaped


def test_status_is_an_enum_that_prints_as_its_word(container, fake):
    fake.answer(status={"ok": 3})

    assert container.status() is ContainerStatus.PAUSED
    assert str(container.status()) == "paused"


def test_answers_are_returned(container, fake):
    fake.answer(oci_state={"ok": {"id": "c1"}}, processes={"ok": [1, 2]})

    assert container.oci_state() == {"id": "c1"}
    assert container.processes() == [1, 2]


def test_run_sends_the_config_and_what_the_process_changes(container, fake, tmp_path):
    fake.answer(run={"ok": {"pid": 4711}, "report": 0})
    container.run(Process(["ls", "-l"], env={"B": "2"}, cwd="/tmp"))
    container.wait()
    sent = fake.seen[0]["request"]

    assert sent["config"] == CONFIG
    assert {name: sent["process"][name] for name in ("args", "env", "cwd")} == {
        "args": ["ls", "-l"], "cwd": "/tmp", "env": ["B=2"]
    }
    assert container.config.process.args == ["ls", "-l"]
    assert sent["bundle"] == str(tmp_path / "bundle")
    assert sent["process"]["detach"] is False


def test_run_without_a_process_runs_the_configs_own(container, fake):
    fake.answer(run={"ok": {"pid": 4711}, "report": 0})
    container.run()
    container.wait()

    assert fake.seen[0]["request"]["config"] == CONFIG


@pytest.mark.parametrize(("report", "status"), [(0, 0), (7 << 8, 7), (9, 137)])
def test_wait_returns_the_exit_status(container, fake, report, status):
    fake.answer(run={"ok": {"pid": 4711}, "report": report})
    container.run()

    assert container.wait() == status
    assert container.wait() == status
    assert container.init.pid == 4711
    assert fake.all_reaped


def test_wait_ends_for_every_thread_that_waits(container, fake):
    fake.answer(exec={"ok": {"pid": 4711}, "report": 3 << 8, "hold": True})
    read_fd, write_fd = os.pipe()
    handle = container.exec(Process(["sh"], stdin=read_fd))
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(handle.wait) for _ in range(8)]
        os.close(write_fd)
        assert [each.result() for each in waits] == [3] * 8
    os.close(read_fd)


def test_wait_gives_up_after_its_timeout(container, fake):
    fake.answer(exec={"ok": {"pid": 4711}, "report": 0, "hold": True})
    read_fd, write_fd = os.pipe()
    handle = container.exec(Process(["sh"], stdin=read_fd))
    with pytest.raises(TimeoutError):
        handle.wait(timeout=0.01)
    os.close(write_fd)
    os.close(read_fd)

    assert handle.wait(timeout=10) == 0


def test_a_detached_process_is_not_waited_for(container, fake):
    fake.answer(exec={"ok": {"pid": 4711}})
    handle = container.exec(Process(["sh"], detach=True))

    assert handle.is_detached
    with pytest.raises(capsule.CapsuleError, match="it is detached"):
        handle.wait()
    assert fake.all_reaped


def test_a_relay_that_is_killed_is_an_error_not_a_status(container, fake):
    fake.answer(exec={"ok": {"pid": 4711}, "exit": 5})
    with pytest.raises(capsule.ChildError, match="without a report, exit status 5"):
        container.exec(Process(["sh"])).wait()


def test_the_error_of_an_answer_is_raised_as_what_it_was(container, fake):
    error = {
        "class": "HookError", "operation": "error running poststart hook #0", "subject": "", "cause": "exit status 1",
        "errno": 0, "index": 0,
    }
    fake.answer(start={"error": error, "exit": 1})
    with pytest.raises(capsule.HookError, match="^error running poststart hook #0: exit status 1$") as caught:
        container.start()

    assert caught.value.index == 0
    assert fake.all_reaped


def test_a_launcher_that_dies_without_an_answer_is_an_error(container, fake):
    fake.answer(start={"silent": True, "exit": 9})
    with pytest.raises(capsule.ChildError, match="start c1: launcher ended with status 9, no answer"):
        container.start()
    assert fake.all_reaped


def test_a_launcher_that_is_not_there_is_an_error(container, monkeypatch):
    monkeypatch.setenv(launcher.LAUNCHER_VARIABLE, "/nonexistent/capsule")
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(capsule.CapsuleError, match="start launcher /nonexistent/capsule: no such file or directory"):
        container.start()
    assert set(os.listdir("/proc/self/fd")) == before


def test_log_records_of_the_launcher_reach_the_hosts_sink(container, fake):
    fake.answer(start={"ok": None, "log": [["warning", "degraded"], ["debug", "step"]]})
    seen = []
    log.configure(lambda *record: seen.append(record))
    container.start()
    log.configure(None)

    assert seen == [("warning", "degraded")]


def test_the_launcher_gets_the_streams_the_preserved_descriptors_and_its_socket_only(container, fake):
    fake.answer(exec={"ok": {"pid": 4711}, "report": 0, "say": "hello"})
    read_fd, write_fd = os.pipe()
    container.exec(Process(["sh"], stdin=read_fd, stdout=write_fd, stderr=write_fd, preserve_fds=[0, 1])).wait()

    assert os.read(read_fd, 100) == b"hello"
    # What the host left inheritable is the launcher's own business: it closes what is behind its socket.
    strangers = [fd for fd in range(6, 1024) if is_inheritable(fd)]
    assert [fd for fd in fake.seen[0]["fds"] if fd not in strangers] == [0, 1, 2, 3, 4, 5]
    assert fake.seen[0]["request"]["process"]["preserve_fds"] == 2
    os.close(read_fd)
    os.close(write_fd)


def test_the_launcher_starts_with_clean_signals_environment_and_session(container, fake, monkeypatch):
    monkeypatch.setenv("LISTEN_FDS", "3")
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        container.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)

    assert fake.seen[0]["blocked"] == 0
    assert "LISTEN_FDS" not in fake.seen[0]["environ"]
    assert fake.seen[0]["session"]


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, lambda *_: None])
def test_the_hosts_handling_of_sigchld_does_not_matter(container, fake, disposition):
    fake.answer(run={"ok": {"pid": 4711}, "report": 7 << 8})
    old = signal.signal(signal.SIGCHLD, disposition)
    try:
        container.start()
        container.run()
        assert container.wait() == 7
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_the_host_is_never_forked(container, monkeypatch):
    def forked():
        raise AssertionError("forked")

    monkeypatch.setattr(os, "fork", forked)
    container.start()


def test_no_descriptor_of_the_host_is_left_open(container, fake):
    fake.answer(run={"ok": {"pid": 4711}, "report": 0})
    before = set(os.listdir("/proc/self/fd"))
    container.start()
    container.run()
    container.wait()
    del container._handle

    assert set(os.listdir("/proc/self/fd")) == before


def test_what_nobody_waits_for_is_reaped_by_the_next_call(container, fake):
    fake.answer(exec={"ok": {"pid": 4711}, "report": 0, "hold": True})
    read_fd, write_fd = os.pipe()
    pid = container.exec(Process(["sh"], stdin=read_fd))._launched.pid
    os.close(write_fd)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    container.start()
    os.close(read_fd)

    assert fake.all_reaped


def test_containers_can_be_used_from_many_threads(fake, tmp_path):
    factory = Factory(tmp_path / "root")
    fake.answer(run={"ok": {"pid": 4711}, "report": 5 << 8})
    barrier = threading.Barrier(8)

    def life(number):
        made = factory.create(f"c{number}", CONFIG)
        barrier.wait()
        made.run()
        made.signal(15)
        return made.wait()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(life, range(8))) == [5] * 8
    assert len(fake.seen) == 16


def test_paths_are_absolute_before_the_launcher_sees_them(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake.answer(run={"ok": {"pid": 4711}, "report": 0})
    made = Factory("root").create("c1", CONFIG, bundle="b")
    made.run(Process(pid_file="pid", console_socket="sock"))
    made.wait()
    sent = fake.seen[0]["request"]

    here = os.getcwd()
    assert (sent["root"], sent["bundle"]) == (f"{here}/root", f"{here}/b")
    assert (sent["process"]["pid_file"], sent["process"]["console_socket"]) == (f"{here}/pid", f"{here}/sock")


def test_the_config_is_read_from_the_bundle_where_none_is_given(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    made = Factory(tmp_path / "root").create("c1", bundle=tmp_path)

    assert made.config.process.args == ["sh"]
    assert made.bundle == str(tmp_path)


def test_a_config_that_is_wrong_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(capsule.SpecError):
        Factory(tmp_path / "root").create("c1", {"ociVersion": "1.0.0"})
    assert not (tmp_path / "root").exists()


def test_an_id_that_is_not_valid_is_refused(tmp_path):
    with pytest.raises(capsule.StateError, match="invalid container ID format"):
        Factory(tmp_path).create("../x", CONFIG)


def test_what_does_not_exist_cannot_be_loaded(tmp_path):
    factory = Factory(tmp_path / "root")

    assert factory.list() == []
    assert not factory.exists("c1")
    with pytest.raises(capsule.NotFound, match="does not exist"):
        factory.load("c1")


def test_a_record_is_loaded_with_config_and_bundle(tmp_path):
    record = capsule.StateStorage("c1")
    record.bundle, record.config = "/b", json.dumps(CONFIG).encode()
    (tmp_path / "c1").mkdir()
    (tmp_path / "c1" / "state.json").write_bytes(record.to_bytes())
    loaded = Factory(tmp_path).load("c1")

    assert (loaded.id, loaded.bundle, loaded.config.process.args) == ("c1", "/b", ["sh"])
    assert loaded.state().to_dict() == record.to_dict()
    assert Factory(tmp_path).list() == ["c1"]
    with pytest.raises(capsule.AlreadyExists):
        Factory(tmp_path).create("c1", CONFIG)


def test_waiting_for_a_container_of_another_program_ends_without_a_status(tmp_path):
    record = capsule.StateStorage("c1")
    record.config = json.dumps(CONFIG).encode()
    (tmp_path / "c1").mkdir()
    (tmp_path / "c1" / "state.json").write_bytes(record.to_bytes())
    loaded = Factory(tmp_path).load("c1")

    assert loaded.wait() is None


def test_initialization_in_the_host_is_refused(tmp_path):
    with pytest.raises(capsule.Unsupported):
        Factory(tmp_path).start_initialization()


def test_library_and_command_line_agree_on_the_default_root(monkeypatch):
    from capsule.cli import paths
    from capsule.cli.scanner import scan

    invocation = scan(["list"])
    assert Factory().runtime_root == paths.runtime_root(invocation)


def test_the_launcher_is_found_without_help(monkeypatch):
    monkeypatch.delenv(launcher.LAUNCHER_VARIABLE, raising=False)
    words = launcher.command()

    assert shutil.which(words[0])


def test_the_launcher_of_an_installation_is_where_its_scripts_are(monkeypatch, tmp_path):
    schemes = {"posix_prefix": ("/usr/lib/site-packages", "/usr/bin"), "posix_local": (f"{tmp_path}/lib", "/local/bin")}
    monkeypatch.setattr(launcher.sysconfig, "get_scheme_names", lambda: tuple(schemes))
    monkeypatch.setattr(launcher.sysconfig, "get_path", lambda name, scheme: schemes[scheme][name == "scripts"])
    (tmp_path / "lib").mkdir()
    places = launcher._places(os.path.realpath(tmp_path / "lib"))

    assert places == ["/local/bin/capsule", f"{os.path.realpath(tmp_path)}/lib/build/capsule"]


def test_without_a_launcher_this_python_takes_its_place(monkeypatch):
    monkeypatch.delenv(launcher.LAUNCHER_VARIABLE, raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    words = launcher.command()

    assert words[0] == sys.executable
    assert subprocess.run([*words, "--version"], capture_output=True, check=True).stdout.startswith(b"capsule version")
