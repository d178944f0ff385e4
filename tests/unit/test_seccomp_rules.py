"""What a compiled profile answers to calls, by an interpreter of the program."""

from __future__ import annotations

import errno
import platform
import random
import re
from pathlib import Path

import pytest
from helpers import bpf
from helpers.profiles import ENGINE_PROFILE, engine_profile, profile, rule

from capsule._ext import seccomp as ext
from capsule.errors import SecurityError, SpecError, Unsupported
from capsule.security.plan import seccomp_rules as rules

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="call numbers of x86-64")

READ, WRITE, OPEN, SOCKET, CLONE, PERSONALITY, CLONE3, UNSHARE, KEYCTL = 0, 1, 2, 41, 56, 135, 435, 272, 250
NEWER = 1000
EPERM = bpf.ERRNO | errno.EPERM
ENOSYS = bpf.ERRNO | errno.ENOSYS
TOP = 2**64 - 1


def compiled(tree: dict) -> bytes:
    return rules.build(tree)[0]


@pytest.mark.row(120, 121)
@pytest.mark.parametrize(("action", "errno_ret", "expected"), [
    ("KILL", None, bpf.KILL_THREAD),
    ("KILL_THREAD", None, bpf.KILL_THREAD),
    ("KILL_PROCESS", None, bpf.KILL_PROCESS),
    ("TRAP", None, bpf.TRAP),
    ("ERRNO", None, EPERM),
    ("ERRNO", 100, bpf.ERRNO | 100),
    ("ERRNO", 0, bpf.ERRNO),
    ("ERRNO", 4095, bpf.ERRNO | 4095),
    ("TRACE", None, bpf.TRACE | errno.EPERM),
    ("TRACE", 7, bpf.TRACE | 7),
    ("LOG", None, bpf.LOG),
])
def test_every_action_is_what_the_call_gets(action, errno_ret, expected):
    program = compiled(profile(rule(action, "write", errno=errno_ret), default="ALLOW"))
    assert bpf.run(program, WRITE) == expected
    assert bpf.run(program, READ) == bpf.ALLOW


@pytest.mark.row(120, 121)
@pytest.mark.parametrize(("default", "errno_ret", "expected"), [
    ("KILL", None, bpf.KILL_THREAD), ("KILL_PROCESS", None, bpf.KILL_PROCESS), ("TRAP", None, bpf.TRAP),
    ("ERRNO", None, EPERM), ("ERRNO", 6, bpf.ERRNO | 6), ("TRACE", 3, bpf.TRACE | 3), ("LOG", None, bpf.LOG),
])
def test_an_unnamed_call_gets_the_default(default, errno_ret, expected):
    program = compiled(profile(rule("ALLOW", "write", "clone3"), default=default, errno=errno_ret))
    assert bpf.run(program, READ) == expected
    assert bpf.run(program, WRITE) == bpf.ALLOW


@pytest.mark.row(127)
@pytest.mark.parametrize("default", ["KILL", "KILL_PROCESS", "TRAP", "ERRNO"])
def test_a_call_newer_than_the_profile_gets_enosys(default):
    program = compiled(profile(rule("ALLOW", "read", "clone3"), default=default))
    assert bpf.run(program, CLONE3) == bpf.ALLOW
    assert bpf.run(program, CLONE3 + 1) == ENOSYS
    assert bpf.run(program, NEWER) == ENOSYS
    assert bpf.run(program, 0xFFFFFFFF) == ENOSYS
    assert bpf.run(program, OPEN) != ENOSYS


@pytest.mark.row(127)
@pytest.mark.parametrize(("default", "expected"), [
    ("ALLOW", bpf.ALLOW), ("LOG", bpf.LOG), ("TRACE", bpf.TRACE | errno.EPERM),
])
def test_a_newer_call_is_left_to_a_default_that_lets_it_through(default, expected):
    program = compiled(profile(rule("ERRNO", "write"), default=default))
    assert bpf.run(program, NEWER) == expected


def test_the_highest_call_counts_even_when_its_rule_changes_nothing():
    program = compiled(profile(rule("ALLOW", "read"), rule("ERRNO", "clone3")))
    assert bpf.run(program, CLONE3) == EPERM
    assert bpf.run(program, CLONE3 + 1) == ENOSYS


def test_a_profile_that_names_no_call_gets_no_prologue():
    program = compiled(profile(default="ERRNO", errno=errno.ENXIO))
    assert bpf.run(program, NEWER) == bpf.ERRNO | errno.ENXIO


@pytest.mark.row(124, 127)
def test_each_architecture_has_its_own_highest_call():
    tree = profile(rule("ALLOW", "read", "io_uring_setup"), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    program = compiled(tree)
    for arch, bit, read in ((bpf.X86_64, 0, 0), (bpf.X86_64, bpf.X32_BIT, 0), (bpf.X86, 0, 3)):
        assert bpf.run(program, bit | read, arch=arch) == bpf.ALLOW
        assert bpf.run(program, bit | 425, arch=arch) == bpf.ALLOW
        assert bpf.run(program, bit | 424, arch=arch) == EPERM
        assert bpf.run(program, bit | 426, arch=arch) == ENOSYS


@pytest.mark.row(124)
def test_x32_is_refused_where_the_profile_does_not_name_it():
    program = compiled(profile(rule("ALLOW", "read"), architectures=["SCMP_ARCH_X86_64"]))
    assert bpf.run(program, bpf.X32_BIT) == ENOSYS


@pytest.mark.row(124)
def test_another_architecture_is_killed():
    program = compiled(profile(rule("ERRNO", "write"), default="ALLOW"))
    assert bpf.run(program, READ, arch=bpf.X86) == bpf.KILL_THREAD


def test_arm_calls_of_the_private_range_are_not_newer_calls(monkeypatch):
    monkeypatch.setattr(rules.ext, "native_arch", lambda: rules.AARCH64)
    program = compiled(profile(rule("ALLOW", "set_tls", "read", "clone3"), architectures=["SCMP_ARCH_ARM"]))
    answers = [bpf.run(program, number, arch=rules.ARM) for number in (3, CLONE3 + 1, 0xEFFFF, 0xF0004, 0xF0005)]
    assert answers == [bpf.ALLOW, ENOSYS, ENOSYS, EPERM, bpf.ALLOW]
    assert bpf.run(program, 63, arch=rules.AARCH64) == bpf.ALLOW


def test_architectures_this_kernel_does_not_run_are_left_out():
    names = ["SCMP_ARCH_S390X", "SCMP_ARCH_RISCV64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64", "SCMP_ARCH_X86"]
    assert rules.architectures(names) == [rules.X86_64, rules.X86]


@pytest.mark.row(124)
@pytest.mark.parametrize("name", sorted(rules.ARCHITECTURES))
def test_every_architecture_of_the_spec_is_known(name):
    assert rules.X86_64 in rules.architectures([name])


def test_an_unknown_architecture_is_an_error():
    with pytest.raises(SpecError, match="unknown architecture SCMP_ARCH_VAX"):
        compiled(profile(architectures=["SCMP_ARCH_VAX"]))


@pytest.mark.row(124)
def test_the_native_architecture_may_be_named():
    program = compiled(profile(rule("ALLOW", "read"), architectures=["SCMP_ARCH_NATIVE", "SCMP_ARCH_X86_64"]))
    assert bpf.run(program, READ) == bpf.ALLOW


@pytest.mark.row(120)
def test_notify_is_an_answer_like_others():
    """Also on i386's multiplexed calls, where the agent can look behind the pointer that no filter follows."""
    program = compiled(profile(rule("NOTIFY", "read"), rule("NOTIFY", "socket", args=[(0, "EQ", 1, 0)]),
                               default="ALLOW", architectures=["SCMP_ARCH_X86"]))
    assert bpf.run(program, READ) == rules.ACTIONS["SCMP_ACT_NOTIFY"]
    assert bpf.run(program, rules.X86_SOCKETCALL, (1,), arch=rules.X86) == rules.ACTIONS["SCMP_ACT_NOTIFY"]
    assert bpf.run(program, rules.X86_SOCKETCALL, (2,), arch=rules.X86) == bpf.ALLOW


@pytest.mark.row(126)
def test_unknown_calls_are_skipped():
    program = compiled(profile(rule("ALLOW", "no_such_call", "read", "read\0write", "\udc80", "clone3")))
    assert bpf.run(program, READ) == bpf.ALLOW
    assert bpf.run(program, WRITE) == EPERM


@pytest.mark.parametrize("errno_ret", [None, errno.EPERM])
def test_a_rule_equal_to_the_default_is_tolerated(errno_ret):
    program = compiled(profile(rule("ALLOW", "read", "clone3"), rule("ERRNO", "write", errno=errno_ret)))
    assert bpf.run(program, WRITE) == EPERM


@pytest.mark.parametrize("order", [1, -1])
def test_an_unconditional_rule_beats_conditional_ones(order):
    both = [rule("ALLOW", "clone", args=[(0, "EQ", 1, 0)]), rule("ERRNO", "clone", errno=5)][::order]
    assert bpf.run(compiled(profile(*both)), CLONE, [1]) == bpf.ERRNO | 5


def test_the_first_of_several_rules_that_hold_counts():
    first = rule("ERRNO", "clone", errno=9, args=[(0, "EQ", 3, 0)])
    second = rule("ALLOW", "clone", args=[(0, "LT", 5, 0)])
    assert [bpf.run(compiled(profile(first, second)), CLONE, [value]) for value in (3, 4)] == [
        bpf.ERRNO | 9, bpf.ALLOW]
    assert bpf.run(compiled(profile(second, first)), CLONE, [3]) == bpf.ALLOW
    assert bpf.run(compiled(profile(rule("ERRNO", "read", errno=9), rule("ALLOW", "read"))), READ) == bpf.ERRNO | 9


def test_a_filter_too_long_for_the_kernel_is_an_error():
    args = [rule("ALLOW", "read", args=[(0, "EQ", value, 0)]) for value in range(900)]
    with pytest.raises(SecurityError, match="45[0-9][0-9] instructions, the kernel takes at most 4096"):
        compiled(profile(*args))


def test_far_branches_reach_their_target():
    calls = ["read", "open", "stat", "poll", "mmap", "brk"]
    many = [rule("ALLOW", *calls, args=[(0, "EQ", value, 0)]) for value in range(100)]
    program = compiled(profile(*many))
    assert len(program) // 8 > 6 * 500
    for number in (0, 2, 4, 7, 9, 12):
        assert [bpf.run(program, number, [value]) for value in (0, 99, 100)] == [bpf.ALLOW, bpf.ALLOW, EPERM]
        assert bpf.run(program, number + 1, [0]) == (ENOSYS if number == 12 else EPERM)


class TestMultiplexedCalls:
    """i386 makes socket and System V IPC calls through socketcall and ipc, too."""

    SOCKETCALL, IPC, DIRECT_SOCKET, DIRECT_SHMGET = 102, 117, 359, 395

    def answers(self, tree, *calls):
        program = compiled({**tree, "architectures": ["SCMP_ARCH_X86"]})
        return [bpf.run(program, number, args, arch=bpf.X86) for number, args in calls]

    def test_a_rule_holds_for_both_forms(self):
        tree = profile(rule("ALLOW", "socket", "shmget", "clone3"))
        assert self.answers(
            tree, (self.DIRECT_SOCKET, [2]), (self.SOCKETCALL, [1]), (self.SOCKETCALL, [2]),
            (self.DIRECT_SHMGET, [2]), (self.IPC, [23]), (self.IPC, [1 << 16 | 23]), (self.IPC, [24]),
        ) == [bpf.ALLOW, bpf.ALLOW, EPERM, bpf.ALLOW, bpf.ALLOW, bpf.ALLOW, EPERM]

    def test_a_condition_that_cannot_be_seen_does_not_let_through(self):
        tree = profile(rule("ALLOW", "socket", args=[(0, "NE", 38, 0)]), rule("ALLOW", "clone3"))
        assert self.answers(tree, (self.DIRECT_SOCKET, [2]), (self.DIRECT_SOCKET, [38]), (self.SOCKETCALL, [1])) == [
            bpf.ALLOW, EPERM, EPERM]

    def test_a_condition_that_cannot_be_seen_refuses(self):
        tree = profile(rule("ERRNO", "socket", args=[(0, "EQ", 38, 0)]), default="ALLOW")
        assert self.answers(tree, (self.DIRECT_SOCKET, [38]), (self.DIRECT_SOCKET, [2]), (self.SOCKETCALL, [1]),
                            (self.SOCKETCALL, [2])) == [EPERM, bpf.ALLOW, EPERM, bpf.ALLOW]

    def test_the_multiplexer_itself_may_be_named(self):
        tree = profile(rule("ALLOW", "socketcall", "clone3"), rule("ERRNO", "socket", errno=5))
        assert self.answers(tree, (self.SOCKETCALL, [1]), (self.DIRECT_SOCKET, [])) == [bpf.ALLOW, bpf.ERRNO | 5]

    @pytest.mark.parametrize("pseudo", sorted(rules.X86_DIRECT))
    def test_direct_numbers_are_the_kernels(self, pseudo):
        text = Path("/usr/include/x86_64-linux-gnu/asm/unistd_32.h")
        if not text.exists():
            pytest.skip("no kernel headers")
        numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", text.read_text()))
        names = ext.Names()
        matching = [name for name in numbers if names.resolve(rules.X86, name.encode()) == pseudo]
        assert [int(numbers[name]) for name in matching] == [rules.X86_DIRECT[pseudo]]


def test_negative_values_are_compared_as_32_bit_registers_hold_them():
    tree = profile(rule("ALLOW", "personality", args=[(0, "EQ", TOP, 0)]),
                   rule("ALLOW", "clone", args=[(0, "EQ", 2**32, 0)]), architectures=["SCMP_ARCH_X86"])
    program = compiled(tree)
    assert bpf.run(program, 136, [0xFFFFFFFF], arch=bpf.X86) == bpf.ALLOW
    assert bpf.run(program, 120, [0], arch=bpf.X86) == EPERM


@pytest.mark.row(125)
@pytest.mark.parametrize(("op", "value", "two", "holds", "fails"), [
    ("EQ", TOP, 0, [TOP], [TOP - 1, 0xFFFFFFFF]),
    ("EQ", 2**53 + 1, 0, [2**53 + 1], [2**53]),
    ("NE", 7, 0, [8, 0, 7 << 32], [7]),
    ("LT", 2**32, 0, [0, 2**32 - 1], [2**32, TOP]),
    ("LE", 2**32, 0, [2**32], [2**32 + 1]),
    ("GE", 2**63, 0, [2**63, TOP], [2**63 - 1, 0]),
    ("GT", 5, 0, [6, 2**32], [5, 0]),
    ("MASKED_EQ", 0x7E020000, 0, [0, 17], [0x10000000, 0x20000 | 17]),
    ("MASKED_EQ", 2**63 | 1, 2**63, [2**63, 2**63 | 2], [2**63 | 1, 0]),
])
def test_conditions_compare_all_64_bits(op, value, two, holds, fails):
    program = compiled(profile(rule("ALLOW", "clone", args=[(0, op, value, two)])))
    assert [bpf.run(program, CLONE, [arg]) for arg in holds] == [bpf.ALLOW] * len(holds)
    assert [bpf.run(program, CLONE, [arg]) for arg in fails] == [EPERM] * len(fails)


def test_value_two_means_nothing_but_in_a_masked_comparison():
    program = compiled(profile(rule("ALLOW", "clone", args=[(0, "EQ", 3, 9)])))
    assert bpf.run(program, CLONE, [3]) == bpf.ALLOW


@pytest.mark.row(125)
def test_conditions_on_several_arguments_hold_together():
    program = compiled(profile(rule("ALLOW", "socket", args=[(0, "EQ", 16, 0), (2, "EQ", 9, 0)])))
    assert bpf.run(program, SOCKET, [16, 3, 9]) == bpf.ALLOW
    assert bpf.run(program, SOCKET, [16, 3, 0]) == EPERM


@pytest.mark.row(125)
def test_conditions_on_one_argument_are_alternatives():
    program = compiled(profile(rule("ALLOW", "personality", args=[(0, "EQ", 0, 0), (0, "EQ", 8, 0)])))
    assert [bpf.run(program, PERSONALITY, [value]) for value in (0, 8, 1)] == [bpf.ALLOW, bpf.ALLOW, EPERM]


OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
EDGES = [0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, TOP]


def holds(condition, args) -> bool:
    index, op, value, two = condition
    arg = args[index]
    if op == "MASKED_EQ":
        return arg & value == two & value
    return {"NE": arg != value, "LT": arg < value, "LE": arg <= value, "EQ": arg == value,
            "GE": arg >= value, "GT": arg > value}[op]


def rule_holds(conditions, args) -> bool:
    indices = [condition[0] for condition in conditions]
    every = len(indices) == len(set(indices))
    return (all if every else any)(holds(condition, args) for condition in conditions)


@pytest.mark.parametrize("seed", range(10))
def test_a_call_is_allowed_exactly_when_one_of_its_rules_holds(seed):
    chance = random.Random(seed)
    for _ in range(100):
        alternatives = [
            [(chance.randrange(3), chance.choice(OPERATORS), chance.choice(EDGES), chance.choice([0, 1, 2**32]))
             for _ in range(chance.randint(0 if chance.random() < 0.1 else 1, 4))]
            for _ in range(chance.randint(1, 4))
        ]
        program = compiled(profile(*[rule("ALLOW", "clone", args=conditions) for conditions in alternatives]))
        for _ in range(20):
            args = [chance.choice(EDGES) for _ in range(3)]
            expected = any(rule_holds(conditions, args) for conditions in alternatives)
            answer = bpf.run(program, CLONE, args)
            assert answer == (bpf.ALLOW if expected else EPERM), (alternatives, args)


def test_split_conditions_keeps_one_rule_for_distinct_arguments():
    args = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 2,
                                                              "valueTwo": 3}]
    first, second = (0, "EQ", 1, 0), (1, "MASKED_EQ", 2, 3)
    assert rules.split_conditions(args) == [(first, second)]
    assert rules.split_conditions([args[0], *args]) == [(first,), (first,), (second,)]
    assert rules.split_conditions(None) == [()]


@pytest.mark.skipif(not ENGINE_PROFILE.exists(), reason="containers-common is not installed")
class TestEngineProfile:
    def test_it_allows_what_programs_need_and_refuses_what_harms(self):
        program = compiled(engine_profile())
        assert [bpf.run(program, number) for number in (READ, WRITE, OPEN, 59, 231)] == [bpf.ALLOW] * 5
        assert bpf.run(program, 101, [0]) == bpf.ALLOW  # ptrace
        assert bpf.run(program, KEYCTL) == bpf.ALLOW
        assert bpf.run(program, NEWER) == ENOSYS

    def test_its_argument_rules_hold_on_each_architecture(self):
        program = compiled(engine_profile())
        for arch, number in ((bpf.X86_64, 135), (bpf.X86, 136), (bpf.X86_64, bpf.X32_BIT | 135)):
            assert bpf.run(program, number, [8], arch=arch) == bpf.ALLOW
            assert bpf.run(program, number, [0x40000], arch=arch) == ENOSYS
        assert bpf.run(program, SOCKET, [16, 3, 9]) == bpf.ERRNO | errno.EINVAL  # netlink audit
        assert bpf.run(program, SOCKET, [2, 1, 0]) == bpf.ALLOW

    def test_capabilities_change_it(self):
        program = compiled(engine_profile("CAP_AUDIT_WRITE", "CAP_SYS_ADMIN"))
        assert bpf.run(program, SOCKET, [16, 3, 9]) == bpf.ALLOW
        assert bpf.run(program, 308) == bpf.ALLOW  # setns


class TestNames:
    def test_closed_names_refuse(self):
        names = ext.Names()
        names.close()
        names.close()
        with pytest.raises(ValueError, match="closed"):
            names.resolve(bpf.X86_64, b"read")

    def test_without_libseccomp_a_profile_is_unsupported(self, monkeypatch):
        def refuse():
            raise OSError(errno.ELIBACC, "dlopen")

        monkeypatch.setattr(rules.ext, "Names", refuse)
        with pytest.raises(Unsupported, match=r"libseccomp.so.2: the library is not installed"):
            compiled(profile())
