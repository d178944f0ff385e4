"""S1 and S2 seen from R: every namespace, joining, id maps, and what is left when a stage dies."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap

import pytest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# R of these tests: one thread, one clone; S2 answers with what it sees, or runs `s2`.
HARNESS = """
import os, sys
sys.path.insert(0, {repo!r})
from capsule._ext import fdpass, nsexec, proc
from capsule.protocol import messages

def run(unshare, joins=(), *, tasks=(), unified=-1, offsets=None, maps=None, one_stage=False, s2):
    mine, theirs = fdpass.seqpacket_pair()
    s1 = nsexec.start(theirs, mine, unshare, list(joins), unified, list(tasks), offsets is not None, one_stage)
    if s1 == 0:
        try:
            messages.send(theirs, messages.HOOKS, repr(s2(theirs)).encode())
        except BaseException as err:
            messages.send(theirs, messages.FAILED, messages.encode_failure(err))
        os._exit(0)
    os.close(theirs)
    pid = s1
    seen = []
    while True:
        kind, payload, fds = messages.receive(mine)
        seen.append(messages.NAMES[kind])
        if kind == messages.STAGE2:
            assert proc.wait_pid(s1) == (s1, 0)
            pid = messages.words(payload)[0]
        elif kind == messages.USERMAP:
            for name, text in zip(("uid_map", "gid_map"), maps):
                with open(f"/proc/{{s1}}/{{name}}", "w") as file:
                    file.write(text)
            messages.send(mine, messages.ACK)
        elif kind == messages.TIMENS:
            with open(f"/proc/{{s1}}/timens_offsets", "w") as file:
                file.write(offsets)
            messages.send(mine, messages.ACK)
        elif kind == messages.HOOKS:
            print(payload.decode())
        elif kind == messages.FAILED:
            print("failed:", messages.decode_failure(payload))
        elif kind == 0:
            break
    print(sorted(seen), os.waitstatus_to_exitcode(proc.wait_pid(pid)[1]), file=sys.stderr)
"""


def run(body: str) -> subprocess.CompletedProcess:
    """Run `body` after the harness in a Python of its own."""
    program = HARNESS.format(repo=REPO) + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)


def output(body: str) -> str:
    return run(body).stdout.strip()


@pytest.mark.parametrize(("flag", "name"), [
    (0x02000000, "cgroup"), (0x08000000, "ipc"), (0x04000000, "uts"), (0x40000000, "net"), (0x00020000, "mnt"),
])
def test_a_new_namespace_is_another_than_ours(flag, name):
    inside = output(f"run({flag}, s2=lambda _: os.readlink('/proc/thread-self/ns/{name}'))")

    assert inside.strip("'") != os.readlink(f"/proc/self/ns/{name}")
    assert inside.startswith(f"'{name}:")


def test_stage_two_is_the_first_process_of_a_new_pid_namespace_and_our_child():
    result = run("run(0x20000000, s2=lambda _: os.getpid())")

    assert result.stdout.strip() == "1"
    assert "['', 'HOOKS', 'STAGE2'] 0" in result.stderr  # sorted: S2 may speak before S1


def test_stage_two_may_be_our_own_clone_in_namespaces_made_and_joined():
    with subprocess.Popen(["unshare", "-u", "sh", "-c", "hostname joined-one; echo ready; exec sleep 60"],
                          stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "ready\n"
            result = run(f"""
                fd = os.open("/proc/{other.pid}/ns/uts", os.O_RDONLY)
                run(0x20000000 | 0x08000000, [(fd, 0x04000000)], one_stage=True,
                    s2=lambda _: (os.getpid(), os.uname().nodename, os.readlink("/proc/thread-self/ns/ipc"),
                                  proc.prctl(3)))
            """)
        finally:
            other.kill()
    pid, hostname, ipc, dumpable = ast.literal_eval(result.stdout)
    assert (pid, hostname, dumpable) == (1, "joined-one", 0)
    assert ipc != os.readlink("/proc/self/ns/ipc")
    assert "['', 'HOOKS'] 0" in result.stderr  # no STAGE2


def test_our_own_clone_ends_with_us_though_it_has_entered_a_user_namespace():
    with subprocess.Popen(["unshare", "-U", "-r", "sh", "-c", "echo ready; exec sleep 60"],
                          stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "ready\n"
            # Its copy of our stdout would keep run() waiting beyond the time limit.
            output(f"""
                import time
                mine, theirs = fdpass.seqpacket_pair()
                fd = os.open("/proc/{other.pid}/ns/user", os.O_RDONLY)
                if nsexec.start(theirs, mine, 0, [(fd, 0x10000000)], -1, [], False, True) == 0:
                    messages.send(theirs, messages.HOOKS, str(proc.prctl(3)).encode())
                    time.sleep(60)
                kind, dumpable, _ = messages.receive(mine)
                assert (kind, dumpable) == (messages.HOOKS, b"0")
            """)
        finally:
            other.kill()


def test_a_user_namespace_is_mapped_before_stage_two_runs():
    assert output("""
        run(0x10000000 | 0x00020000, maps=("0 100000 65536\\n", "0 200000 65536\\n"),
            s2=lambda _: (os.getuid(), os.getgid(), os.getgroups(), os.stat("/proc/1").st_uid))
    """) == "(0, 0, [], 65534)"


def test_a_user_namespace_without_a_root_still_has_its_makers_capabilities():
    assert output("""
        from capsule._ext import capset
        run(0x10000000, maps=("1000 100000 1\\n", "1000 100000 1\\n"),
            s2=lambda _: (os.getuid(), capset.get()[0] != 0))
    """) == "(65534, True)"


def test_time_offsets_are_in_force_in_stage_two():
    inside = output("""
        import time
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        run(0x80, offsets="boottime 100000 0\\n", s2=lambda _: time.clock_gettime(time.CLOCK_BOOTTIME) - before)
    """)

    assert 100000 <= float(inside) < 100060


def test_an_existing_namespace_is_joined():
    with subprocess.Popen(["unshare", "-u", "sh", "-c", "hostname joined-one; echo ready; exec sleep 60"],
                          stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "ready\n"
            inside = output(f"""
                fd = os.open("/proc/{other.pid}/ns/uts", os.O_RDONLY)
                run(0, [(fd, 0x04000000)], s2=lambda _: os.uname().nodename)
            """)
            assert inside == "'joined-one'"
        finally:
            other.kill()


def test_a_namespace_of_another_kind_is_refused_by_name():
    assert output("""
        fd = os.open("/proc/self/ns/ipc", os.O_RDONLY)
        run(0, [(fd, 0x04000000)], s2=lambda _: None)
    """) == "failed: join uts namespace: invalid argument"


def test_stage_two_cannot_be_traced_or_read_by_the_others():
    assert output("run(0, s2=lambda _: proc.prctl(3))") == "0"  # PR_GET_DUMPABLE


def test_the_sealed_copy_refuses_an_import():
    result = run("run(0, s2=lambda _: __import__('wave'))")

    assert "Traceback" not in result.stderr
    assert result.stdout.strip() == ""
    assert "['', 'STAGE2'] 70" in result.stderr


@pytest.mark.parametrize("death", ["os.abort()", "os._exit(9)"])
def test_a_stage_that_dies_is_end_of_file_and_not_a_hang(death):
    result = run(f"run(0x20000000, s2=lambda _: {death})")

    assert result.stdout.strip() == ""
    assert "['', 'STAGE2']" in result.stderr
