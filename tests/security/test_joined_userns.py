"""Root of a user namespace attacks the runtime while it makes a container that joins this namespace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "userns", "strace"),
    pytest.mark.rival(runc="1.1.5 refuses mappings beside a path", crun="not looked into", strict=False),
]

HOST, SIZE = 100000, 65536
# Each process that appears in the hunter's sight, the host's pid namespace, has its descriptors stolen if that is
# possible: PTRACE_MODE_ATTACH in the user namespace of the hunter (pidfd_getfd(2)).
HUNTER = """
import ctypes, os, select, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == 0
print("unshared", flush=True)
sys.stdin.readline()
os.setgroups([]); os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)
print("hunting", flush=True)
own, caught = os.getpid(), []
while not select.select([sys.stdin], [], [], 0)[0]:
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == own:
            continue
        try:
            pidfd = os.pidfd_open(int(name))
        except OSError:
            continue
        stolen = libc.syscall(438, pidfd, 0, 0)  # pidfd_getfd
        if stolen >= 0:
            caught.append(name)
            os.close(stolen)
        os.close(pidfd)
print(len(caught), flush=True)
"""
DELAY_US = 300_000  # after each setns(2): the moment that is looked for, long enough to be seen


@pytest.fixture
def hunter() -> Iterator[subprocess.Popen]:
    """Start a process that is root of a user namespace of its own and attacks whatever enters that."""
    with subprocess.Popen([sys.executable, "-c", HUNTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as made:
        try:
            assert made.stdout.readline() == "unshared\n"
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{made.pid}/{name}").write_text(f"0 {HOST} {SIZE}\n", encoding="ascii")
            made.stdin.write("\n")
            made.stdin.flush()
            assert made.stdout.readline() == "hunting\n"
            yield made
        finally:
            made.kill()


@pytest.mark.parametrize("mappings", [False, True], ids=["by-path", "with-mappings"])
def test_nothing_that_enters_the_namespace_can_be_seized(capsule, bundle, workdir, hunter, mappings):
    """With mappings, R has them read through a copy of itself that enters the namespace."""
    box = bundle(["/payload", "pause"]).user_namespace(HOST, SIZE).namespace("user", f"/proc/{hunter.pid}/ns/user")
    if not mappings:
        del box.linux["uidMappings"], box.linux["gidMappings"]
    scene = ["strace", "-f", "-o", "/dev/null", "-e", f"inject=setns:delay_exit={DELAY_US}"]
    creating = capsule.spawn(*capsule.words_for("create", box, ["--pid-file", workdir / "pid"], None), scene=scene)
    # Its last act; the tracer stays as long as the container.
    wait_until(lambda: (workdir / "pid").exists(), 20, "a container")
    hunter.stdin.write("\n")
    hunter.stdin.flush()
    assert hunter.stdout.readline() == "0\n"
    capsule.delete(box, "--force")
    assert creating.wait().rc == 0
