"""A real distribution as a bundle: an interactive bash on a pty, exec, ps, kill, delete."""

from __future__ import annotations

import pytest
from helpers.debian import debian_root
from helpers.requires import requires
from helpers.terminal import Pty

pytestmark = requires("root", "runtime", "busybox", "gcc", "debootstrap", "mirror")

PROMPT = "[here]# "


@pytest.fixture(scope="module")
def debian():
    return debian_root()


@pytest.fixture
def box(bundle, debian):
    """Give a bundle whose root is the cached Debian, read-only, with what a login needs writable."""
    made = bundle(["bash", "--norc", "-i"]).terminal().env(f"PS1={PROMPT}", "HOME=/root")
    made.config["root"] = {"path": str(debian), "readonly": True}
    for directory in ("/tmp", "/run", "/root", "/var/tmp"):
        made.mount(directory, "tmpfs", "tmpfs", "mode=1777")
    return made


@pytest.fixture
def shell(capsule, box, payload):
    """Give an interactive bash in the foreground on a pty: (running call, pty)."""
    with Pty(rows=40, columns=120) as pty:
        running = capsule.spawn("run", "--bundle", box.write(), box.id, session=False, stdin=pty.slave,
                                stdout=pty.slave, stderr=pty.slave,
                                scene=[str(payload), "host", "ctty", "-"])
        capsule.words_for("run", box)
        pty.release()
        pty.read_until(PROMPT)
        yield running, pty


def say(pty, line: str, wanted: str) -> bytes:
    """Type a line into the shell and return its output up to the next prompt."""
    pty.type(line + "\n")
    pty.read_until(wanted)
    return pty.read_until(PROMPT)


def test_an_interactive_bash(capsule, box, shell):
    running, pty = shell
    say(pty, "echo $((6*7)) and $(id -un)", "42 and root")
    say(pty, "cat /etc/os-release | grep CODENAME", "bookworm")
    say(pty, "stty size", "40 120")
    say(pty, "tty; test -t 0 && echo a-$((1+1))-terminal", "a-2-terminal")
    pty.type("exit 7\n")
    assert running.wait().rc == 7
    assert not capsule.exists(box)


def test_job_control_and_control_c_in_bash(capsule, box, shell):
    running, pty = shell
    job = "bash -c 'echo going-$((1+1)); sleep 1000; echo $((333*3))'"
    pty.type(job + "\n")
    pty.read_until("going-2")
    pty.type(b"\x1a")
    pty.read_until("Stopped")
    say(pty, "kill -9 %1; wait; echo job-$((1+1))", "job-2")
    pty.type(job + "\n")
    pty.read_until("going-2")
    pty.type(b"\x03")
    assert b"999" not in pty.read_until(PROMPT)
    pty.type("exit 3\n")
    assert running.wait().rc == 3


@requires("ps")
def test_exec_ps_kill_delete_beside_the_shell(capsule, box, shell):
    running, _ = shell
    assert capsule.exec(box, "bash", "-c", "echo from exec; exit 3", rc=3).out == "from exec\n"
    assert capsule.exec(box, "dpkg-query", "-W", "-f", "${Package}", "bash").out == "bash"
    table = capsule.ps(box).out
    assert "bash --norc -i" in table
    capsule.kill(box, "KILL")
    assert running.wait().rc == 137
    capsule.delete(box, "--force")
    assert not capsule.exists(box)


def test_a_detached_debian(capsule, box):
    box.process["terminal"] = False
    box.args("sleep", "infinity")
    capsule.run(box, "--detach")
    assert capsule.exec(box, "cat", "/etc/debian_version").out.startswith("12")
    assert capsule.exec(box, "perl", "-e", "print 6*7").out == "42"
    capsule.kill(box, "TERM")
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    capsule.delete(box)
