"""Records between library and launcher: they survive the trip, and nothing but a record is taken for one."""

import os

import pytest
from hypothesis import given, strategies as st

from capsule import errors
from capsule._ext import fdpass
from capsule.protocol import request


@pytest.fixture
def pair():
    """Both ends of a connected socket."""
    ends = fdpass.seqpacket_pair()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 10, request.INLINE_MAX - 20, request.INLINE_MAX, 5_000_000])
def test_a_record_of_any_size_survives_the_trip(pair, size):
    document = {"text": "ä" + "x" * size, "number": 2**53, "nested": [None, True, {"a": []}]}
    request.send(pair[0], document)

    assert request.receive(pair[1]) == document


def test_receiving_leaves_no_descriptor_open(pair):
    request.send(pair[0], {"text": "x" * 100_000})
    before = set(os.listdir("/proc/self/fd"))
    request.receive(pair[1])

    assert set(os.listdir("/proc/self/fd")) == before


def test_end_of_file_is_none():
    ours, theirs = fdpass.seqpacket_pair()
    os.close(ours)

    assert request.receive(theirs) is None
    os.close(theirs)


def test_what_is_too_large_is_refused_before_it_is_sent(pair, monkeypatch):
    monkeypatch.setattr(request, "SIZE_MAX", 100)
    with pytest.raises(errors.CapsuleError, match="more than 100"):
        request.send(pair[0], {"text": "x" * 100})


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"CAPSULEX" + bytes(16),
        request.header(2, 0) + b"{}x",
        request.header(3, 0) + b"{}",
        request.header(2, 1) + b"{}",
        request.header(2, 2) + b"{}",
        request.header(request.SIZE_MAX + 1, 0) + b"{}",
        request.header(2, 0) + b"[]",
        request.header(2, 0) + b"{x",
        request.header(2, 0)[:8] + b"\xff\xff\xff\xff" + request.header(2, 0)[12:] + b"{}",
    ],
)
def test_a_message_that_is_no_record_is_refused(pair, data):
    os.write(pair[0], data)
    with pytest.raises(request.BadRecord):
        request.receive(pair[1])


def test_a_body_of_another_size_than_announced_is_refused(pair, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"{}")
    with body.open("rb") as file:
        fdpass.send(pair[0], request.header(70_000, 1), (file.fileno(),))
    with pytest.raises(request.BadRecord):
        request.receive(pair[1])


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(data):
    try:
        request.read_header(data)
        request.decode(data[request.HEADER_SIZE :])
    except request.BadRecord:
        pass


@pytest.mark.parametrize("name", [name for name in dir(errors) if name[0].isupper()])
def test_every_error_arrives_as_what_it_was(name):
    found = getattr(errors, name)
    err = found.__new__(found)
    errors.CapsuleError.__init__(err, "mount", "proc", "not permitted")
    err.errno = 1
    err.stage, err.step, err.index = "S2", "rootfs", 3

    arrived = request.error_from(request.error_fields(err))

    assert type(arrived) is found
    assert str(arrived) == "mount proc: not permitted"
    assert (arrived.errno, arrived.stage, arrived.step, arrived.index) == (1, "S2", "rootfs", 3)


def test_a_private_error_class_arrives_as_its_public_base():
    class Private(errors.ChildError):
        step = "execve"

    arrived = request.error_from(request.error_fields(Private("x")))

    assert type(arrived) is errors.ChildError
    assert arrived.step == "execve"


def test_an_internal_error_arrives_as_one_line():
    assert str(request.error_from(request.error_fields(ValueError("odd")))) == "internal error ValueError: odd"


@pytest.mark.parametrize("fields", [None, {}, {"class": "NotFound", "operation": 1}, {"class": "posix", "errno": "x"}])
def test_what_is_no_error_is_refused(fields):
    with pytest.raises(request.BadRecord):
        request.error_from(fields)


def test_an_error_class_is_never_looked_up_outside_the_tree():
    fields = {"class": "posix", "operation": "x", "subject": "", "cause": "", "errno": 0}

    assert type(request.error_from(fields)) is errors.CapsuleError
