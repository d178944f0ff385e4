"""Container ids are checked before they become names of directories."""

import re

import pytest
from hypothesis import given, settings, strategies as st

from capsule.errors import StateError
from capsule.state import ids

RULE = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_+.-]*", re.ASCII)


@pytest.mark.parametrize("id", ["a", "0", "_x", "+x", "-x", "a.b", "a..b", "A_b+c-d.e", "x" * 255])
def test_good_id_is_accepted(id):
    ids.check_id(id)


@pytest.mark.parametrize(
    "id",
    ["", ".", "..", ".a", "a/b", "/", "a\0", "a\n", "\n", "a b", "a\u0430", "\u00e9", "a\u2024b", "x" * 256, "\udc80"],
)
def test_bad_id_is_refused(id):
    with pytest.raises(StateError, match="invalid container ID format"):
        ids.check_id(id)


@settings(deadline=None)
@given(st.text(max_size=8) | st.text(alphabet="aZ9_+-./\n\0 ", max_size=6))
def test_rule_is_the_regular_expression(id):
    assert ids.is_valid(id) == (RULE.fullmatch(id) is not None)
