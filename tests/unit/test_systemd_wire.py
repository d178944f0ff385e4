"""D-Bus marshalling: what is written is read back; nothing that another process sends is believed."""

from __future__ import annotations

import pytest
from helpers.budget import times
from hypothesis import given, settings, strategies as st

from capsule.cgroups.systemd import message, wire
from capsule.cgroups.systemd.wire import WireError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
BASIC = {
    "y": st.integers(0, 255), "b": st.booleans(), "n": st.integers(-(2**15), 2**15 - 1), "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1), "u": st.integers(0, 2**32 - 1), "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1), "d": st.floats(allow_nan=False), "s": TEXT, "o": TEXT,
    "g": st.sampled_from(["", "s", "a{sv}", "(iai)"]),
}
KINDS = st.recursive(
    st.sampled_from([*BASIC, "v"]),
    lambda inner: st.one_of(
        inner.map("a{}".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda kinds: f"({''.join(kinds)})"),
        st.tuples(st.sampled_from(sorted(BASIC)), inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}"),
    ),
    max_leaves=5,
)


def values_of(kind: str) -> st.SearchStrategy:
    if kind in BASIC:
        return BASIC[kind]
    if kind == "v":
        inner = st.sampled_from(["s", "u", "as", "(tb)"])
        return inner.flatmap(lambda kind: st.tuples(st.just(kind), values_of(kind)))
    if kind == "ay":
        return st.binary(max_size=9)
    if kind[0] == "a":
        return st.lists(values_of(kind[1:]), max_size=3)
    return st.tuples(*map(values_of, wire.split(kind[1:-1])))


TYPED = st.lists(KINDS, max_size=3).flatmap(
    lambda kinds: st.tuples(st.just("".join(kinds)), st.tuples(*map(values_of, kinds))))


@settings(max_examples=times(300), deadline=None)
@given(TYPED)
def test_what_is_written_is_read_back(typed):
    signature, values = typed
    assert list(values) == wire.unmarshal(signature, wire.marshal(signature, values))


@settings(max_examples=times(150), deadline=None)
@given(TYPED, st.data())
def test_what_is_cut_short_is_refused(typed, data):
    signature, values = typed
    whole = wire.marshal(signature, values)
    if whole:
        with pytest.raises(WireError):
            wire.unmarshal(signature, whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(max_examples=times(150), deadline=None)
@given(TYPED, st.binary(min_size=1, max_size=9))
def test_what_follows_the_last_value_is_refused(typed, more):
    signature, values = typed
    with pytest.raises(WireError):
        wire.unmarshal(signature, wire.marshal(signature, values) + more)


@settings(max_examples=times(500), deadline=None)
@given(st.text(st.sampled_from("ybuxtdsogva(){}z"), max_size=12), st.binary(max_size=60),
       st.sampled_from(["little", "big"]))
def test_no_bytes_do_harm(signature, data, order):
    """Whatever arrives is values or a WireError, no other error."""
    try:
        wire.unmarshal(signature, data, order)
    except WireError:
        pass


@settings(max_examples=times(500), deadline=None)
@given(st.integers(0, 200), st.integers(0, 255), st.data())
def test_a_damaged_message_does_no_harm(place, value, data):
    whole = bytearray(message.encode_call(7, "org.x", "/a", "org.x.Y", "Z", "sa(sv)", ["n", [("k", ("au", [1, 2]))]]))
    whole[place % len(whole)] = value
    cut = data.draw(st.integers(0, len(whole)))
    for candidate in (bytes(whole), bytes(whole[:cut])):
        try:
            message.decode(candidate)
        except WireError:
            pass


def test_a_call_is_read_back():
    found = message.decode(message.encode_call(3, "org.x", "/a/b", "org.x.Y", "Do", "su", ("text", 5)))

    assert (message.CALL, 3, "/a/b", "org.x.Y", "Do", ["text", 5]) == (
        found.kind, found.serial, found.path, found.interface, found.member, found.body)


@pytest.mark.parametrize("signature", ["a", "(", "()", "(i", "a{sv", "{sv}", "a{vs}", "a{s}", "a{sii}", "z", "i)",
                                       "a" * 40 + "i", "(" * 40 + "i" + ")" * 40, "i" * 256], ids=repr)
def test_what_is_no_signature_is_refused(signature):
    with pytest.raises(WireError):
        wire.split(signature)


@pytest.mark.parametrize(("kind", "value"), [("y", 256), ("n", -40000), ("u", -1), ("t", 1 << 64), ("s", "a\0b"),
                                             ("s", 5), ("s", "\ud800"), ("u", "5"), ("(ii)", (1,)), ("v", ("ii", 1))])
def test_a_value_that_its_type_does_not_permit_is_refused(kind, value):
    with pytest.raises(WireError):
        wire.marshal(kind, [value])


@pytest.mark.parametrize(("signature", "data"), [
    ("as", b"\xff\xff\xff\xff" + bytes(8)),  # an array longer than anything may be
    ("as", b"\x20\0\0\0" + bytes(8)),  # longer than what is there
    ("s", b"\xff\xff\xff\xff"), ("s", b"\1\0\0\0ab"), ("s", b"\3\0\0\0a\0b\0"), ("s", b"\1\0\0\0\xff\0"),
    ("g", b"\1z\0"), ("v", b"\2ii\0"), ("b", b"\2\0\0\0"), ("yu", b"\1\1\0\0\5\0\0\0"),
    ("a(yy)", b"\3\0\0\0\0\0\0\0\1\2\0\0\0\0\0\0"),  # ends within an element
], ids=repr)
def test_lengths_and_values_that_lie_are_refused(signature, data):
    with pytest.raises(WireError):
        wire.unmarshal(signature, data)


def test_variants_do_not_nest_without_end():
    data = b"\1v\0" * 200 + b"\1y\0\5"

    with pytest.raises(WireError, match="deep"):
        wire.unmarshal("v", data)


def test_a_message_longer_than_sixteen_mebibytes_is_refused_by_its_head():
    head = b"l\2\0\1" + (1 << 25).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4)

    with pytest.raises(WireError, match="bytes"):
        message.size_of(head)
