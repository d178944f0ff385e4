"""System call filters: what the payload's calls answer under a profile."""

from __future__ import annotations

import errno

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.seccomp import PROFILE, engine_profile

pytestmark = requires("root", "runtime", "busybox", "gcc")

MKDIR, SOCKET, GETPID, PERSONALITY, UNUSED = 83, 41, 39, 135, 999  # x86-64
ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def answer(capsule, box, *words) -> int:
    """Return the errno of a system call that the payload makes."""
    return capsule.run(box.args("/payload", "syscall", *map(str, words))).json["errno"]


def test_a_filter_is_loaded(capsule, bundle):
    assert capsule.probe(bundle().seccomp(ALLOW, {"names": ["mkdir"], "action": ERRNO}))["seccomp"] == 2


@pytest.mark.row(121)
@pytest.mark.parametrize("nnp", [True, False])
def test_a_denied_call_answers_eperm(capsule, bundle, nnp):
    box = bundle().seccomp(ALLOW, {"names": ["personality"], "action": ERRNO})
    box.process["noNewPrivileges"] = nnp
    assert answer(capsule, box, PERSONALITY, 0xFFFFFFFF) == errno.EPERM


def test_an_ordinary_user_has_the_filter_too(capsule, bundle):
    box = bundle().user(1000, 1000).seccomp(ALLOW, {"names": ["personality"], "action": ERRNO})
    assert answer(capsule, box, PERSONALITY, 0xFFFFFFFF) == errno.EPERM


@pytest.mark.row(121)
def test_a_rule_names_its_errno(capsule, bundle):
    box = bundle().seccomp(ALLOW, {"names": ["personality"], "action": ERRNO, "errnoRet": 100})
    assert answer(capsule, box, PERSONALITY, 0xFFFFFFFF) == 100


def test_the_default_names_its_errno(capsule, bundle):
    """Everything is allowed but a call that the newest name in the profile is newer than."""
    names = ["personality", "clone3"]
    box = bundle().seccomp(ALLOW, {"names": names, "action": ERRNO, "errnoRet": errno.ENOTUNIQ})
    assert answer(capsule, box, PERSONALITY, 0xFFFFFFFF) == errno.ENOTUNIQ


@pytest.mark.row(125)
def test_conditions_on_arguments(capsule, bundle):
    rule = {"names": ["socket"], "action": ERRNO,
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
    assert answer(capsule, bundle().seccomp(ALLOW, rule), SOCKET, 1, 1) == errno.EPERM
    assert answer(capsule, bundle().seccomp(ALLOW, rule), SOCKET, 2, 1) == 0


@pytest.mark.row(125)
def test_a_masked_condition(capsule, bundle):
    rule = {"names": ["personality"], "action": ERRNO, "args": [
        {"index": 0, "value": 0xF0, "valueTwo": 0x20, "op": "SCMP_CMP_MASKED_EQ"}]}
    assert answer(capsule, bundle().seccomp(ALLOW, rule), PERSONALITY, 0x2F) == errno.EPERM
    assert answer(capsule, bundle().seccomp(ALLOW, rule), PERSONALITY, 0xFFFFFFFF) == 0


@pytest.mark.row(126)
def test_names_of_other_architectures_and_times_are_skipped(capsule, bundle):
    box = bundle().seccomp(ALLOW, {"names": ["no_such_call", "personality"], "action": ERRNO})
    assert answer(capsule, box, PERSONALITY, 0xFFFFFFFF) == errno.EPERM


@pytest.mark.row(127)
def test_a_call_newer_than_the_profile_answers_enosys(capsule, bundle):
    """So that a C library falls back instead of failing (as engines' users expect since clone3)."""
    profile = engine_profile([])
    box = bundle()
    box.linux["seccomp"] = profile
    assert answer(capsule, box, UNUSED) == errno.ENOSYS


@pytest.mark.skipif(not PROFILE.exists(), reason="containers-common is not installed")
def test_the_engines_default_profile(capsule, bundle):
    box = bundle()
    box.linux["seccomp"] = engine_profile(["CAP_KILL"])
    facts = capsule.probe(box)
    assert (facts["seccomp"], facts["personality"]) == (2, 0)


def test_a_profile_that_denies_the_runtimes_own_last_calls(capsule, bundle):
    """With no_new_privs the filter is loaded when these calls have been made."""
    names = ["setuid", "setgid", "setgroups", "setresuid", "setresgid", "capset", "prctl", "chdir",
             "close_range", "umask", "socket", "connect", "sendmsg", "mount"]
    box = bundle(["/payload", "exit", "8"]).seccomp(ALLOW, {"names": names, "action": ERRNO})
    capsule.run(box, rc=8)


@pytest.mark.row(120)
def test_a_kill_action_ends_the_program(capsule, bundle):
    box = bundle(["/payload", "syscall", str(PERSONALITY), "0"])
    box.seccomp(ALLOW, {"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS"})
    assert capsule.run(box, rc=None).rc == 128 + 31


@pytest.mark.row(131)
def test_exec_has_the_filter(capsule, bundle):
    box = bundle(["/payload", "pause"]).seccomp(ALLOW, {"names": ["personality"], "action": ERRNO})
    capsule.start_container(box)
    found = capsule.exec(box, "/payload", "syscall", str(PERSONALITY), "0xffffffff")
    assert found.json["errno"] == errno.EPERM


@pytest.mark.rival(runc="1.1.5 takes no flags")
def test_the_log_flag_is_accepted(capsule, bundle):
    box = bundle(["/payload", "exit", "0"])
    box.seccomp(ALLOW, {"names": ["mkdir"], "action": ERRNO}, flags=["SECCOMP_FILTER_FLAG_LOG"])
    capsule.run(box)


@pytest.mark.parametrize("change", [
    {"defaultAction": "SCMP_ACT_NONSENSE"}, {"architectures": ["SCMP_ARCH_PDP11"]},
    {"flags": ["SECCOMP_FILTER_FLAG_NONSENSE"]},
    {"syscalls": [{"names": ["mkdir"], "action": "NONSENSE"}]},
    pytest.param({"syscalls": [{"names": [], "action": ERRNO}]},
                 marks=pytest.mark.rival(runc="does not check it")),
    {"syscalls": [{"names": ["socket"], "action": ERRNO,
                   "args": [{"index": 0, "value": 1, "op": "NONSENSE"}]}]},
    {"syscalls": [{"names": ["socket"], "action": ERRNO,
                   "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}],
    ids=["default", "architecture", "flag", "action", "no names", "operator", "index"])
def test_a_profile_that_cannot_be_is_refused(capsule, bundle, change):
    box = bundle(["/payload", "exit", "0"])
    box.linux["seccomp"] = {"defaultAction": ALLOW, **change}
    capsule.run(box, rc=FAILS)
    assert not capsule.exists(box)
