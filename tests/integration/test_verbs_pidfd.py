"""--pidfd-socket: the descriptor that arrives is the process, before its program runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = [
    requires("root", "runtime", "busybox", "gcc"), pytest.mark.row(179, 180),
    pytest.mark.rival(runc="1.1.5 has no such flag", crun="1.8.1 has no such flag"),
]


class Receiver:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(10)

    @contextlib.contextmanager
    def pidfd(self):
        """Give the words and the descriptor that arrive."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(10)
            words, fds, _, _ = socket.recv_fds(connection, 64, 4)
            assert len(fds) == 1
            try:
                yield words, fds[0]
            finally:
                os.close(fds[0])


@pytest.fixture
def receiver(workdir):
    made = Receiver(workdir / "pidfd.sock")
    yield made
    made.listener.close()


def pid_of(pidfd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pid:")))


@pytest.mark.parametrize("verb", ["create", "run"])
def test_the_first_process_can_be_killed_by_it(capsule, bundle, receiver, verb):
    box = bundle(["/payload", "pause"])
    flags = ["--detach"] if verb == "run" else []
    capsule.call(*capsule.words_for(verb, box, [*flags, "--pidfd-socket", receiver.path]))
    with receiver.pidfd() as (words, pidfd):
        assert words == b"standard"
        assert pid_of(pidfd) == capsule.pid(box)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    capsule.wait_status(box, "stopped")


def test_an_exec_is_known_by_it(capsule, bundle, receiver, workdir):
    box = bundle(["/payload", "pause"])
    first = capsule.start_container(box)
    running = capsule.spawn_exec(box, "/payload", "pause", flags=["--pidfd-socket", "pidfd.sock"], cwd=workdir)
    with receiver.pidfd() as (words, pidfd):
        assert words == b"setns"
        assert pid_of(pidfd) not in (first, 0)
        # It arrives before the program runs: killed now, there would be no program to report on.
        wait_until(lambda: os.readlink(f"/proc/{pid_of(pidfd)}/exe") == "/payload")
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert running.wait().rc == 137


def test_a_joined_pid_namespaces_process_is_the_tail(capsule, bundle, receiver):
    owner = bundle(["/payload", "pause"])
    pid = capsule.start_container(owner)
    box = bundle(["/payload", "pause"]).namespace("pid", f"/proc/{pid}/ns/pid")
    capsule.create(box, "--pidfd-socket", receiver.path)
    with receiver.pidfd() as (_, pidfd):
        assert pid_of(pidfd) == capsule.pid(box)
    capsule.delete(box, "--force")


def test_a_socket_that_nobody_listens_on_leaves_nothing(capsule, bundle, workdir):
    box = bundle(["/payload", "pause"])
    result = capsule.create(box, "--pidfd-socket", workdir / "none.sock", rc=1)
    assert "pidfd socket" in result.err
    assert not capsule.exists(box)
    capsule.create(box)
    assert "pidfd socket" in capsule.exec(box, "/bin/true", flags=["--pidfd-socket", workdir / "none.sock"], rc=255).err
