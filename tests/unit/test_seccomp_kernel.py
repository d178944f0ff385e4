"""Compiled filters in the kernel: a child loads one without privilege and makes calls."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform

import pytest
from helpers import bpf
from helpers.profiles import ENGINE_PROFILE, engine_profile, profile, rule

from capsule.security.plan import seccomp

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="call numbers of x86-64")

PR_SET_NO_NEW_PRIVS, SYS_SECCOMP, SET_MODE_FILTER = 38, 317, 1
GETPID, SOCKET, CLONE, PERSONALITY, KEYCTL, CLONE3, UNSHARE = 39, 41, 56, 135, 250, 435, 272
CLONE_NEWUSER = 0x10000000


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def load(libc, program: bytes, flags: int) -> int:
    """Load a filter into this process; returns 0 or the errno."""
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    loaded = Program(len(program) // 8, program)
    if libc.syscall(ctypes.c_long(SYS_SECCOMP), SET_MODE_FILTER, flags, ctypes.byref(loaded)):
        return ctypes.get_errno()
    return 0


def answers(tree: dict, *calls: tuple[int, ...]) -> tuple[int, list[int]]:
    """Load a profile in a child and make calls; returns the wait status and each call's errno, 0 for success."""
    program, flags = seccomp.compile_filter(tree, cache_dir=None, warn=pytest.fail)
    libc = ctypes.CDLL(None, use_errno=True)
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            results = [load(libc, program, flags)]
            for number, *args in calls:
                words = [ctypes.c_long(number), *[ctypes.c_ulong(arg) for arg in args]]
                results.append(ctypes.get_errno() if libc.syscall(*words) == -1 else 0)
            os.write(write_fd, json.dumps(results).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd) as output:
        text = output.read()
    _, status = os.waitpid(pid, 0)
    loaded, *results = json.loads(text) if text else [0]
    assert loaded == 0
    return os.waitstatus_to_exitcode(status), results


@pytest.mark.row(120)
@pytest.mark.parametrize(("tree", "expected"), [
    (profile(rule("ERRNO", "getpid", errno=100), default="ALLOW"), (0, [100])),
    (profile(rule("ERRNO", "getpid"), default="ALLOW"), (0, [errno.EPERM])),
    (profile(rule("KILL_PROCESS", "getpid"), default="ALLOW"), (-31, [])),
    (profile(rule("KILL", "getpid"), default="ALLOW"), (-31, [])),
    (profile(rule("TRAP", "getpid"), default="ALLOW"), (-31, [])),
    (profile(rule("LOG", "getpid"), default="ALLOW"), (0, [0])),
    (profile(rule("TRACE", "getpid"), default="ALLOW"), (0, [errno.ENOSYS])),  # there is no tracer
])
def test_actions(tree, expected):
    assert answers(tree, (GETPID,)) == expected


@pytest.mark.row(123)
@pytest.mark.parametrize("flags", [
    None, [], ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
    ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
])
def test_the_kernel_takes_every_planned_flag(flags):
    tree = profile(default="ALLOW") if flags is None else profile(default="ALLOW", flags=flags)
    assert answers(tree, (GETPID,)) == (0, [0])


def test_the_kernel_takes_a_program_of_nearly_the_greatest_length():
    rules = [rule("ERRNO", "personality", args=[(0, "EQ", value, 0)]) for value in range(800)]
    tree = profile(*rules, default="ALLOW")
    assert len(seccomp.compile_filter(tree, cache_dir=None, warn=pytest.fail)[0]) // 8 > 4000
    assert answers(tree, (PERSONALITY, 799), (PERSONALITY, 0xFFFFFFFF)) == (0, [errno.EPERM, 0])


def test_the_interpreter_of_these_tests_and_the_kernel_agree():
    tree = profile(
        rule("ERRNO", "keyctl", errno=11, args=[(1, "GE", 2**32, 0), (2, "LT", 2**63, 0)]),
        rule("ERRNO", "keyctl", errno=12, args=[(1, "MASKED_EQ", 2**40 | 6, 2**40 | 2)]),
        rule("ERRNO", "keyctl", errno=13, args=[(3, "NE", 0, 0), (4, "LE", 2**33, 0)]),
        default="ALLOW",
    )
    values = [0, 2, 2**32 - 1, 2**32, 2**40 | 2, 2**63, 2**64 - 1]
    calls = [(KEYCTL, 999, a, b, c, 2**33 + d) for a in values for b in values[::2] for c in (0, 1) for d in (0, 1)]
    program = seccomp.compile_filter(tree, cache_dir=None, warn=pytest.fail)[0]
    expected = [bpf.run(program, number, args) for number, *args in calls]
    assert answers(tree, *calls) == (0, [
        answer & 0xFFFF if answer != bpf.ALLOW else errno.EOPNOTSUPP for answer in expected])


@pytest.mark.skipif(not ENGINE_PROFILE.exists(), reason="containers-common is not installed")
def test_an_engines_profile():
    status, results = answers(
        engine_profile(), (GETPID,), (PERSONALITY, 0xFFFFFFFF), (PERSONALITY, 0x40000), (SOCKET, 16, 3, 9),
        (SOCKET, 1, 1, 0), (1000,), (180,))
    assert status == 0
    assert results == [0, 0, errno.ENOSYS, errno.EINVAL, 0, errno.ENOSYS, errno.EPERM]


@pytest.mark.row(127)
def test_newer_calls_get_enosys_and_older_ones_the_default():
    tree = profile(rule("ALLOW", "read", "write", "exit_group", "rt_sigreturn", "clone3", "getpid", "futex", "brk",
                        "mmap", "munmap"), errno=errno.ENXIO)
    assert answers(tree, (GETPID,), (UNSHARE, 0), (CLONE3 + 2,), (1000,), (2**31,)) == (
        0, [0, errno.ENXIO, errno.ENOSYS, errno.ENOSYS, errno.ENOSYS])


def test_clone_flags_are_refused_bit_by_bit():
    refused = rule("ERRNO", "unshare", args=[(0, "MASKED_EQ", CLONE_NEWUSER, CLONE_NEWUSER)])
    tree = profile(refused, rule("ERRNO", "clone3", errno=errno.ENOSYS), default="ALLOW")
    assert answers(tree, (UNSHARE, CLONE_NEWUSER | 0x200), (UNSHARE, 0), (CLONE3, 0, 0)) == (
        0, [errno.EPERM, 0, errno.ENOSYS])


@pytest.mark.row(124)
def test_x32_calls_are_refused_under_a_profile_that_does_not_name_them():
    tree = profile(rule("ERRNO", "getppid"), default="ALLOW")
    assert answers(tree, (0x40000000 | 110,), (110,)) == (0, [errno.ENOSYS, errno.EPERM])
