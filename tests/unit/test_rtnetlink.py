"""Messages of the kernel's links and addresses, as bytes."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from capsule.linux import rtnetlink


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    size = 16 + len(body)
    return struct.pack("=IHHII", size, kind, flags, 1, 0) + body + b"\0" * (-size % 4)


def error(number: int, words: str = "") -> bytes:
    repeated = struct.pack("=IHHII", 32, 19, 5, 1, 0)
    tail = rtnetlink.attribute(1, words.encode() + b"\0") if words else b""
    return message(2, struct.pack("=i", number) + repeated + tail, 0x200 if words else 0)


def test_a_dump_goes_on_until_its_end():
    found: list[bytes] = []
    assert not rtnetlink.collect(message(16, b"one") + message(16, b"second"), found)
    assert rtnetlink.collect(message(16, b"third") + message(3, b"\0\0\0\0"), found)
    assert found == [b"one", b"second", b"third"]


def test_an_acknowledgement_is_an_end_without_a_body():
    found: list[bytes] = []
    assert rtnetlink.collect(error(0), found)
    assert found == []


@pytest.mark.parametrize(("words", "text"), [("The interface is immutable", "The interface is immutable"),
                                             ("", os.strerror(errno.EINVAL).lower())])
def test_a_refusal_has_the_kernels_words(words, text):
    with pytest.raises(OSError, match=text) as caught:
        rtnetlink.collect(error(-errno.EINVAL, words), [])
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("data", [message(16, b"body")[:-2], struct.pack("=IHHII", 3, 16, 0, 1, 0)])
def test_a_message_that_is_cut_short_is_an_error(data):
    with pytest.raises(OSError, match="cut short"):
        rtnetlink.collect(data, [])


def test_a_link_has_all_its_names():
    alternative = rtnetlink.attribute(53, b"second\0") + rtnetlink.attribute(53, b"third\0")
    body = rtnetlink.link_body(7, 0x1009, 0) + rtnetlink.attribute(52 | 0x8000, alternative)
    link = rtnetlink.parse_link(body + rtnetlink.attribute(3, b"eth0\0"))
    assert (link.index, link.names, link.flags) == (7, ["eth0", "second", "third"], 0x1009)


def test_the_long_flags_of_an_address_count():
    body = bytes((2, 24, 0x80, 0)) + struct.pack("=I", 7) + rtnetlink.attribute(8, struct.pack("=I", 0x280))
    address = rtnetlink.parse_address(body + rtnetlink.attribute(2, b"\x0a\0\0\1"))
    assert (address.family, address.prefix, address.flags, address.scope) == (2, 24, 0x280, 0)
    assert (2, b"\x0a\0\0\1") in address.attributes


@pytest.mark.parametrize("data", [b"", b"\1\0", b"\0\0\1\0rest", b"\3\0\1\0rest"])
def test_attributes_that_are_none_end_the_row(data):
    assert rtnetlink.attributes(data) == []


def test_nobody_answers_in_the_kernels_place():
    """Root of a network namespace may send to any netlink socket of it."""
    ours = rtnetlink.Socket()
    try:
        with socket.socket(fileno=os.dup(ours.fd)) as named:
            address = named.getsockname()
        with (socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other,
              pytest.raises((ConnectionRefusedError, PermissionError))):
            other.sendto(message(16, b"forged"), address)
        assert "lo" in [name for link in ours.links() for name in link.names]
    finally:
        ours.close()


def test_requests_are_answered_one_by_one_and_the_first_refusal_counts():
    data = error(0) + error(-errno.EEXIST) + error(-errno.ENODEV, "no such link")
    found = rtnetlink.acknowledgements(data)
    assert [number for number, _ in found] == [1, 1, 1]
    assert [refusal and refusal.errno for _, refusal in found] == [None, errno.EEXIST, errno.ENODEV]
    assert found[2][1].strerror == "no such link"


@pytest.mark.parametrize("data", [error(0)[:-2], struct.pack("=IHHII", 3, 2, 0, 1, 0)])
def test_an_acknowledgement_that_is_cut_short_is_an_error(data):
    with pytest.raises(OSError, match="cut short"):
        rtnetlink.acknowledgements(data)


def test_a_link_tells_what_it_is():
    info = rtnetlink.attribute(1, b"veth\0")
    body = rtnetlink.link_body(7, 0, 0) + rtnetlink.attribute(3, b"v0\0") + rtnetlink.attribute(1, b"\2\0\0\0\0\7")
    body += rtnetlink.attribute(18, info) + rtnetlink.attribute(10, struct.pack("=I", 4))
    body += rtnetlink.attribute(4, struct.pack("=I", 1400)) + rtnetlink.attribute(20, b"x\0")
    link = rtnetlink.parse_link(body)
    assert (link.kind, link.address, link.master, link.mtu, link.alias) == ("veth", b"\2\0\0\0\0\7", 4, 1400, "x")
