"""Run the relay as R does: this file, as a program, is a small R that starts a child and becomes the relay."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from tail_kit import ROOT, compile_program, memfd  # noqa: E402

from capsule.protocol import relay_plan  # noqa: E402

PLAN_FIELDS = ("use_tty", "forward_signals", "fallback_always", "report_fd", "cleanup_dirs", "cleanup_files",
               "state_dir", "kill_cgroup", "fallback_argv", "record_name", "record_head", "oom_counters", "timeout_ms",
               "kill_after_ms")
PR_SET_CHILD_SUBREAPER = 36


class Relay:
    """A relay with a child; both end with the context."""

    def __init__(self, *child: str | Path, pty: bool = False, compiler: str = "gcc", wrapper: tuple[str, ...] = (),
                 raise_first: int = 0, hold_lock: bool = False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                 **fields) -> None:
        order = {
            "child": [str(word) for word in child], "pty": pty, "raise_first": raise_first, "hold_lock": hold_lock,
            "program": [*wrapper, str(compile_program("relay", compiler))], "fields": fields,
        }
        passed = [fields["report_fd"]] if "report_fd" in fields else []
        self.process = subprocess.Popen([sys.executable, "-W", "error", __file__, json.dumps(order)], stdin=stdin,
                                        stdout=stdout, pass_fds=passed, cwd=ROOT, process_group=0)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def line(self) -> bytes:
        return self.process.stdout.readline()

    def wait(self) -> int:
        return self.process.wait(30)


def main(order: dict) -> None:
    """Start the child, plan, and become the relay."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()) - {signal.SIGCHLD})
    _subreaper()
    master, slave = os.openpty() if order["pty"] else (-1, -1)
    pid = os.fork()
    if not pid:
        _child(order["child"], slave)
    if slave >= 0:
        os.close(slave)
        os.set_inheritable(master, True)
    plan = relay_plan.RelayPlan(pid, os.pidfd_open(pid))
    os.set_inheritable(plan.child_pidfd, True)
    plan.master_fd = master
    for name in PLAN_FIELDS:
        if name in order["fields"]:
            setattr(plan, name, _bytes(order["fields"][name]))
    if plan.state_dir:
        plan.state_fd = os.open(plan.state_dir, os.O_RDONLY)
        os.set_inheritable(plan.state_fd, True)
        if order["hold_lock"]:
            fcntl.flock(plan.state_fd, fcntl.LOCK_EX)
    if order["raise_first"]:
        os.kill(os.getpid(), order["raise_first"])
    plan_fd = memfd(relay_plan.encode(plan))
    os.set_inheritable(plan_fd, True)
    os.execvp(order["program"][0], [*order["program"], str(plan_fd)])


def _child(argv: list[str], slave: int) -> None:
    os.setpgid(0, 0) if slave < 0 else os.setsid()
    if slave >= 0:
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.ONLCR
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.execvp(argv[0], argv)


def _subreaper() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _bytes(value):
    if isinstance(value, str):
        return value.encode()
    return [word.encode() for word in value] if isinstance(value, list) else value


def exited(data: bytes) -> tuple[int, int]:
    """Decode an EXITED message: (pid, wait status)."""
    kind, length, pid, status = struct.unpack("=IIiI", data)
    assert (kind, length) == (12, 8)
    return pid, status


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
