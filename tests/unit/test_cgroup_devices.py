"""Device rules: the folded default and exceptions decide as the ordered list does."""

import pytest
from hypothesis import assume, given, settings, strategies as st

from capsule import log
from capsule.cgroups.v1 import devices
from capsule.errors import SpecError, Unsupported

DENY_ALL = {"allow": False, "access": "rwm"}
NUMBERS = st.sampled_from([None, -1, 1, 3, 8, 136])
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "allow": st.booleans(),
            "type": st.sampled_from([None, "a", "b", "c"]),
            "major": NUMBERS,
            "minor": NUMBERS,
            "access": st.sampled_from(["r", "w", "m", "rw", "rm", "rwm"]),
        }
    ),
    max_size=6,
)
NODES = [(kind, major, minor) for kind in "bc" for major in (1, 3, 8, 136, 7) for minor in (1, 3, 8, 136, 7)]


def spec_allows(rules, kind, major, minor, letter):
    """The specification's reading: the last rule that matches decides; nothing is allowed before the first."""
    allowed = False
    default = [
        {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
        for kind, major, minor, access in devices.DEFAULT_RULES
    ]
    for rule in rules + default:
        if (
            rule.get("type") in (None, "a", kind)
            and rule.get("major") in (None, -1, major)
            and rule.get("minor") in (None, -1, minor)
            and letter in rule["access"]
        ):
            allowed = rule["allow"]
    return allowed


def kernel_allows(allow_all, exceptions, kind, major, minor, letter):
    """The v1 kernel's reading of what apply() writes, for one kind of access."""
    matches = any(
        key[0] == kind and key[1] in (-1, major) and key[2] in (-1, minor) and letter in access
        for key, access in exceptions.items()
    )
    return matches != allow_all


@settings(deadline=None)
@given(RULES)
@pytest.mark.row(80)
def test_folded_rules_decide_as_the_list_does(rules):
    try:
        allow_all, exceptions = devices.fold(rules)
    except Unsupported:
        assume(False)
    for node in NODES:
        for letter in "rwm":
            assert kernel_allows(allow_all, exceptions, *node, letter) == spec_allows(rules, *node, letter)


@pytest.mark.row(80)
def test_nothing_but_the_defaults_is_allowed_without_rules():
    assert devices.fold([]) == devices.fold([DENY_ALL])
    allow_all, exceptions = devices.fold([])
    assert not allow_all
    assert [devices.to_line(key, access) for key, access in exceptions.items()] == [
        "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm",
        "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm",
    ]  # fmt: skip


def test_privileged_container_may_use_everything():
    assert devices.fold([DENY_ALL, {"allow": True, "access": "rwm"}]) == (True, {})


def test_rule_for_both_kinds_does_not_become_the_kernels_all():
    # Written as "a 1:3 r", the kernel would ignore the numbers and allow every device.
    _, exceptions = devices.fold([DENY_ALL, {"allow": True, "major": 8, "minor": 0, "access": "r"}])
    assert exceptions["b", 8, 0] == exceptions["c", 8, 0] == "r"


@pytest.mark.row(80)
def test_hole_in_a_wider_rule_is_refused_and_named():
    rules = [
        DENY_ALL,
        {"allow": True, "type": "c", "major": 1, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ]
    with pytest.raises(Unsupported, match=r"devices\[2\]: cgroup v1 cannot deny c 1:11 w within c 1:\* rwm"):
        devices.fold(rules)


@pytest.mark.parametrize(
    "rule",
    [
        {"allow": True, "type": "x", "access": "r"},
        {"allow": True, "access": ""},
        {"allow": True, "access": "x"},
        {"allow": True, "major": -2, "access": "r"},
        {"allow": True, "minor": 1 << 32, "access": "r"},
    ],
)
def test_malformed_rule_is_refused(rule):
    with pytest.raises(SpecError, match=r"linux.resources.devices\[0\]"):
        devices.fold([rule])


def test_stray_access_letter_is_warned_of():
    seen = []
    log.configure(lambda level, message: seen.append(level))
    try:
        _, exceptions = devices.fold([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwa"}])
    finally:
        log.configure(None)
    assert exceptions["c", 1, 11] == "rw"
    assert seen == ["warning"]
