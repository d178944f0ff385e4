"""Batches for nftables: their frame, and how the kernel's answers are read."""

from __future__ import annotations

import socket
import struct

import pytest

from capsule.linux import nftables
from capsule.linux.nftables import Batch, Socket


def messages(data: bytes) -> list[tuple[int, int, int, int, int, bytes]]:
    """Split a batch into (type, flags, sequence number, family, resource, attributes)."""
    found = []
    while data:
        size, kind, flags, number, port = struct.unpack_from("=IHHII", data)
        family, version, resource = struct.unpack_from("!BBH", data, 16)
        assert (size % 4, port, version) == (0, 0, 0)
        found.append((kind, flags, number, family, resource, data[20:size]))
        data = data[size:]
    return found


def test_a_batch_begins_and_ends_and_asks_for_an_answer_to_each_change():
    batch = Batch()
    batch.add("bridge", "capsule", "ends", b"veth0".ljust(16, b"\0"))
    batch.delete("inet", "capsule", "bridges", b"br0".ljust(16, b"\0"))
    begin, add, delete, end = messages(batch.encode())
    assert (begin[0], begin[4], end[0], end[4]) == (16, 10, 17, 10)
    assert (add[0], add[1], add[2], add[3]) == (10 << 8 | 12, 0x1 | 0x4 | 0x400, 1, 7)
    assert (delete[0], delete[1], delete[2], delete[3]) == (10 << 8 | 14, 0x1 | 0x4, 2, 1)
    assert add[5] == (struct.pack("=HH", 12, 1) + b"capsule\0" + struct.pack("=HH", 9, 2) + b"ends\0\0\0\0"
                      + struct.pack("=HHHHHHHH", 32, 0x8003, 28, 0x8001, 24, 0x8001, 20, 1) + b"veth0".ljust(16, b"\0"))


class Kernel:
    """The other end of a socket: what it answers is there before it is asked."""

    def __init__(self, *answers: bytes) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for answer in answers:
            there.send(answer)
        there.setblocking(False)
        here.setblocking(False)
        self.there = there
        self.asked = Socket.__new__(Socket)
        self.asked.fd = here.detach()

    def commit(self, batch: Batch) -> None:
        try:
            self.asked.commit(batch)
        finally:
            self.asked.close()
            self.there.close()


def answer(number: int, error: int) -> bytes:
    return struct.pack("=IHHIIi16s", 36, 2, 0x100, number, 0, -error, b"\0" * 16)


def two() -> Batch:
    batch = Batch()
    batch.add("bridge", "capsule", "ends", b"a" * 16)
    batch.add("bridge", "capsule", "alone", b"a" * 16)
    return batch


@pytest.mark.parametrize(("answers", "errno"), [
    ((answer(1, 0) + answer(2, 0),), 0), ((answer(1, 0), answer(2, 0)), 0),
    ((answer(1, 0), answer(2, 16)), 16), ((answer(0, 1),), 1), ((answer(1, 2) + answer(2, 17),), 2),
    ((answer(1, 0),), 74), ((), 74), ((answer(1, 0)[:20],), 74),
])
def test_what_the_kernel_answers(answers, errno):
    """Nothing but as many acknowledgements as there are changes is a success."""
    kernel = Kernel(*answers)
    if not errno:
        kernel.commit(two())
        return
    with pytest.raises(OSError) as caught:
        kernel.commit(two())
    assert caught.value.errno == errno


def test_elements_of_a_set_share_messages():
    batch = Batch()
    for number in range(1000):
        batch.add("inet", "capsule", "one", number.to_bytes(16, "big"))
        batch.add("inet", "capsule", "two", number.to_bytes(16, "big"))
    found = messages(batch.encode())[1:-1]
    assert [(kind, number, len(body)) for kind, _, number, _, _, body in found] == [
        (10 << 8 | 12, 1, 16800 + 24), (10 << 8 | 12, 2, 16800 + 24), (10 << 8 | 12, 3, 11200 + 24),
        (10 << 8 | 12, 4, 11200 + 24)]


def test_what_is_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr(nftables, "LONGEST", len(two().encode()) - 1)
    kernel = Kernel(answer(1, 0) + answer(2, 0))
    with pytest.raises(OSError) as caught:
        kernel.commit(two())
    assert caught.value.errno == 90
