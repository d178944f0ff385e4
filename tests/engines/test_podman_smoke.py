"""podman on this runtime: the calls that people make first, without a registry or a network."""

from __future__ import annotations

import os

import pytest
from helpers import process, requires as requirements
from helpers.podman import Podman
from helpers.requires import requires
from helpers.terminal import Pty
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "podman", "busybox", "gcc")


@pytest.fixture
def podman(workdir):
    """Give podman with a storage of its own; its groups and monitors must be gone after it."""
    before = _groups()
    made = Podman(requirements.binary(), workdir)
    yield made
    made.close()
    assert made.monitors() == []
    state = workdir / "state"
    left = [name for name in os.listdir(state) if name[0] != "."] if state.is_dir() else []
    assert left == []
    wait_until(lambda: not {name for name in _groups() - before if "libpod-" in name}, 5)


def _groups() -> set[str]:
    return {path for path, _, _ in os.walk("/sys/fs/cgroup")}


@pytest.fixture
def rootfs(bundle):
    return str(bundle().rootfs)


BASE = ["--network", "none", "--rootfs"]


def test_run_prints_and_is_gone(podman, rootfs):
    out, _ = podman.call("run", "--rm", *BASE, rootfs, "echo", "hello")
    assert out == "hello\n"
    assert podman.call("ps", "--all", "--quiet")[0] == ""


@pytest.mark.parametrize("status", [0, 3, 42])
def test_run_returns_the_programs_status(podman, rootfs, status):
    podman.call("run", "--rm", *BASE, rootfs, "sh", "-c", f"exit {status}", rc=status)


def test_a_missing_program_is_127(podman, rootfs):
    podman.call("run", "--rm", *BASE, rootfs, "no-such-program", rc=127)
    podman.call("run", "--rm", *BASE, rootfs, "/no/such/program", rc=127)


def test_a_program_that_may_not_be_executed_is_126(podman, rootfs):
    podman.call("run", "--rm", *BASE, rootfs, "/etc/passwd", rc=126)


def test_a_wrong_flag_is_125(podman, rootfs):
    podman.call("run", "--rm", "--no-such-flag", *BASE, rootfs, "true", rc=125)


def test_a_runtime_that_fails_is_125_or_more(podman, rootfs):
    podman.call("run", "--rm", "--volume", "/no/such/source:/data", *BASE, rootfs, "true", rc=125)


def test_a_detached_container_from_run_to_rm(podman, rootfs):
    name = podman.call("run", "--detach", "--init=false", *BASE, rootfs, "sh", "-c",
                       "echo started; trap 'echo stopping; exit 5' TERM; while :; do sleep 1; done")[0].strip()
    wait_until(lambda: "started" in podman.call("logs", name)[0])
    assert podman.call("exec", name, "echo", "inside")[0] == "inside\n"
    podman.call("exec", name, "sh", "-c", "exit 9", rc=9)
    podman.call("exec", name, "nothing", rc=127)
    assert podman.call("inspect", "--format", "{{.State.Status}}", name)[0] == "running\n"
    podman.call("stop", "--time", "10", name)
    assert podman.call("inspect", "--format", "{{.State.ExitCode}}", name)[0] == "5\n"
    assert podman.call("logs", name)[0] == "started\nstopping\n"
    podman.call("rm", name)
    assert podman.call("ps", "--all", "--quiet")[0] == ""


def test_kill_and_wait(podman, rootfs):
    name = podman.call("run", "--detach", *BASE, rootfs, "sleep", "1000")[0].strip()
    podman.call("kill", "--signal", "KILL", name)
    assert podman.call("wait", name)[0] == "137\n"
    podman.call("rm", name)


def test_create_start_attach(podman, rootfs):
    name = podman.call("create", *BASE, rootfs, "echo", "late")[0].strip()
    assert podman.call("start", "--attach", name)[0] == "late\n"
    podman.call("rm", name)


def test_pause_and_unpause(podman, rootfs):
    name = podman.call("run", "--detach", *BASE, rootfs, "sleep", "1000")[0].strip()
    podman.call("pause", name)
    assert podman.call("inspect", "--format", "{{.State.Status}}", name)[0] == "paused\n"
    podman.call("unpause", name)
    assert podman.call("exec", name, "echo", "on")[0] == "on\n"
    podman.call("rm", "--force", "--time", "0", name)


def test_a_terminal(podman, rootfs):
    with Pty() as pty:
        started = podman.start("run", "--rm", "--tty", "--interactive", *BASE, rootfs, "sh", "-c",
                               "tty; stty size; echo end", stdin=pty.slave, stdout=pty.slave,
                               stderr=pty.slave, start_new_session=True)
        pty.release()
        seen = pty.read_until("end", 60)
        assert b"/dev/pts/0" in seen
        assert started.wait(60) == 0
        process.disown(started.pid)


def test_stdin_is_passed(podman, rootfs, workdir):
    (workdir / "input").write_bytes(b"from stdin\n")
    with open(workdir / "input", "rb") as source:
        started = podman.start("run", "--rm", "--interactive", *BASE, rootfs, "cat", stdin=source)
        out, err = started.communicate(timeout=60)
    process.disown(started.pid)
    assert (started.returncode, out) == (0, b"from stdin\n"), err


def test_users_volumes_and_limits(podman, rootfs, workdir):
    (workdir / "volume").mkdir()
    (workdir / "volume/file").write_text("shared")
    script = "id -u; cat /data/file; cat /proc/self/status | grep ^Seccomp:; cat /sys/fs/cgroup/pids/pids.max"
    out, _ = podman.call("run", "--rm", "--user", "1000", "--volume", f"{workdir}/volume:/data:ro",
                         "--pids-limit", "77", *BASE, rootfs, "sh", "-c", script)
    lines = out.split()
    assert lines[:2] == ["1000", "sharedSeccomp:"]
    assert lines[2:4] == ["2", "77"]


def test_a_read_only_container_with_tmpfs(podman, rootfs):
    script = "touch /file 2>/dev/null || echo fixed; touch /scratch/file && echo loose"
    out, _ = podman.call("run", "--rm", "--read-only", "--tmpfs", "/scratch", *BASE, rootfs, "sh", "-c",
                         script)
    assert out == "fixed\nloose\n"


def test_a_privileged_container(podman, rootfs):
    out, _ = podman.call("run", "--rm", "--privileged", *BASE, rootfs, "grep", "-c", "Seccomp:.0",
                         "/proc/self/status", rc=None)
    assert out in ("1\n", "")
