"""The JSON extension: strictness, exactness, places of errors; Python's json is the witness for the rest."""

from __future__ import annotations

import json

import pytest
from helpers.budget import times
from hypothesis import given, settings, strategies as st

from capsule._ext.json import JSONError, dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=20), st.dictionaries(TEXT, inner, max_size=20)),
    max_leaves=60,
)


@settings(max_examples=times(200), deadline=None)
@given(TREES, st.integers(0, 4))
def test_what_is_written_is_read_back(tree: object, indent: int) -> None:
    data = dumps(tree, indent=indent)
    assert data.isascii()
    assert loads(data) == tree
    assert json.loads(data) == tree


@settings(max_examples=times(200), deadline=None)
@given(TREES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_documents_of_another_writer_are_read(tree: object, ascii_only: bool, indent: object) -> None:
    assert loads(json.dumps(tree, ensure_ascii=ascii_only, indent=indent).encode()) == tree


@settings(max_examples=times(500), deadline=None)
@given(st.text(st.sampled_from('{}[]",:\\u0d8e1-+.eE tfnulras\n')).map(str.encode))
def test_nothing_is_accepted_that_another_reader_refuses(data: bytes) -> None:
    try:
        tree = loads(data)
    except JSONError as err:
        assert 0 <= err.offset <= len(data)
        assert "\n" not in str(err)
        return
    assert json.loads(data) == tree


@pytest.mark.parametrize(("data", "tree"), [
    (b"0", 0), (b"-0", 0), (b"18446744073709551615", 2**64 - 1), (b"-9223372036854775808", -(2**63)),
    (b"18446744073709551616", 2.0**64), (b"-9223372036854775809", -(2.0**63)), (b"1.0", 1.0), (b"1e2", 100.0),
    (b" \t\r\n[ ] ", []), (b'"\\ud83d\\ude00\\u00e9\\/"', "\U0001f600é/"), (b'"\xf0\x9f\x98\x80"', "\U0001f600"),
    (b'{"":{"":1}}', {"": {"": 1}}),
])
def test_values_are_exact(data: bytes, tree: object) -> None:
    value = loads(data)
    assert value == tree
    assert type(value) is type(tree)


ERRORS = [
    (b"", 0, "", "the document is empty"),
    (b"\xef\xbb\xbf{}", 0, "", "the document begins with a byte order mark; save it as plain UTF-8"),
    (b"\xff\xfe{\0", 0, "", "expected a value"),
    (b"{}x", 2, "", "data after the end of the document"),
    (b"[1 2]", 3, "", "expected a comma or a closing bracket"),
    (b"[1,]", 3, "[1]", "expected a value"),
    (b"[,1]", 1, "[0]", "expected a value"),
    (b'{"a":1,}', 7, "", "expected a key in double quotes"),
    (b'{"a":1 "b":2}', 7, "", "expected a comma or a closing brace"),
    (b'{"a" 1}', 5, "", "expected a colon after a key"),
    (b"{'a':1}", 1, "", "expected a key in double quotes"),
    (b"// x\n1", 0, "", "expected a value"),
    (b"[NaN]", 1, "[0]", "expected a value"),
    (b"[-Infinity]", 2, "[0]", "invalid number"),
    (b"[1e999]", 1, "", "number out of range: 1e999"),
    (b"[+1]", 1, "[0]", "expected a value"),
    (b"[01]", 1, "[0]", "invalid number: a leading zero"),
    (b"[-01]", 2, "[0]", "invalid number: a leading zero"),
    (b"[1.]", 3, "[0]", "invalid number: no digit after the point"),
    (b"[1e+]", 4, "[0]", "invalid number: no digit in the exponent"),
    (b"tru", 0, "", "expected a value"),
    (b"truex", 4, "", "data after the end of the document"),
    (b'["a', 3, "[0]", "unexpected end of the document"),
    (b'["a\nb"]', 3, "[0]", "control character in a string"),
    (b'["a\0b"]', 3, "[0]", "NUL in a string"),
    (b'["\\u0000"]', 2, "[0]", "NUL in a string"),
    (b'["\\ud800"]', 2, "[0]", "lone surrogate in a string"),
    (b'["\\udc00\\ud800"]', 2, "[0]", "lone surrogate in a string"),
    (b'["\\ud800\\u0041"]', 2, "[0]", "lone surrogate in a string"),
    (b'["\\u12g4"]', 2, "[0]", "invalid \\u escape in a string"),
    (b'["\\u', 2, "[0]", "invalid \\u escape in a string"),
    (b'["\\q"]', 2, "[0]", "invalid escape in a string"),
    (b'["\\', 2, "[0]", "invalid escape in a string"),
    (b'["\xc0\x80"]', 2, "[0]", "invalid UTF-8 in a string"),
    (b'["\xed\xa0\x80"]', 2, "[0]", "invalid UTF-8 in a string"),
    (b'["\xf4\x90\x80\x80"]', 2, "[0]", "invalid UTF-8 in a string"),
    (b'["\xe2\x82"]', 2, "[0]", "invalid UTF-8 in a string"),
    (b'{"a":[{"b":1,"c":[0,{"d e":x}]}]}', 27, 'a[0].c[1]["d e"]', "expected a value"),
    (b'{"a":1,"b":2,"a":3}', 13, "", 'duplicate key "a"'),
    (b'{"a":1,"\\u0061":3}', 7, "", 'duplicate key "a"'),
    (b'{"x":[{"k\\n":1,"k\\n":1}]}', 15, "x[0]", 'duplicate key "k?"'),
]


@pytest.mark.parametrize(("data", "offset", "path", "message"), ERRORS)
def test_errors_name_their_place(data: bytes, offset: int, path: str, message: str) -> None:
    with pytest.raises(JSONError) as caught:
        loads(data)
    assert (caught.value.offset, caught.value.path, caught.value.message) == (offset, path, message)


def test_lines_and_columns_count_from_one() -> None:
    with pytest.raises(JSONError, match="^expected a value at line 3, column 6$"):
        loads(b'{\n"a":1,\n"b": x}')


@pytest.mark.parametrize("count", [2, 12, 13, 1000])
def test_duplicates_are_found_among_any_number_of_keys(count: int) -> None:
    keys = [f"key{n}" for n in range(count)]
    members = ",".join(f'"{key}":{{"x":[{n}]}}' for n, key in enumerate([*keys, keys[count // 2]]))
    text = f"{{{members}}}".encode()
    with pytest.raises(JSONError) as caught:
        loads(text)
    assert caught.value.message == f'duplicate key "{keys[count // 2]}"'
    assert caught.value.offset == text.rindex(f'"{keys[count // 2]}"'.encode())


def test_depth_is_bounded() -> None:
    assert loads(b"[" * 64 + b"]" * 64)
    with pytest.raises(JSONError, match="^nested deeper than 64 levels at line 1, column 65$"):
        loads(b"[" * 65 + b"]" * 65)
    for text in (b"[" * 100000, b'{"a":' * 100000, b"[" * 10000 + b"]" * 10000):
        with pytest.raises(JSONError, match="nested deeper than 64 levels"):
            loads(text)
    assert loads(b"[" * 300 + b"]" * 300, max_depth=400)
    with pytest.raises(JSONError, match="nested deeper than 512 levels"):
        loads(b"[" * 600, max_depth=100000)


def test_a_path_too_long_to_print_is_cut() -> None:
    with pytest.raises(JSONError) as caught:
        loads(b'{"a":{"' + "é".encode() * 200 + b'":x}}')
    assert caught.value.path == "a..."
    with pytest.raises(JSONError) as caught:
        loads(b'{"abcdefgh":' * 60 + b"x")
    assert caught.value.path.startswith("abcdefgh.abcdefgh.")
    assert caught.value.path.endswith("...")


def test_bytes_are_embedded_as_they_are() -> None:
    assert dumps({"a": b'{"x": 1}', "b": [b"null"]}) == b'{"a":{"x": 1},"b":[null]}'


def test_the_layout_of_the_writer() -> None:
    tree = {"b": [1, -2, True, False, None, 1.5], "a": {}, "c": [], "d": {"e": "é\x7f\b\"\\"}, "t": (1,)}
    assert dumps(tree) == (
        b'{"b":[1,-2,true,false,null,1.5],"a":{},"c":[],"d":{"e":"\\u00e9\\u007f\\b\\"\\\\"},"t":[1]}')
    assert dumps({"a": [1, {}], "b": {"c": 2}}, indent=2) == (
        b'{\n  "a": [\n    1,\n    {}\n  ],\n  "b": {\n    "c": 2\n  }\n}')


@pytest.mark.parametrize(("tree", "message"), [
    (float("nan"), "JSON has no nan"), (float("-inf"), "JSON has no -inf"), (2**64, "integer beyond 64 bits"),
    (-(2**63) - 1, "integer beyond 64 bits"), ({1: 2}, "a key is int, not a string"), ("\ud800", "lone surrogate"),
    ({"\udcff": 1}, "lone surrogate"), ([{1, 2}], "JSON has no set"),
])
def test_what_json_cannot_hold_is_refused(tree: object, message: str) -> None:
    with pytest.raises(JSONError, match=f"^{message}"):
        dumps(tree)


def test_a_tree_that_holds_itself_is_refused() -> None:
    tree: list = []
    tree.append(tree)
    with pytest.raises(JSONError, match="nested too deeply"):
        dumps(tree)


def test_only_bytes_are_read() -> None:
    for value in ("{}", None, bytearray(b"{}")):
        with pytest.raises(TypeError):
            loads(value)  # type: ignore[arg-type]
