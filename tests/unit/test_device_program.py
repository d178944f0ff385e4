"""The device program of cgroup v2, interpreted, decides as the ordered list of rules does."""

from __future__ import annotations

import itertools

import pytest
from helpers import ebpf
from hypothesis import given, settings, strategies as st

from capsule import log
from capsule._ext import devbpf
from capsule.cgroups.v1.devices import DEFAULT_RULES
from capsule.cgroups.v2 import devices
from capsule.errors import SpecError

DENY_ALL = {"allow": False, "access": "rwm"}
KINDS = {"b": ebpf.BLOCK, "c": ebpf.CHAR}
ACCESS = {"m": ebpf.MKNOD, "r": ebpf.READ, "w": ebpf.WRITE}
BIG = (1 << 32) - 1
NUMBERS = st.sampled_from([None, -1, 0, 1, 3, 8, 136, BIG])
RULES = st.lists(
    st.fixed_dictionaries({
        "allow": st.booleans(),
        "type": st.sampled_from([None, "a", "b", "c"]),
        "major": NUMBERS,
        "minor": NUMBERS,
        "access": st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"]),
    }),
    max_size=8,
)
SAMPLES = list(itertools.product("bc", (0, 1, 3, 8, 136, 7, BIG), (0, 1, 3, 8, 136, 7, BIG),
                                 ("r", "w", "m", "rw", "rm", "rwm")))


def model(rules: list[dict], kind: str, major: int, minor: int, letter: str) -> bool:
    """The specification's reading: the last rule that matches decides; nothing is allowed before the first."""
    allowed = False
    defaults = [{"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
                for kind, major, minor, access in DEFAULT_RULES]
    for rule in rules + defaults:
        if (rule.get("type") in (None, "a", kind) and rule.get("major") in (None, -1, major)
                and rule.get("minor") in (None, -1, minor) and letter in rule["access"]):
            allowed = rule["allow"]
    return allowed


def compiled(rules: list[dict]) -> bytes:
    return devbpf.compile_rules(devices.ordered(rules))


def allows(program: bytes, kind: str, major: int, minor: int, letters: str) -> bool:
    return ebpf.run(program, KINDS[kind], sum(ACCESS[letter] for letter in letters), major, minor)


@settings(deadline=None, max_examples=25)
@given(RULES)
@pytest.mark.row(80)
def test_program_decides_as_the_list_does(rules):
    program = compiled(rules)
    for kind, major, minor, letters in SAMPLES:
        expected = all(model(rules, kind, major, minor, letter) for letter in letters)
        assert allows(program, kind, major, minor, letters) == expected, (kind, major, minor, letters)


@pytest.mark.row(80)
def test_a_hole_in_a_wider_rule_is_a_hole():
    """What v1 cannot represent."""
    program = compiled([DENY_ALL, {"allow": True, "type": "c", "major": 1, "access": "rwm"},
                        {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}])
    assert allows(program, "c", 1, 11, "r")
    assert not allows(program, "c", 1, 11, "w")
    assert not allows(program, "c", 1, 11, "rw")
    assert allows(program, "c", 1, 12, "rw")


@pytest.mark.parametrize("rules", [[], [DENY_ALL], [{"allow": True, "access": "rwm"}, DENY_ALL]])
@pytest.mark.row(80)
def test_without_allowed_devices_the_default_ones_can_be_used(rules):
    program = compiled(rules)
    assert allows(program, "c", 1, 3, "rwm")
    assert allows(program, "c", 136, 12, "rw")
    assert allows(program, "b", 8, 0, "m")
    assert not allows(program, "b", 8, 0, "r")
    assert not allows(program, "c", 5, 1, "r")


def test_no_code_is_unreachable():
    """The verifier refuses it: nothing may stand behind the rule for all devices that ends the list."""
    for rules in ([], [DENY_ALL], [{"allow": True, "access": "rwm"}], [{"allow": True, "type": "c", "access": "r"}]):
        code = compiled(rules)
        targets = {0}
        count = len(code) // 8
        for at in range(count):
            op, offset = code[at * 8], int.from_bytes(code[at * 8 + 2 : at * 8 + 4], "little", signed=True)
            if at in targets and op != 0x95:
                if op & 0x07 in (0x05, 0x06):
                    targets.add(at + 1 + offset)
                if op != 0x05:
                    targets.add(at + 1)
        assert targets == set(range(count))


@pytest.mark.parametrize("rule", [
    {"allow": True, "type": "x", "access": "r"},
    {"allow": True, "access": ""},
    {"allow": True, "major": -2, "access": "r"},
    {"allow": True, "minor": 1 << 32, "access": "r"},
])
def test_malformed_rule_is_refused(rule):
    with pytest.raises(SpecError, match=r"linux.resources.devices\[0\]"):
        devices.check([rule])


def test_too_many_rules_are_refused():
    many = [{"allow": True, "type": "c", "major": 1, "minor": 1, "access": "r"}] * 501
    with pytest.raises(SpecError, match="501 rules, where 500 are the most"):
        devices.check(many)
    assert allows(compiled(many[1:]), "c", 1, 1, "r")


def test_stray_access_letter_is_warned_of():
    seen = []
    log.configure(lambda level, message: seen.append(level))
    try:
        program = compiled([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "ra"}])
    finally:
        log.configure(None)
    assert allows(program, "c", 1, 11, "r")
    assert seen == ["warning"]
