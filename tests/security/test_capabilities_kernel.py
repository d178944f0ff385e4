"""Capabilities as the kernel computes them: for the tail by S2's last step, for the payload by the real tail."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable

import pytest
from c.tail_kit import compile_program
from helpers.profiles import profile, rule
from helpers.requires import requires

from capsule._ext import capset, proc
from capsule.protocol import tail_plan
from capsule.security import apply, plan as security
from capsule.spec.model import Config, Process

pytestmark = [requires("root", "gcc")]

CLONE_NEWUSER = 0x10000000
KILL, NET_BIND, SYS_ADMIN = 1 << 5, 1 << 10, 1 << 21
TOOLS = apply.SETGID | apply.SETUID | apply.SETPCAP
DAC = apply.DAC_OVERRIDE | apply.DAC_READ_SEARCH
PROBE = r"""
#include <stdio.h>
#include <sys/prctl.h>
int main(void) {
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    printf("Dumpable: %d\n", prctl(PR_GET_DUMPABLE));
    while (status && fgets(line, sizeof line, status)) fputs(line, stdout);
    return 0;
}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory) -> bytes:
    """Return a static program that prints its own /proc/self/status."""
    target = tmp_path_factory.mktemp("probe") / "probe"
    subprocess.run(["gcc", "-static", "-x", "c", "-", "-o", target], input=PROBE.encode(), check=True)
    return target.read_bytes()


def status_of(child: Callable[[], None]) -> dict[str, int]:
    """Run a function that ends in an exec in a child process; return what the program printed, masks as numbers."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(write_fd, 1)
            os.close(read_fd)
            child()
        except BaseException as failure:
            os.write(1, f"Failed: {failure!r}\n".encode())
        finally:
            os._exit(1)
    os.close(write_fd)
    with open(read_fd) as output:
        text = output.read()
    _, status = os.waitpid(pid, 0)
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    assert "Failed" not in fields and status == 0, text
    return {name: int(value, 16) for name, value in fields.items()
            if name.startswith("Cap") or name in ("Dumpable", "NoNewPrivs", "Seccomp")}


def enter_user_namespace(inside: int) -> None:
    """Enter a user namespace that maps one id, which may be other than 0, and become it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} 0 1"), ("gid_map", f"{inside} 0 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    assert os.getuid() == inside


def plan_of(*, in_userns=False, filtered=False, nnp=False, uid=0, extra=(), warn=pytest.fail, **sets):
    process, config = Process(), Config()
    process.capabilities = {name: [f"CAP_{word}" for word in words] for name, words in sets.items()}
    process.uid = process.gid = uid
    process.no_new_privileges = nnp
    if filtered:
        # What the tail needs no more must not be needed: everything but execve and what cat does is refused.
        refused = ["setuid", "setgid", "setresuid", "setresgid", "setgroups", "prctl", "close_range", "chdir"]
        config.seccomp = profile(rule("ERRNO", *refused), default="ALLOW")
    return security.make(process, config, in_userns=in_userns, extra_caps=extra, warn=warn)


def masks(status: dict[str, int]) -> tuple[int, ...]:
    return tuple(status[f"Cap{name}"] for name in ("Bnd", "Eff", "Prm", "Inh", "Amb"))


class TestTailStarts:
    def start(self, probe, plan, *, inside=None):
        def child():
            if inside is not None:
                enter_user_namespace(inside)
            fd = proc.memfd("tail", probe, executable=True)
            apply.before_tail(plan, inside is not None)
            os.execve(fd, [b"tail"], {})

        return status_of(child)

    def test_with_what_it_needs_and_untraceable(self, probe):
        status = self.start(probe, plan_of(bounding=["KILL"], permitted=["KILL"]))
        assert masks(status) == (KILL | TOOLS, KILL | TOOLS, KILL | TOOLS, 0, 0)
        assert status["Dumpable"] != 1

    def test_with_sys_admin_for_a_filter_without_no_new_privs(self, probe):
        assert masks(self.start(probe, plan_of(filtered=True)))[:2] == (TOOLS | SYS_ADMIN, TOOLS | SYS_ADMIN)
        assert masks(self.start(probe, plan_of(filtered=True, nnp=True)))[:2] == (TOOLS, TOOLS)

    @requires("userns")
    def test_with_all_it_needs_where_uid_0_is_not_mapped(self, probe):
        plan = plan_of(in_userns=True, uid=1000, bounding=["KILL"], permitted=["KILL"])
        status = self.start(probe, plan, inside=1000)
        assert masks(status) == (KILL | TOOLS,) * 5
        assert status["Dumpable"] != 1

    @requires("userns")
    def test_with_all_it_needs_as_root_of_a_user_namespace(self, probe):
        status = self.start(probe, plan_of(in_userns=True, bounding=["KILL"]), inside=0)
        assert masks(status) == (KILL | TOOLS, KILL | TOOLS, KILL | TOOLS, 0, 0)
        assert status["Dumpable"] != 1

    def test_untraceable_even_when_the_payload_may_read_everything(self, probe):
        status = self.start(probe, plan_of(bounding=["DAC_OVERRIDE", "DAC_READ_SEARCH"]))
        assert status["CapEff"] == TOOLS | DAC
        assert status["Dumpable"] != 1

    def test_without_the_callers_inheritable_capabilities(self, probe):
        plan = plan_of()

        def child():
            effective, permitted, _ = capset.get()
            capset.set(effective, permitted, KILL)
            assert capset.ambient_raise(KILL) == 0
            fd = proc.memfd("tail", probe, executable=True)
            apply.before_tail(plan, False)
            os.execve(fd, [b"tail"], {})

        assert masks(status_of(child)) == (TOOLS, TOOLS, TOOLS, 0, 0)


class TestPayloadStarts:
    """Through the real tail; payload: cat /proc/self/status."""

    def start(self, plan, *, inside=None):
        image = compile_program("tail").read_bytes()
        tail = tail_plan.TailPlan(tail_plan.KIND_EXEC, -1)
        for name in ("uid", "gid", "umask", "groups", "seccomp", "seccomp_flags", "no_new_privs", "last_cap"):
            setattr(tail, name, getattr(plan, name))
        tail.bounding, tail.effective, tail.permitted, tail.inheritable, tail.ambient = plan.caps
        tail.exec_path, tail.args, tail.env = b"/bin/cat", [b"cat", b"/proc/self/status"], []
        if inside is not None:
            tail.groups = None

        def child():
            if inside is not None:
                enter_user_namespace(inside)
            _, tail.sync_fd = os.pipe()
            os.set_inheritable(tail.sync_fd, True)
            plan_fd = os.memfd_create("plan", 0)
            os.write(plan_fd, tail_plan.encode(tail))
            fd = proc.memfd("tail", image, executable=True)
            apply.before_tail(plan, inside is not None)
            os.execve(fd, [b"capsule", str(plan_fd).encode()], {})

        return status_of(child)

    def test_as_root_with_the_bounding_set(self):
        words = ["SYS_ADMIN", "AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"]
        status = self.start(plan_of(bounding=["SYS_ADMIN"], permitted=words))
        assert masks(status) == (SYS_ADMIN, SYS_ADMIN, SYS_ADMIN, 0, 0)

    def test_as_root_without_any(self):
        assert masks(self.start(plan_of())) == (0, 0, 0, 0, 0)

    EXEC = {"inheritable": ["CHOWN", "SYSLOG"], "permitted": ["KILL", "CHOWN"], "effective": ["KILL"],
            "bounding": ["KILL", "CHOWN", "SYSLOG"], "ambient": ["CHOWN"]}

    @pytest.mark.parametrize(("extra", "expected"), [
        ((), (0x400000021, 0x21, 0x21, 0x400000001, 1)),
        (("CAP_SYSLOG",), (0x400000021, 0x400000021, 0x400000021, 0x400000001, 0x400000001)),
    ])
    def test_as_root_with_no_new_privs(self, extra, expected):
        status = self.start(plan_of(nnp=True, extra=extra, **self.EXEC))
        assert masks(status) == expected
        assert status["NoNewPrivs"] == 1

    def test_as_a_user_without_ambient_capabilities(self):
        sets = {name: ["KILL"] for name in ("bounding", "permitted", "effective")}
        assert masks(self.start(plan_of(uid=1000, **sets))) == (KILL, 0, 0, 0, 0)

    def test_as_a_user_with_ambient_capabilities(self):
        sets = {name: ["NET_BIND_SERVICE"] for name in security.SETS}
        assert masks(self.start(plan_of(uid=1000, **sets))) == (NET_BIND,) * 5

    def test_with_capabilities_outside_the_bounding_set(self):
        status = self.start(plan_of(bounding=["KILL"], permitted=["KILL", "CHOWN"], effective=["CHOWN"]))
        assert masks(status) == (KILL, KILL, KILL, 0, 0)

    @pytest.mark.parametrize("nnp", [False, True])
    @pytest.mark.parametrize("uid", [0, 1000])
    def test_under_a_filter_that_refuses_the_tails_calls(self, nnp, uid):
        status = self.start(plan_of(filtered=True, nnp=nnp, uid=uid, bounding=["KILL"], permitted=["KILL"]))
        assert (status["Seccomp"], status["NoNewPrivs"]) == (2, nnp)
        assert masks(status) == ((KILL, KILL, KILL, 0, 0) if uid == 0 else (KILL, 0, 0, 0, 0))

    @requires("userns")
    @pytest.mark.parametrize("filtered", [False, True])
    def test_where_uid_0_is_not_mapped(self, filtered):
        sets = {name: ["NET_BIND_SERVICE"] for name in security.SETS}
        status = self.start(plan_of(in_userns=True, uid=1000, filtered=filtered, **sets), inside=1000)
        assert masks(status) == (NET_BIND,) * 5
        plain = plan_of(in_userns=True, uid=1000, filtered=filtered, bounding=["KILL"], permitted=["KILL"])
        assert masks(self.start(plain, inside=1000)) == (KILL, 0, 0, 0, 0)


class TestCapset:
    def in_child(self, action: Callable[[], object]) -> object:
        def child():
            os.execv("/bin/echo", ["echo", "Dumpable:", hex(action())])

        return status_of(child)["Dumpable"]

    def test_it_reads_what_procfs_shows(self):
        with open("/proc/self/status") as file:
            shown = {line.split(":")[0]: line.split()[1] for line in file if line.startswith("Cap")}
        effective, permitted, inheritable = capset.get()
        values = (effective, permitted, inheritable, capset.bounding(), capset.ambient())
        assert values == tuple(int(shown[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Inh", "Bnd", "Amb"))

    def test_the_last_capability_is_what_procfs_shows(self):
        with open("/proc/sys/kernel/cap_last_cap") as file:
            assert capset.last_cap() == int(file.read())

    def test_the_bounding_set_is_exactly_what_is_kept(self):
        def action():
            capset.bounding_drop(KILL | NET_BIND | 1 << 63)
            return capset.bounding()

        assert self.in_child(action) == KILL | NET_BIND

    def test_dropping_needs_setpcap_only_when_something_goes(self):
        def action():
            capset.bounding_drop(KILL)
            capset.set(KILL, KILL, 0)
            capset.bounding_drop(KILL | NET_BIND)
            try:
                capset.bounding_drop(0)
            except OSError as refused:
                return refused.errno
            return 0

        assert self.in_child(action) == errno.EPERM

    def test_ambient_bits_that_are_refused_are_told(self):
        def action():
            effective, permitted, _ = capset.get()
            capset.set(effective, permitted, KILL)
            return capset.ambient_raise(KILL | NET_BIND | 1 << 62) | (capset.ambient() << 1)

        assert self.in_child(action) == NET_BIND | 1 << 62 | KILL << 1

    def test_nothing_can_be_gained(self):
        def action():
            capset.set(KILL, KILL, 0)
            try:
                capset.set(KILL, KILL | NET_BIND, 0)
            except OSError as refused:
                return refused.errno
            return 0

        assert self.in_child(action) == errno.EPERM
