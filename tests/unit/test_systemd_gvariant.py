"""GVariant text of annotations, and the properties that they become."""

from __future__ import annotations

import pytest
from helpers.budget import times
from hypothesis import given, settings, strategies as st

from capsule.cgroups.systemd import annotations, gvariant
from capsule.errors import SpecError


@pytest.mark.parametrize(("text", "expected"), [
    ("true", ("b", True)), (" false ", ("b", False)), ("5", ("i", 5)), ("-7", ("i", -7)), ("+7", ("i", 7)),
    ("0x1F", ("i", 31)), ("010", ("i", 8)), ("uint64 18446744073709551615", ("t", (1 << 64) - 1)),
    ("@t 5", ("t", 5)), ("byte 7", ("y", 7)), ("int16 -3", ("n", -3)), ("double 2", ("d", 2.0)), ("1.5", ("d", 1.5)),
    ("1e3", ("d", 1000.0)), ("'text'", ("s", "text")), ('"it\'s"', ("s", "it's")),
    (r"'a\'b\n\\\u00e9'", ("s", "a'b\n\\é")),
    ("objectpath '/a'", ("o", "/a")), ("signature 'as'", ("g", "as")), (r"b'a\101\n'", ("ay", b"aA\n\0")),
    ("['a', 'b']", ("as", ["a", "b"])), ("@as []", ("as", [])), ("[uint32 1, 2]", ("au", [1, 2])),
    ("@ay [1, 2]", ("ay", b"\1\2")), ("[['a'], []]", ("aas", [["a"], []])),
    ("(1, 'x', true)", ("(isb)", (1, "x", True))),
    ("(1,)", ("(i)", (1,))), ("@(ut) (1, 2)", ("(ut)", (1, 2))), ("{'a': 1, 'b': 2}", ("a{si}", [("a", 1), ("b", 2)])),
    ("{'a': <1>}", ("a{sv}", [("a", ("i", 1))])), ("@a{sv} {}", ("a{sv}", [])), ("<'x'>", ("v", ("s", "x"))),
    ("[('/a', 'rw')]", ("a(ss)", [("/a", "rw")])),
], ids=lambda value: value if isinstance(value, str) else "")
def test_values_are_read(text, expected):
    assert expected == gvariant.parse(text)


@pytest.mark.parametrize("text", [
    "", " ", "tru", "5 6", "[1, 'a']", "[1", "[]", "{}", "()", "(1 2)", "'a", "'a\\", "{1 2}", "{[1]: 2}", "uint32 -1",
    "byte 256", "4294967296", "1x", "0x", "08", "--1", "1.2.3", "@", "@z 1", "@ii 1", "@s 5", "uint32 'a'", "<1",
    r"'\u12'", r"'\ud800'", "'a\\u0000'", "[" * 100, "@as [1]", "@(ii) (1,)", "@(ii) (1, 2, 3)", "nan nan",
], ids=repr)
def test_what_is_no_value_is_refused(text):
    with pytest.raises(ValueError, match=r".") as caught:
        gvariant.parse(text)

    assert "at character" in str(caught.value)


@settings(max_examples=times(500), deadline=None)
@given(st.text(st.sampled_from("[](){}<>@'\"\\ ,:0123456789abxsut.eE-+ uint64 true"), max_size=30))
def test_no_text_does_harm(text):
    try:
        gvariant.parse(text)
    except ValueError:
        pass


@settings(max_examples=times(200), deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\'"))))
def test_lists_of_strings_are_read_back(texts):
    assert ("as", texts) == gvariant.parse("@as [" + ", ".join(f"'{text}'" for text in texts) + "]")


def test_annotations_become_properties():
    found = annotations.properties({
        "org.systemd.property.TimeoutStopSec": "123456789", "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.RuntimeMaxUSec": "uint64 42",
        "org.systemd.property.Before": "['a.service']", "other": "x",
    })

    assert [("Before", "as", ["a.service"]), ("CollectMode", "s", "inactive-or-failed"), ("RuntimeMaxUSec", "t", 42),
            ("TimeoutStopUSec", "t", 123456789000000)] == found


@pytest.mark.parametrize(("text", "expected"), [("2.5", 2_500_000), ("uint32 3", 3_000_000), ("0", 0)])
def test_seconds_become_microseconds(text, expected):
    assert [("RestartUSec", "t", expected)] == annotations.properties({"org.systemd.property.RestartSec": text})


@pytest.mark.parametrize(("name", "text", "words"), [
    ("", "true", "no property's name"), ("Ab", "true", "no property's name"),
    ("Exec-Start", "true", "no property's name"),
    ("Éxec", "true", "no property's name"), ("TimeoutStopSec", "-1", "number of seconds"),
    ("TimeoutStopSec", "'5'", "number of seconds"),
    ("TimeoutStopSec", "uint64 18446744073709551615", "number of seconds"),
    ("TimeoutStopSec", "nan", "expected a value"), ("CollectMode", "inactive", "expected a value"),
])
def test_wrong_annotations_are_refused_by_name(name, text, words):
    with pytest.raises(SpecError, match=words) as caught:
        annotations.properties({f"org.systemd.property.{name}": text})

    assert caught.value.subject == f"annotations.org.systemd.property.{name}"
