"""The startContainer hooks as the tail runs them."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.ordinary import let_in
from helpers.payload import public_payload
from helpers.wait import wait_until
from tail_kit import ALLOW, EXECUTED, KILL, START, Tail, bpf, init_plan, message

pytestmark = pytest.mark.requires("root", "gcc")

CLONE, WAIT4, GETUID, PPOLL = {"x86_64": (56, 61, 102, 271), "aarch64": (220, 260, 174, 73)}[os.uname().machine]
NO_LIMIT = 0


@pytest.fixture(scope="session")
def payload() -> Iterator[bytes]:
    with public_payload() as path:
        yield os.fsencode(path)


@pytest.fixture
def shared(tmp_path) -> Path:
    """A directory that every user may reach and write."""
    let_in(tmp_path)
    tmp_path.chmod(0o777)
    return tmp_path


def started(plan, **options):
    """Start the plan; return (T's answer, exit status)."""
    with Tail(plan, **options) as tail:
        tail.ready()
        return tail.start(), tail.wait()


def test_a_hook_is_the_container_s_user_under_its_filter_with_the_state_on_stdin(payload, shared) -> None:
    plan = init_plan(payload, "exit", "4")
    plan.bounding = plan.permitted = plan.effective = 1
    plan.uid, plan.gid, plan.groups, plan.umask, plan.cwd = 1000, 1001, [7], 0o027, b"/proc"
    plan.no_new_privs, plan.seccomp = True, bpf([0xFFFF], KILL, ALLOW)
    plan.preserve_fds = 2
    plan.hooks = [(payload, [b"hook-name", b"record", os.fsencode(shared / "facts")], [b"ONLY=1"], NO_LIMIT)]
    plan.hook_state = b'{"status":"created"}'
    wrapper = ("sh", "-c", 'exec 3</etc/passwd 4</etc/group; exec "$@"', "sh")
    assert started(plan, wrapper=wrapper) == (EXECUTED, 4)
    stdin, facts = json.loads((shared / "facts").read_text())
    assert stdin == '{"status":"created"}'
    assert (facts["uid"], facts["gid"], facts["groups"]) == ([1000] * 3, [1001] * 3, [7])
    assert (facts["cwd"], facts["umask"], facts["nnp"], facts["seccomp"]) == ("/proc", 0o027, 1, 2)
    assert facts["caps"] == {"effective": 0, "permitted": 0, "inheritable": 0, "bounding": 1, "ambient": 0}
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]
    assert facts["env"] == ["ONLY=1"]
    assert (facts["sigblk"], facts["sigign"]) == (0, [])


def test_hooks_run_in_order_before_the_payload_with_its_environment_and_a_default_name(shared) -> None:
    log = shared / "log"
    script = shared / "hook"
    script.write_text(f'#!/bin/sh\necho "$0 $1 $NAME $(cat)" >> {log}\n')
    script.chmod(0o755)
    plan = init_plan("/bin/sh", "-c", f"echo payload >> {log}")
    plan.env = [b"NAME=process", b"PATH=/usr/bin:/bin"]
    path = os.fsencode(script)
    plan.hooks = [(path, [], None, NO_LIMIT), (path, [b"x", b"second"], [b"NAME=own", b"PATH=/bin"], 5000)]
    plan.hook_state = b"state"
    assert started(plan) == (EXECUTED, 0)
    assert log.read_text().splitlines() == [f"{script}  process state", f"{script} second own state", "payload"]


def test_a_state_larger_than_a_pipe_reaches_every_hook(shared) -> None:
    plan = init_plan("/bin/true")
    copy = f"cat > {shared}/copy; test $(wc -c < {shared}/copy) = 300000".encode()
    plan.hooks = [(b"/bin/sh", [b"sh", b"-c", copy], None, NO_LIMIT)] * 2
    plan.hook_state = b"s" * 300000
    assert started(plan) == (EXECUTED, 0)


@pytest.mark.parametrize("args, status", [
    ([b"p", b"exit", b"3"], 3 << 8),
    ([b"sh", b"-c", b"kill -TERM $$"], signal.SIGTERM),
])
def test_a_failing_hook_ends_it_and_is_named_with_its_status(args, status, payload, shared) -> None:
    path = payload if args[0] == b"p" else b"/bin/sh"
    plan = init_plan(payload, "append", str(shared / "ran"), "payload")
    plan.hooks = [(b"/bin/true", [], None, NO_LIMIT), (path, args, None, NO_LIMIT), (b"/bin/false", [], None, NO_LIMIT)]
    assert started(plan) == (("startContainer hook", 1, 0, status), 1)
    assert not (shared / "ran").exists()


def test_a_hook_that_cannot_be_executed_is_told_from_one_that_fails(payload, shared) -> None:
    plan = init_plan(payload, "append", str(shared / "ran"), "payload")
    plan.hooks = [(b"/no/such/hook", [], None, NO_LIMIT)]
    assert started(plan) == (("execute startContainer hook", 0, errno.ENOENT, 0), 1)
    assert not (shared / "ran").exists()


def test_a_hook_beyond_its_time_is_killed(payload) -> None:
    plan = init_plan(payload, "exit")
    plan.hooks = [(b"/bin/true", [], None, 20000), (payload, [b"p", b"pause"], None, 20)]
    assert started(plan) == (("startContainer hook", 1, errno.ETIMEDOUT, signal.SIGKILL), 1)


def test_a_hook_that_the_filter_kills_says_so(payload) -> None:
    plan = init_plan(payload, "exit")
    plan.no_new_privs, plan.seccomp = True, bpf([GETUID], KILL, ALLOW)
    plan.hooks = [(payload, [b"p", b"syscall", str(GETUID).encode()], None, NO_LIMIT)]
    (step, index, error, status), _ = started(plan)
    assert (step, index, error, os.WTERMSIG(status)) == ("startContainer hook", 0, 0, signal.SIGSYS)


def test_the_filter_does_not_keep_the_tail_from_supervising_a_hook(payload) -> None:
    plan = init_plan(payload, "exit", "9")
    plan.no_new_privs, plan.seccomp = True, bpf([CLONE, WAIT4, PPOLL], KILL, ALLOW)
    plan.hooks = [(payload, [b"p", b"exit"], None, 20000)]
    assert started(plan) == (EXECUTED, 9)


def test_what_a_hook_s_process_cannot_become_is_reported_as_that_step(payload) -> None:
    plan = init_plan(payload, "exit")
    plan.cwd = b"/no/such/directory"
    plan.hooks = [(b"/bin/true", [], None, NO_LIMIT)]
    assert started(plan) == (("chdir", 0, errno.ENOENT, 0), 1)


def test_a_hook_dies_with_the_tail(payload) -> None:
    plan = init_plan(payload, "exit")
    plan.hooks = [(b"/bin/sh", [b"sh", b"-c", b"echo $$; exec sleep 1000"], None, NO_LIMIT)]
    with Tail(plan) as tail:
        tail.ready()
        with tail.connect() as sock:
            sock.send(message(START))
            hook = tail.child()
            wait_until(lambda: Path(f"/proc/{hook}/comm").read_text() == "sleep\n")
            tail.process.kill()
            tail.process.wait()
            wait_until(lambda: not _alive(hook))


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
