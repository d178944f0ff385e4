"""NOTIFY_SOCKET: the program's READY=1 reaches the supervisor of the runtime, and nothing else of the program does."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from helpers.requires import requires
from helpers.runtime import ENVIRONMENT
from helpers.wait import wait_until

pytestmark = [requires("root", "runtime", "busybox", "gcc"), pytest.mark.row(181)]


class Supervisor:
    """The socket that systemd would give the runtime."""

    def __init__(self, name: str) -> None:
        self.env = {**ENVIRONMENT, "NOTIFY_SOCKET": name}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        self.socket.settimeout(10)

    def hear(self) -> list[str]:
        """Return the lines of one message, in order of the alphabet."""
        return sorted(self.socket.recv(65536).decode().splitlines())

    def hears_nothing(self) -> bool:
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(65536)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(10)


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, workdir):
    made = Supervisor(str(workdir / "outer.sock") if request.param == "path" else f"@capsule-test-{os.getpid()}")
    yield made
    made.socket.close()


@pytest.fixture
def quiet(workdir):
    made = Supervisor(str(workdir / "outer.sock"))
    yield made
    made.socket.close()


def links(pid: int) -> list[str]:
    directory = f"/proc/{pid}/fd"
    return [os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)]


def notify(bundle, *words: str):
    return bundle(["/payload", "notify", *words])


def test_start_returns_when_the_program_is_ready(capsule, bundle, supervisor):
    box = notify(bundle, "STATUS=busy", "wait", "READY=1", "pause")
    reader, writer = os.pipe()
    capsule.create(box, env=supervisor.env, stdin=reader)
    os.close(reader)
    starting = capsule.spawn("start", box.id, env=supervisor.env)
    wait_until(lambda: capsule.status(box) == "running")
    assert starting.popen.poll() is None
    assert supervisor.hears_nothing()
    os.write(writer, b"\n")
    os.close(writer)
    pipe = os.readlink(f"/proc/{capsule.pid(box)}/fd/0")
    assert supervisor.hear() == [f"MAINPID={capsule.pid(box)}", "READY=1"]
    # It waits for us to read on: all that the program sent has been read, the descriptors beside it are nowhere.
    assert pipe not in links(starting.pid)
    assert supervisor.hear() == ["BARRIER=1"]
    assert starting.wait().rc == 0


def test_start_returns_when_the_program_ends_unready(capsule, bundle, quiet):
    box = notify(bundle, "STATUS=failed")
    capsule.create(box, env=quiet.env)
    capsule.start(box, env=quiet.env)
    capsule.wait_status(box, "stopped")
    assert quiet.hears_nothing()


def test_a_word_said_before_death_counts(capsule, bundle, quiet):
    box = notify(bundle, "READY=1")
    running = capsule.spawn_run(box, "--detach", env=quiet.env)
    assert "READY=1" in quiet.hear()
    assert quiet.hear() == ["BARRIER=1"]
    assert running.wait().rc == 0


def test_a_detached_run_tells_the_pid(capsule, bundle, supervisor):
    box = notify(bundle, "READY=1", "pause")
    running = capsule.spawn_run(box, "--detach", env=supervisor.env)
    assert supervisor.hear() == [f"MAINPID={capsule.pid(box)}", "READY=1"]
    assert supervisor.hear() == ["BARRIER=1"]
    assert running.wait().rc == 0


def test_the_relay_passes_the_word_on_without_a_pid(capsule, bundle, supervisor):
    box = notify(bundle, "STATUS=busy", "STOPPING=1\nREADY=1\nMAINPID=1", "READY=1", "pause")
    reader, writer = os.pipe()
    running = capsule.spawn_run(box, env=supervisor.env, stdin=reader)
    pipe = os.readlink(f"/proc/self/fd/{reader}")
    os.close(reader)
    os.close(writer)
    assert supervisor.hear() == ["READY=1"]
    assert links(running.pid).count(pipe) == 1  # its own stdin, and none of those beside the messages
    capsule.kill(box, "KILL")
    assert running.wait().rc == 137
    assert supervisor.hears_nothing()
    assert not capsule.exists(box)


def test_the_relay_listens_on_when_the_program_is_ready(capsule, bundle, quiet):
    """A program's watchdog words come after READY=1: none of them fails, or blocks in a queue that nobody reads."""
    box = notify(bundle, "READY=1", "wait", *["WATCHDOG=1"] * 2000)
    reader, writer = os.pipe()
    running = capsule.spawn_run(box, env=quiet.env, stdin=reader)
    os.close(reader)
    assert quiet.hear() == ["READY=1"]
    os.write(writer, b"\n")
    os.close(writer)
    assert running.wait().rc == 0
    assert quiet.hears_nothing()


def test_the_relay_passes_on_what_was_said_before_death(capsule, bundle, quiet):
    assert capsule.run(notify(bundle, "READY=1"), env=quiet.env).rc == 0
    assert quiet.hear() == ["READY=1"]


@pytest.mark.parametrize("word", ["flood", "READY=0", "NOTREADY=1", "READY=10", "FDSTORE=1\nMAINPID=1"])
@pytest.mark.parametrize("flags", [[], ["--detach"]], ids=["foreground", "detached"])
def test_other_words_go_nowhere(capsule, bundle, quiet, word, flags):
    capsule.run(notify(bundle, word), *flags, env=quiet.env)
    assert quiet.hears_nothing()


def test_an_image_cannot_touch_the_socket(capsule, bundle, quiet):
    box = notify(bundle, "write", "READY=1")
    box.config["process"]["env"] = ["NOTIFY_SOCKET=/elsewhere"]
    assert capsule.run(box, env=quiet.env).rc == 0
    assert quiet.hear() == ["READY=1"]


def test_any_user_can_speak(capsule, bundle, quiet):
    box = notify(bundle, "READY=1")
    box.config["process"]["user"] = {"uid": 1234, "gid": 1234}
    capsule.run(box, env=quiet.env, scene=["/bin/sh", "-c", 'umask 077; exec "$@"', "sh"])
    assert quiet.hear() == ["READY=1"]


@requires("userns")
def test_a_user_namespace_can_speak(capsule, bundle, quiet):
    assert capsule.run(notify(bundle, "READY=1").user_namespace(), env=quiet.env).rc == 0
    assert quiet.hear() == ["READY=1"]


def test_the_container_is_not_locked_while_start_waits(capsule, bundle, quiet):
    box = notify(bundle, "pause")
    capsule.create(box, env=quiet.env)
    starting = capsule.spawn("start", box.id, env=quiet.env)
    wait_until(lambda: capsule.status(box) == "running")
    capsule.delete(box, "--force")
    assert starting.wait().rc == 0
    assert not capsule.exists(box)


def test_a_signal_ends_the_wait_of_a_detached_run(capsule, bundle, quiet):
    box = notify(bundle, "pause")
    running = capsule.spawn_run(box, "--detach", env=quiet.env)
    wait_until(lambda: capsule.is_running(box))
    running.send(signal.SIGTERM)
    assert running.wait().rc != 0
    assert capsule.status(box) == "running"


@pytest.mark.parametrize("kind", ["missing", "file", "stream", "relative", "vsock"])
def test_a_bad_outer_socket_is_refused_before_anything_is_made(capsule, bundle, workdir, kind):
    path = workdir / "outer.sock"
    name = {"relative": "outer.sock", "vsock": "vsock:2:1"}.get(kind, str(path))
    if kind == "file":
        path.write_text("")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if kind == "stream":
        listener.bind(str(path))
        listener.listen(1)
    box = notify(bundle, "READY=1")
    with listener:
        result = capsule.create(box, env={**ENVIRONMENT, "NOTIFY_SOCKET": name}, rc=1)
    assert f"NOTIFY_SOCKET {name}: " in result.err
    assert not capsule.exists(box)


def test_an_empty_name_is_none(capsule, bundle):
    box = notify(bundle, "READY=1")
    assert capsule.run(box, env={**ENVIRONMENT, "NOTIFY_SOCKET": ""}, rc=3).rc == 3  # no NOTIFY_SOCKET inside


def test_a_container_made_without_starts_without(capsule, bundle, quiet):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.start(box, env=quiet.env)
    assert quiet.hears_nothing()
