"""Patterns of names and paths: capsule.image.patterns."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given, strategies as st

from capsule.errors import ImageError
from capsule.image.ignoring import Ignored
from capsule.image.patterns import Name, Path


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_stars_and_question_marks_are_the_shells(pattern, name) -> None:
    assert Name(pattern).fits(name) == fnmatch.fnmatchcase(name, pattern)


@given(st.text("abc*?[]-!", max_size=10), st.text("abc]-", max_size=8))
def test_classes_are_the_shells(pattern, name) -> None:
    try:
        found = Name(pattern).fits(name)
    except ImageError:
        return  # without an end, or backwards: the shell takes the first for itself, and nothing fits the second
    assert found == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(("pattern", "fitting", "others"), [
    (r"\*", ["*"], ["a"]), (r"[\]]", ["]"], ["a"]), (r"[a\\]", ["a", "\\"], ["]"]), ("[^a]", ["b"], ["a"]),
    ("[]a]", ["]", "a"], ["b"]), (r"a\b", ["ab"], ["a\\b"]), ("**", ["", "anything"], []), ("[a-]", ["a", "-"], ["b"]),
])
def test_what_has_a_meaning(pattern, fitting, others) -> None:
    found = Name(pattern)
    assert [name for name in fitting + others if found.fits(name)] == fitting


@pytest.mark.parametrize(("pattern", "cause"), [
    ("[z-a]", "z-a runs backwards"), ("[a", "has no end"), ("[", "has no end"), ("[a-", "has no end"),
    ("x" * 5000, "longer than"),
])
def test_what_is_no_pattern_is_told_by_its_line(pattern, cause) -> None:
    with pytest.raises(ImageError, match=f"line 2 .*{cause}"):
        Ignored(f"ok\n{pattern}\n")


@pytest.mark.parametrize("pattern", ["*a" * 120 + "b", "**/" * 500 + "x*a*a*a*a*a*a*b", "a/**/" * 200 + "b"])
def test_no_pattern_takes_long(pattern) -> None:
    """Tried one way after the other these would outlive the machine."""
    deep = "/".join(["a" * 255] * 15)
    ignored = Ignored(pattern)
    assert not ignored.hides(deep) and not ignored.hides("/".join(["a"] * 2000))


@pytest.mark.parametrize(("pattern", "path", "fits"), [
    ("**", "a", True), ("a/**", "a", False), ("a/**", "a/b/c", True), ("**/a", "a", True), ("**/a", "x/y/a/b", True),
    ("a/**/b", "a/b", True), ("a/**/b", "a/x/y/b", True), ("a/**/b", "a/x/y", False), ("a/*/b", "a/b", False),
    ("/a/./b/", "a/b/c", True), ("**/**/a", "x/a", True), ("*", "a/b", True), ("a?", "a/b", False),
])
def test_paths(pattern, path, fits) -> None:
    assert Path(pattern).fits(path.split("/")) is fits
