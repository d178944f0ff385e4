"""The sync channel's words: one table in C, one in Python, one in the docs; the error record's round trip."""

from __future__ import annotations

import os
import re

import pytest

from capsule import errors
from capsule._ext import fdpass
from capsule.protocol import messages

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path: str) -> str:
    with open(os.path.join(REPO, path), encoding="utf-8") as file:
        return file.read()


def test_c_and_python_agree_on_every_number():
    in_c = {name: int(number) for name, number in re.findall(r"CAPSULE_MSG_(\w+) = (\d+)", read("csrc/messages.h"))}

    assert in_c == {name: getattr(messages, name) for name in messages.NAMES if name}
    assert all(messages.NAMES[number] == name for name, number in in_c.items())


def test_every_message_has_a_row_in_the_bootstrap_page():
    page = read("docs/bootstrap.md")

    assert [name for name in messages.NAMES if name and name != "EXITED" and f"| {name} |" not in page] == []


@pytest.fixture
def pair():
    ends = fdpass.seqpacket_pair()
    yield ends
    for end in ends:
        os.close(end)


def test_a_message_arrives_with_its_descriptor(pair):
    messages.send(pair[0], messages.CONSOLE, b"payload", [0])

    kind, payload, fds = messages.receive(pair[1])

    assert (kind, payload) == (messages.CONSOLE, b"payload")
    assert os.fstat(fds[0]).st_ino == os.fstat(0).st_ino
    assert not os.get_inheritable(fds[0])
    os.close(fds[0])


@pytest.mark.parametrize("data", [b"x", b"\x07\0\0\0", b"\x07\0\0\0\x05\0\0\0abc", b"\x07\0\0\0\x01\0\0\0abc"])
def test_a_message_that_disagrees_with_its_header_is_refused(pair, data):
    fdpass.send(pair[0], data)

    with pytest.raises(OSError, match="disagree"):
        messages.receive(pair[1])


def test_the_other_sides_death_is_message_zero():
    ours, theirs = fdpass.seqpacket_pair()
    os.close(theirs)
    try:
        assert messages.receive(ours) == (0, b"", [])
        with pytest.raises(BrokenPipeError):
            messages.send(ours, messages.ACK)
    finally:
        os.close(ours)


@pytest.mark.parametrize("error", [
    errors.MountError("mount proc on", "/proc", errno=1),
    errors.HookError("error running", "createContainer hook #2", "exit status 3"),
    errors.Unsupported("mount", "/x", "idmap mounts"),
])
def test_an_error_keeps_its_class_and_words_on_the_way_to_the_parent(error):
    back = messages.decode_failure(messages.encode_failure(error))

    assert (type(back), str(back), back.errno) == (type(error), str(error), error.errno)


def test_an_oserror_names_operation_and_path():
    back = messages.decode_failure(messages.encode_failure(OSError(13, "openat2: permission denied", "/x")))

    assert (type(back), str(back)) == (errors.KernelError, "openat2 /x: permission denied")


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\0", b"\0\0\0\0a\0b", b"\0\0\0\0SystemExit\0a\0b\0c"])
def test_a_malformed_record_is_still_an_error_of_ours(payload):
    assert isinstance(messages.decode_failure(payload), errors.CapsuleError)


@pytest.mark.row(157)
@pytest.mark.parametrize(("said", "kept"), [
    ("one\ntwo\n", "one\ntwo\n"), ("a\0b", "a?b"), ("x" * 200_000 + "end", "x" * 1000 + "end"),
    ("\u00e4" * 60_000, "\u00e4" * 1000)])
def test_what_a_hook_said_reaches_the_parent_as_far_as_a_message_holds_it(said, kept):
    error = errors.HookError("error running", "createContainer hook #2", "exit status 3")
    error.details["hook_output"] = said
    payload = messages.encode_failure(error)
    assert len(payload) + 8 <= messages.MAX_SIZE
    back = messages.decode_failure(payload)
    assert str(back) == str(error)
    assert back.details["hook_output"].endswith(kept)
