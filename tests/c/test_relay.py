"""The relay between a child and the world: status, signals, clean-up."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import process
from helpers.payload import build_payload
from helpers.wait import wait_until
from relay_kit import Relay, exited
from tail_kit import compile_program

pytestmark = pytest.mark.requires("gcc")

FORWARDED = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
             signal.SIGCONT]


@pytest.fixture(scope="session")
def payload() -> Path:
    return build_payload()


def sh(script: str, **options) -> Relay:
    return Relay("sh", "-c", script, **options)


# ---- status

@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137),
])
def test_it_leaves_with_the_child_s_status(script, status) -> None:
    with sh(script) as relay:
        assert relay.wait() == status


TRACER = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0  # PTRACE_SEIZE
print(flush=True)
sys.stdin.read()
"""


def test_a_tracer_that_keeps_the_dead_child_delays_the_status_and_does_not_change_it() -> None:
    """The kernel tells a tracer first, and the parent when the tracer lets go (ptrace(2)); the pidfd tells at once."""
    with sh("echo $$; read line; exit 7", stdin=subprocess.PIPE) as relay:
        child = int(relay.line())
        tracer = subprocess.Popen([sys.executable, "-c", TRACER, str(child)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        with tracer:
            tracer.stdout.readline()
            relay.process.stdin.close()
            wait_until(lambda: process.state(child) == "Z", 10, "the end of the child")
            wait_until(lambda: process.state(relay.process.pid) == "S", 10, "a relay that waits")
            assert relay.process.poll() is None
        assert relay.wait() == 7


def test_it_reports_the_exit_to_the_library() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, sh("echo $$; exit 3", report_fd=theirs.fileno()) as relay:
        theirs.close()
        child = int(relay.line())
        assert exited(ours.recv(64)) == (child, 3 << 8)
        assert ours.recv(64) == b""
        assert relay.wait() == 3


def test_a_reader_of_the_report_that_has_gone_does_no_harm() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, sh("exit 3", report_fd=theirs.fileno()) as relay:
        ours.close()
        theirs.close()
        assert relay.wait() == 3


def test_other_children_are_reaped_and_not_mistaken_for_the_child() -> None:
    with sh("(sh -c 'exit 9' &); echo; read x; exit 4", stdin=subprocess.PIPE) as relay:
        relay.line()
        children = Path(f"/proc/{relay.process.pid}/task/{relay.process.pid}/children")
        wait_until(lambda: len(children.read_text().split()) == 1)
        relay.process.stdin.close()
        assert relay.wait() == 4


def test_without_a_plan_it_exits_127() -> None:
    for argument in ([], ["x"], ["900"]):
        assert subprocess.run([compile_program("relay"), *argument], check=False).returncode == 127


# ---- signals

def test_signals_are_forwarded(payload) -> None:
    with Relay(payload, "trap") as relay:
        assert relay.line() == b"ready\n"
        for number in FORWARDED:
            relay.send(number)
            assert relay.line().split()[:2] == [b"signal", b"%d" % number]
        relay.send(signal.SIGTERM)
        assert relay.line().startswith(b"signal 15 ")
        assert relay.wait() == 42


def test_a_real_time_signal_is_forwarded() -> None:
    with sh(f"trap 'exit 33' {signal.SIGRTMIN + 3}; echo; while :; do sleep 0.01; done") as relay:
        relay.line()
        relay.send(signal.SIGRTMIN + 3)
        assert relay.wait() == 33


def test_a_signal_from_before_it_became_the_relay_is_not_lost() -> None:
    with sh("exec sleep 1000", raise_first=signal.SIGTERM) as relay:
        assert relay.wait() == 143


def test_job_control_stops_the_relay_and_not_the_child(payload) -> None:
    with Relay(payload, "trap") as relay:
        relay.line()
        relay.send(signal.SIGTSTP)
        wait_until(lambda: _state(relay.process.pid) == "T")
        relay.send(signal.SIGCONT)
        assert relay.line().split()[:2] == [b"signal", b"%d" % signal.SIGCONT]
        relay.send(signal.SIGTERM)
        assert relay.wait() == 42


def test_signals_that_are_its_own_are_not_forwarded(payload) -> None:
    with Relay(payload, "trap") as relay:
        relay.line()
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGUSR1):
            relay.send(number)
        assert relay.line().split()[1] == b"%d" % signal.SIGUSR1
        relay.send(signal.SIGTERM)
        assert relay.wait() == 42


def test_without_forwarding_a_signal_is_meant_for_the_relay(payload) -> None:
    with Relay(payload, "trap", forward_signals=False) as relay:
        relay.line()
        children = Path(f"/proc/{relay.process.pid}/task/{relay.process.pid}/children")
        child = int(children.read_text())
        relay.send(signal.SIGTERM)
        assert relay.wait() == -signal.SIGTERM
        assert _state(child) in "SR"
        os.kill(child, signal.SIGKILL)


def test_sigchld_ignored_by_the_caller_does_not_lose_the_status() -> None:
    with sh("read x; exit 6", stdin=subprocess.PIPE, wrapper=("env", "--ignore-signal=CHLD")) as relay:
        wait_until(lambda: b"relay" in Path(f"/proc/{relay.process.pid}/cmdline").read_bytes().split(b"\0")[0])
        relay.process.stdin.close()
        assert relay.wait() == 6


# ---- clean-up

@pytest.fixture
def leftovers(tmp_path) -> dict:
    """What a container leaves: two cgroups, a kill switch, a state directory; and a fallback that says it ran."""
    for name in ("cgroup/a/inner", "cgroup/b", "state"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("cgroup.kill", "state/state.json", "state/journal"):
        (tmp_path / name).touch()
    base = str(tmp_path)
    return {
        "cleanup_dirs": [f"{base}/cgroup/a/inner", f"{base}/cgroup/a", f"{base}/cgroup/b", f"{base}/cgroup/gone"],
        "cleanup_files": [f"{base}/state/state.json", f"{base}/state/journal", f"{base}/state/start.sock"],
        "state_dir": f"{base}/state", "kill_cgroup": f"{base}/cgroup.kill",
        "fallback_argv": ["/bin/sh", "-c", 'echo "$@" > "$0"', f"{base}/fallback", "delete", "--force"],
    }


def test_what_the_container_leaves_is_removed_and_the_fallback_not_needed(leftovers, tmp_path) -> None:
    with sh("exit 5", **leftovers) as relay:
        assert relay.wait() == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cgroup", "cgroup.kill"]
    assert list((tmp_path / "cgroup").iterdir()) == []
    assert (tmp_path / "cgroup.kill").read_text() == "1"


@pytest.mark.parametrize("obstacle", ["cgroup/a/nested", "state/unknown"])
def test_what_cannot_be_removed_is_left_to_the_fallback(obstacle, leftovers, tmp_path) -> None:
    (tmp_path / obstacle).mkdir()
    with sh("exit 5", **leftovers) as relay:
        assert relay.wait() == 5
    assert (tmp_path / "fallback").read_text() == "delete --force\n"


def test_the_record_stays_while_a_cgroup_stays(leftovers, tmp_path) -> None:
    (tmp_path / "cgroup/a/nested").mkdir()
    with sh("exit 5", **leftovers) as relay:
        relay.wait()
    assert (tmp_path / "state/state.json").exists()


def test_with_hooks_to_run_the_fallback_does_all_of_it(leftovers, tmp_path) -> None:
    with sh("exit 5", fallback_always=True, **leftovers) as relay:
        assert relay.wait() == 5
    assert (tmp_path / "fallback").exists() and (tmp_path / "state/state.json").exists()
    assert (tmp_path / "cgroup/a/inner").exists()


def test_a_fallback_that_cannot_run_changes_nothing_about_the_status(leftovers) -> None:
    leftovers["fallback_argv"] = ["/no/such/program"]
    with sh("exit 5", fallback_always=True, **leftovers) as relay:
        assert relay.wait() == 5


@pytest.mark.parametrize("always", [False, True])
def test_a_container_made_anew_at_the_same_path_is_left_alone(always, leftovers, tmp_path) -> None:
    with sh("echo; read x", stdin=subprocess.PIPE, fallback_always=always, **leftovers) as relay:
        relay.line()
        wait_until(lambda: b"relay" in Path(f"/proc/{relay.process.pid}/cmdline").read_bytes().split(b"\0")[0])
        (tmp_path / "state").rename(tmp_path / "deleted")
        (tmp_path / "state").mkdir()
        (tmp_path / "state/state.json").touch()
        relay.process.stdin.close()
        relay.wait()
    assert (tmp_path / "state/state.json").exists() and (tmp_path / "cgroup/a/inner").exists()
    assert not (tmp_path / "fallback").exists()


def test_it_waits_for_the_container_s_lock_and_does_not_keep_r_s(leftovers, tmp_path) -> None:
    with sh("echo; read x", stdin=subprocess.PIPE, hold_lock=True, **leftovers) as relay:
        relay.line()
        fd = os.open(tmp_path / "state", os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)  # would block for ever if R's lock had stayed
        relay.process.stdin.close()
        wait_until(lambda: "flock" in _blocked_in(relay.process.pid))
        assert (tmp_path / "state/state.json").exists()
        os.close(fd)
        relay.wait()
    assert not (tmp_path / "state").exists()


# ---- the program

def test_it_keeps_no_descriptor_but_its_own_and_holds_kilobytes(payload) -> None:
    with Relay(payload, "trap", pty=True, stdin=subprocess.PIPE) as relay:
        relay.line()
        pid = relay.process.pid
        names = [name for name in os.listdir(f"/proc/{pid}/fd") if int(name) > 2]
        targets = [os.readlink(f"/proc/{pid}/fd/{name}") for name in names]
        kinds = [target.split(":")[0] if target.startswith("anon") else target for target in targets]
        assert len(targets) == 4, targets  # master, the slave that it keeps open, pidfd, signalfd
        assert "/dev/ptmx" in kinds or "/dev/pts/ptmx" in kinds
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        assert sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")) <= 100
        relay.send(signal.SIGTERM)
        assert relay.wait() == 42


@pytest.mark.skipif(not shutil.which("clang"), reason="clang is not installed")
def test_it_works_as_clang_compiles_it(leftovers) -> None:
    with sh("exit 5", compiler="clang", **leftovers) as relay:
        assert relay.wait() == 5


@pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc") or not shutil.which("qemu-aarch64-static"),
                    reason="no aarch64 compiler or emulator")
def test_it_waits_and_cleans_up_on_aarch64(leftovers, tmp_path) -> None:
    with sh("exit 5", compiler="aarch64-linux-gnu-gcc", wrapper=("qemu-aarch64-static",), **leftovers) as relay:
        assert relay.wait() == 5
    assert not (tmp_path / "state").exists() and not (tmp_path / "fallback").exists()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _blocked_in(pid: int) -> str:
    """Name the system call that the process is in, as far as the tests need it."""
    number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return {"73": "flock", "32": "flock"}.get(number, number)
