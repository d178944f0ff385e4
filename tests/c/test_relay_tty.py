"""The relay's terminal: bytes both ways, modes, sizes, slow and absent readers."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
from pathlib import Path

import pytest
from helpers.payload import build_payload
from helpers.terminal import Pty
from helpers.wait import wait_until
from relay_kit import Relay

pytestmark = pytest.mark.requires("gcc")

BIG = 3_000_000


@pytest.fixture(scope="session")
def payload() -> Path:
    return build_payload()


def sh(script: str, **options) -> Relay:
    return Relay("sh", "-c", script, pty=True, **options)


def local_modes(fd: int) -> int:
    return termios.tcgetattr(fd)[3]


# ---- stdio that is no terminal

def test_output_arrives_whole_and_without_carriage_returns() -> None:
    with sh("tty -s && seq 1 400000; exit 3") as relay:
        assert relay.process.stdout.read() == b"".join(b"%d\n" % i for i in range(1, 400001))
        assert relay.wait() == 3


def test_input_is_copied_and_its_end_is_not_an_end_for_the_child() -> None:
    with sh("stty -echo; echo; read a; echo got $a; sleep 0.05; echo still here", stdin=subprocess.PIPE) as relay:
        relay.line()
        relay.process.stdin.write(b"some words\n")
        relay.process.stdin.close()
        assert relay.process.stdout.read() == b"got some words\nstill here\n"


def test_input_larger_than_the_pty_s_buffer_waits_for_the_child() -> None:
    script = f"stty raw -echo; echo; sleep 0.1; head -c {BIG} | cksum"
    data = bytes(range(256)) * (BIG // 256 + 1)
    data = data[:BIG]
    expected = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout
    with sh(script, stdin=subprocess.PIPE) as relay:
        relay.line()
        relay.process.stdin.write(data)
        relay.process.stdin.close()
        assert relay.process.stdout.read().strip() == expected.strip()


def test_a_reader_that_has_gone_does_not_stop_the_child() -> None:
    with sh(f"head -c {BIG} /dev/zero; exit 3") as relay:
        relay.process.stdout.close()
        assert relay.wait() == 3


def test_a_slow_reader_slows_the_child_and_loses_nothing() -> None:
    with sh(f"head -c {BIG} /dev/zero; exit 3") as relay:
        wait_until(lambda: _in_call(relay.process.pid, "ppoll"))
        assert relay.process.poll() is None
        assert relay.process.stdout.read() == bytes(BIG)
        assert relay.wait() == 3


def test_a_stuck_reader_does_not_hold_it_once_it_is_told_to_leave() -> None:
    read_end, write_end = os.pipe()
    # A page at most, however it is cut: more than that is stuck, and little enough for the relay to hold it.
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    with sh("echo $$ >&2; head -c 6000 /dev/zero; exit 3", stdout=write_end) as relay:
        os.close(write_end)
        children = Path(f"/proc/{relay.process.pid}/task/{relay.process.pid}/children")
        wait_until(lambda: _is_relay(relay.process.pid) and not children.read_text())
        relay.send(signal.SIGTERM)
        assert relay.wait() == 3
    os.close(read_end)


def test_closed_stdio_is_nothing_to_copy() -> None:
    with sh("echo lost; exit 3", wrapper=("sh", "-c", 'exec 0<&- 1>&-; exec "$0" "$@"')) as relay:
        assert relay.wait() == 3


def test_it_ends_with_the_child_though_another_process_holds_the_terminal() -> None:
    with sh("trap '' HUP; (trap '' HUP; exec sleep 1000) & echo $!; exit 3") as relay:
        assert relay.wait() == 3
        os.kill(int(relay.line()), signal.SIGKILL)


def test_a_child_may_close_its_terminal_and_open_it_again() -> None:
    script = 'T=$(tty); exec 0<&- 1>&- 2>&-; sleep 0.1; exec 0<>"$T" 1>&0 2>&0; echo back'
    with sh(script) as relay:
        assert relay.process.stdout.read() == b"back\n"


# ---- our own terminal

def test_the_terminal_is_raw_while_the_child_runs_and_as_before_afterwards() -> None:
    with Pty() as terminal:
        before = termios.tcgetattr(terminal.slave)
        script = "stty raw -echo; echo ready; head -c 2 | od -An -c; echo end"
        with sh(script, use_tty=True, stdin=terminal.slave, stdout=terminal.slave) as relay:
            terminal.read_until(b"ready")
            assert not local_modes(terminal.slave) & (termios.ICANON | termios.ECHO | termios.ISIG)
            terminal.type(b"x\x03")  # no newline, and ^C is the child's
            terminal.read_until(b"end")
            relay.wait()
        assert b"x 003" in terminal.seen
        assert termios.tcgetattr(terminal.slave) == before


def test_output_keeps_the_terminal_s_own_line_ends() -> None:
    with Pty() as terminal:
        with sh("echo one; echo two", use_tty=True, stdin=terminal.slave, stdout=terminal.slave) as relay:
            terminal.read_until(b"one\r\ntwo\r\n")
            assert relay.wait() == 0


def test_the_container_follows_the_terminal_s_size(payload) -> None:
    with Pty(rows=30, columns=100) as terminal:
        with Relay(payload, "trap", pty=True, use_tty=True, stdin=terminal.slave, stdout=terminal.slave) as relay:
            terminal.read_until(b"ready")
            wait_until(lambda: not local_modes(terminal.slave) & termios.ICANON)
            relay.send(signal.SIGUSR1)
            terminal.read_until(b"100x30")
            terminal.resize(rows=40, columns=120)
            relay.send(signal.SIGWINCH)
            terminal.read_until(b"signal 28 120x40")
            relay.send(signal.SIGTERM)
            assert relay.wait() == 42


def test_a_terminal_that_is_only_the_output_lends_its_size_and_stays_as_it_is() -> None:
    with Pty(rows=30, columns=100) as terminal:
        before = termios.tcgetattr(terminal.slave)
        with sh("stty size; read x", use_tty=True, stdin=subprocess.PIPE, stdout=terminal.slave) as relay:
            terminal.read_until(b"\n")
            wait_until(lambda: _in_call(relay.process.pid, "ppoll"))
            assert termios.tcgetattr(terminal.slave) == before
            relay.process.stdin.write(b"x\n")
            relay.process.stdin.close()
            assert relay.wait() == 0


def test_without_any_terminal_the_child_has_one_all_the_same() -> None:
    with sh("tty -s; echo $?", use_tty=True) as relay:
        assert relay.process.stdout.read() == b"0\n"


def test_a_terminal_that_hangs_up_ends_the_input_and_the_child_gets_the_signal(payload) -> None:
    with Pty() as terminal, Pty() as output:
        with Relay(payload, "trap", pty=True, use_tty=True, stdin=terminal.slave, stdout=output.slave) as relay:
            output.read_until(b"ready")
            terminal.close()
            relay.send(signal.SIGHUP)
            output.read_until(b"signal 1 ")
            relay.send(signal.SIGTERM)
            assert relay.wait() == 42


def _in_call(pid: int, name: str) -> bool:
    number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return _is_relay(pid) and number in {"ppoll": ("271", "73")}[name]


def _is_relay(pid: int) -> bool:
    return b"/relay-" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
