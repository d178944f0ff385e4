"""Terminals: the console socket of detached processes, and foreground ones on the caller's pty."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import termios

import pytest
from helpers import process
from helpers.requires import requires
from helpers.runtime import ENVIRONMENT, FAILS
from helpers.terminal import ConsoleSocket, Pty
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")


@pytest.fixture
def console(workdir):
    with ConsoleSocket(workdir / "console") as socket:
        yield socket


@pytest.fixture
def pty():
    with Pty(rows=33, columns=111) as made:
        yield made


@pytest.fixture
def on_pty(capsule, payload, pty):
    """Return a function that starts a verb with the pty as stdio and controlling terminal."""
    def start(*words):
        running = capsule.spawn(*words, scene=[str(payload), "host", "ctty", "-"], stdin=pty.slave,
                                stdout=pty.slave, stderr=pty.slave, session=False)
        pty.release()
        return running
    return start


def run_words(capsule, box):
    return capsule.words_for("run", box)


# Console socket

@pytest.mark.row(8)
def test_create_sends_the_master_of_a_new_terminal(capsule, bundle, console):
    box = bundle(["/payload", "probe"]).terminal()
    capsule.create(box, "--console-socket", console.path)
    master = console.receive()
    assert os.isatty(master.fd)
    capsule.start(box)
    facts = json.loads(master.read_all())
    tty = {name: facts["tty"][name] for name in ("stdin", "stdout", "stderr", "controlling")}
    assert set(tty.values()) == {True}
    assert facts["tty"]["foreground"] == 1
    assert [(entry["fd"], entry["target"]) for entry in facts["fds"]] == [
        (number, "/dev/pts/0") for number in range(3)]


@pytest.mark.row(8)
def test_run_detached_sends_the_master(capsule, bundle, console):
    box = bundle().shell("tty; echo hello; sleep 100").terminal()
    capsule.run(box, "--detach", "--console-socket", console.path)
    master = console.receive()
    assert master.read_until("hello").split() == [b"/dev/pts/0", b"hello"]


@pytest.mark.row(8)
def test_the_terminal_works_in_both_directions(capsule, bundle, console):
    box = bundle().args("/bin/sh").terminal()
    capsule.run(box, "--detach", "--console-socket", console.path)
    master = console.receive()
    master.type("echo $((6 * 7)); exit\n")
    assert b"\n42" in master.read_all()


@pytest.mark.row(9)
def test_the_console_size(capsule, bundle, console):
    box = bundle(["/payload", "probe"]).terminal()
    box.process["consoleSize"] = {"height": 10, "width": 110}
    capsule.run(box, "--detach", "--console-socket", console.path)
    tty = json.loads(console.receive().read_all())["tty"]
    assert (tty["rows"], tty["columns"]) == (10, 110)


def test_dev_console_is_the_terminal(capsule, bundle, console):
    box = bundle().shell("echo there > /dev/console; stat -c %t:%T /dev/console /dev/pts/0").terminal()
    capsule.run(box, "--detach", "--console-socket", console.path)
    lines = console.receive().read_all().split()
    assert lines[0] == b"there"
    assert lines[1] == lines[2]


def test_the_terminal_belongs_to_the_user(capsule, bundle, console):
    box = bundle().user(1000, 1000).shell("stat -c %u:%g:%a /dev/pts/0").terminal()
    capsule.run(box, "--detach", "--console-socket", console.path)
    assert console.receive().read_all().strip() == b"1000:5:620"


@requires("userns")
def test_a_terminal_in_a_user_namespace(capsule, bundle, console):
    box = bundle().user_namespace().shell("tty; stat -c %u /dev/pts/0").terminal()
    capsule.run(box, "--detach", "--console-socket", console.path)
    assert console.receive().read_all().split() == [b"/dev/pts/0", b"0"]


def test_the_terminals_of_the_host_are_not_reachable(capsule, bundle, console):
    box = bundle().shell("ls /dev/pts").terminal()
    capsule.run(box, "--detach", "--console-socket", console.path)
    assert sorted(console.receive().read_all().split()) == [b"0", b"ptmx"]


@pytest.mark.row(8)
def test_a_console_socket_without_a_terminal_is_refused(capsule, bundle, console):
    capsule.create(bundle(["/payload", "pause"]), "--console-socket", console.path, rc=FAILS)


@pytest.mark.row(8)
def test_a_terminal_without_a_console_socket_is_refused(capsule, bundle):
    box = bundle(["/payload", "pause"]).terminal()
    capsule.create(box, rc=FAILS)
    assert not capsule.exists(box)


@pytest.mark.parametrize("path", ["nothing", "file"])
def test_a_console_socket_that_is_none_is_refused(capsule, bundle, workdir, path):
    (workdir / "file").touch()
    box = bundle(["/payload", "pause"]).terminal()
    capsule.create(box, "--console-socket", workdir / path, rc=FAILS)
    assert not capsule.exists(box)


@pytest.mark.row(8, 179)
def test_exec_detached_with_a_terminal(capsule, bundle, console, workdir):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    text = {"args": ["/payload", "probe"], "cwd": "/", "terminal": True,
            "consoleSize": {"height": 10, "width": 110}}
    (workdir / "process.json").write_text(json.dumps(text))
    flags = ["--tty", "--detach", "--console-socket", console.path, "--process",
             workdir / "process.json", "--pid-file", workdir / "pid"]
    capsule.exec(box, flags=flags)
    facts = json.loads(console.receive().read_all())
    assert (facts["tty"]["rows"], facts["tty"]["columns"]) == (10, 110)
    assert facts["tty"]["controlling"] is True


# Foreground

def test_run_on_a_terminal(capsule, bundle, on_pty, pty):
    box = bundle().shell("tty; stty size; exit 5").terminal()
    running = on_pty(*run_words(capsule, box))
    lines = pty.read_all().splitlines()
    assert [line.rstrip(b"\r") for line in lines] == [b"/dev/pts/0", b"33 111"]
    assert running.wait().rc == 5


@pytest.mark.rival(runc="sets it when the program runs already", strict=False)
def test_the_size_is_there_when_the_program_starts(capsule, bundle, on_pty, pty):
    running = on_pty(*run_words(capsule, bundle(["/payload", "probe"]).terminal()))
    tty = json.loads(pty.read_all())["tty"]
    assert (tty["rows"], tty["columns"]) == (33, 111)
    assert running.wait().rc == 0


def test_a_resize_reaches_the_container(capsule, bundle, on_pty, pty):
    box = bundle(["/payload", "trap"]).terminal()
    running = on_pty(*run_words(capsule, box))
    pty.read_until("ready")
    pty.resize(44, 123)
    pty.read_until("signal 28 123x44")
    capsule.kill(box, "TERM")
    assert running.wait().rc == 42


def test_control_c_goes_to_the_program_and_not_to_the_runtime(capsule, bundle, on_pty, pty):
    box = bundle(["/payload", "trap"]).terminal()
    running = on_pty(*run_words(capsule, box))
    pty.read_until("ready")
    pty.type(b"\x03")
    pty.read_until("signal 2 ")
    assert running.popen.poll() is None
    capsule.kill(box, "TERM")
    assert running.wait().rc == 42


def test_the_callers_terminal_is_restored(capsule, bundle, on_pty, pty):
    before = termios.tcgetattr(pty.slave)
    keep = os.dup(pty.slave)
    try:
        running = on_pty(*run_words(capsule, bundle().shell("exit 0").terminal()))
        assert running.wait().rc == 0
        assert termios.tcgetattr(keep) == before
    finally:
        os.close(keep)


def test_an_interactive_shell(capsule, bundle, on_pty, pty):
    box = bundle(["/bin/sh"]).terminal().env("PS1=$ ")
    running = on_pty(*run_words(capsule, box))
    pty.read_until("$ ")
    pty.type("echo $((6*7))\n")
    pty.read_until("42")
    pty.read_until("$ ")
    pty.type("exit 3\n")
    assert running.wait().rc == 3


def test_output_has_no_carriage_returns(capsule, bundle):
    """The runtime's own stdout is no terminal here, so what a program wrote arrives as it was."""
    box = bundle().shell("echo one; echo two").terminal()
    with Pty() as pty:
        argv = [*capsule.argv, "--root", str(capsule.root), *map(str, run_words(capsule, box))]
        payload = box.rootfs / "payload"
        done = subprocess.Popen([payload, "host", "ctty", "-", *argv], stdin=pty.slave,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        process.own(done.pid)
        out, err = done.communicate(timeout=20)
        process.disown(done.pid)
    assert (done.returncode, out) == (0, b"one\ntwo\n"), err


@pytest.mark.rival(runc="wants a terminal of the caller's", crun="wants a terminal on stdin")
def test_a_terminal_works_without_one_of_the_callers(capsule, bundle):
    """Engines' test suites and cron have no terminal: the pty is made all the same."""
    result = capsule.run(bundle().shell("tty; echo x").terminal(), stdin=None)
    assert result.out == "/dev/pts/0\nx\n"


def test_a_large_output_through_a_terminal_is_complete(capsule, bundle, on_pty, pty):
    box = bundle().shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done").terminal()
    running = on_pty(*run_words(capsule, box))
    lines = pty.read_all(60).replace(b"\r", b"").splitlines()
    assert lines == [b"line %d" % number for number in range(20000)]
    assert running.wait().rc == 0


@pytest.mark.row(179)
def test_exec_on_a_terminal(capsule, bundle, on_pty, pty):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    running = on_pty("exec", "--tty", box.id, "/bin/sh", "-c", "tty; stty size; exit 4")
    lines = [line.rstrip(b"\r") for line in pty.read_all().splitlines()]
    assert lines == [b"/dev/pts/0", b"33 111"]
    assert running.wait().rc == 4


def test_the_end_of_the_callers_terminal_ends_no_container_silently(capsule, bundle, on_pty, pty):
    """A hang-up is a signal like any other: the program gets it and decides."""
    box = bundle(["/payload", "trap"]).terminal()
    running = on_pty(*run_words(capsule, box))
    pty.read_until("ready")
    pid = capsule.pid(box)
    pty.close()
    wait_until(lambda: running.popen.poll() is not None or process.is_alive(pid))
    os.kill(pid, signal.SIGTERM)
    running.wait()
