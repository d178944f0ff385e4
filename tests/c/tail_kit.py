"""Compile the freestanding programs from their own build line, and run the tail as S2 and R would."""

from __future__ import annotations

import fcntl
import functools
import os
import shlex
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from helpers.wait import wait_until

from capsule.protocol import tail_plan
from capsule.protocol.tail_plan import TailPlan

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "tests"
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wvla", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wformat=2",
            "-Wswitch-enum", "-Werror"]
READY, ERROR, ACK, START = 7, 8, 9, 11
LOWEST_FD = 40  # of the harness's own descriptors: below is room for preserved ones
EXECUTED = None  # what `report` returns at end of file


@functools.cache
def compile_program(name: str, compiler: str = "gcc") -> Path:
    """Compile csrc/NAME.c with the flags in its first line, and those of CAPSULE_PROGRAM_FLAGS where gcc is to."""
    line = (ROOT / "csrc" / f"{name}.c").read_text(encoding="utf-8").splitlines()[0]
    flags = shlex.split(line.removeprefix("/* build:").removesuffix("*/"))
    if compiler == "gcc":
        flags += shlex.split(os.environ.get("CAPSULE_PROGRAM_FLAGS", ""))
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / f"{name}-{compiler}-{os.getpid()}"
    subprocess.run([compiler, *WARNINGS, *flags, "-Icsrc", "-o", target, f"csrc/{name}.c"], check=True, cwd=ROOT)
    final = BUILD / f"{name}-{compiler}"
    target.replace(final)
    return final


def lifted(fd: int) -> int:
    """Move a descriptor above LOWEST_FD; the new one is inheritable on request only."""
    new = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
    os.close(fd)
    return new


def memfd(data: bytes) -> int:
    """Return a descriptor of an anonymous file that holds data."""
    fd = lifted(os.memfd_create("plan"))
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
    return fd


def lifted_socket(sock: socket.socket) -> socket.socket:
    return socket.socket(fileno=lifted(sock.detach()))


def message(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack("=II", kind, len(payload)) + payload


class Tail:
    """A running T with the ends that S2 gave it; everything is closed and reaped at exit."""

    def __init__(self, plan: TailPlan, *, wrapper: tuple[str, ...] = (), compiler: str = "gcc",
                 extra_fds: tuple[int, ...] = (), cwd: str | None = None, program: str | None = None) -> None:
        self.plan = plan
        self._directory = tempfile.TemporaryDirectory()
        self.address = f"{self._directory.name}/start.sock"
        ours, theirs = map(lifted_socket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        ours.settimeout(20)
        self.sync = ours
        plan.sync_fd = theirs.fileno()
        held = [theirs]
        if plan.kind == tail_plan.KIND_INIT:
            listener = lifted_socket(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            listener.bind(self.address)
            listener.listen(16)
            plan.start_fd = listener.fileno()
            held.append(listener)
        self._capture = tempfile.TemporaryFile()
        plan_fd = memfd(tail_plan.encode(plan))
        fds = [plan_fd, *extra_fds, *(sock.fileno() for sock in held)]
        fds += [fd for fd in (plan.proc_fd, plan.agent_fd) if fd >= 0]
        argv = [*wrapper, program or str(compile_program("tail", compiler)), str(plan_fd)]
        self.process = subprocess.Popen(argv, pass_fds=fds, cwd=cwd, stdin=subprocess.DEVNULL, stdout=self._capture)
        os.close(plan_fd)
        for sock in held:
            sock.close()

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.sync.close()
        self._capture.close()
        self._directory.cleanup()

    def ready(self) -> None:
        """Take READY."""
        assert self.sync.recv(4096) == message(READY)

    def connect(self) -> socket.socket:
        """Connect to the start socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(20)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock

    def start(self) -> tuple[str, int, int, int] | None:
        """Send START; return T's error record, or EXECUTED."""
        with self.connect() as sock:
            sock.send(message(START))
            return self.report(sock)

    def report(self, sock: socket.socket | None = None) -> tuple[str, int, int, int] | None:
        """Return the error record that arrives, or EXECUTED at end of file."""
        data = (sock or self.sync).recv(4096)
        if not data:
            return EXECUTED
        kind, length = struct.unpack("=II", data[:8])
        assert (kind, length) == (ERROR, len(data) - 8)
        # T waits for our end to close, so that its root can be looked at.
        (sock or self.sync).shutdown(socket.SHUT_WR)
        return tail_plan.decode_error(data[8:])

    def wait(self) -> int:
        """Return the exit status, negative for a signal."""
        return self.process.wait(20)

    def output(self) -> bytes:
        """Wait, and return what was written to stdout."""
        self.wait()
        self._capture.seek(0)
        return self._capture.read()

    def child(self) -> int:
        """Return the pid of the wrapper's child."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return int(wait_until(lambda: Path(path).read_text(encoding="ascii").split())[0])


def exec_plan(path: str | Path, *args: str) -> TailPlan:
    """Plan an exec of a program as root with all of its capabilities."""
    return _filled(TailPlan(tail_plan.KIND_EXEC, -1), path, args)


def init_plan(path: str | Path, *args: str) -> TailPlan:
    """Plan an init that waits for start."""
    return _filled(TailPlan(tail_plan.KIND_INIT, -1), path, args)


def _filled(plan: TailPlan, path: str | Path, args: tuple[str, ...]) -> TailPlan:
    plan.exec_path = os.fsencode(path)
    plan.args = [os.fsencode(path), *map(os.fsencode, args)]
    plan.env = [b"PATH=/usr/bin:/bin", b"LC_ALL=C"]
    plan.last_cap = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    plan.bounding = plan.effective = plan.permitted = (1 << plan.last_cap + 1) - 1
    return plan


# Classic BPF for seccomp: enough to write the filters of the tests.
ALLOW, KILL, NOTIFY = 0x7FFF0000, 0x80000000, 0x7FC00000


def deny(error: int) -> int:
    """Return the action that fails a call with errno error."""
    return 0x00050000 | error


def bpf(calls: list[int], action: int, otherwise: int) -> bytes:
    """Build a filter that takes action on the given call numbers, otherwise on all others."""
    program = struct.pack("=HBBI", 0x20, 0, 0, 0)  # load the call's number
    for place, call in enumerate(calls):
        program += struct.pack("=HBBI", 0x15, len(calls) - place, 0, call)
    return program + struct.pack("=HBBI", 0x06, 0, 0, otherwise) + struct.pack("=HBBI", 0x06, 0, 0, action)
