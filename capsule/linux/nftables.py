"""Changes of nftables' sets, and of chains of comparisons, as messages to the kernel: all of a batch or nothing.

linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h. Numbers are in network byte order but for the header's.
A family is one of `FAMILIES`; keys, data and values are as the kernel compares them.
"""

from __future__ import annotations

import posix

from capsule._ext import rtnetlink
from capsule.linux.rtnetlink import acknowledgements, attribute, number_bytes

FAMILIES = {"inet": 1, "bridge": 7}

#: Bytes of a batch that we send, and elements in a message: an attribute has 16 bits for its length, and there is room
#: for 250 answers (net.core.rmem_default).
LONGEST = 15 << 20
_ELEMENTS = 600

_HEADER = 16
_BEGIN, _END, _SUBSYSTEM = 16, 17, 10
_NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE, _NEWSETELEM, _DELSETELEM = 3, 5, 6, 8, 12, 14
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED = 0x8000
_TABLE, _NAME, _BODY = 1, 2, 3  # NFTA_SET_ELEM_LIST_*; of NFTA_RULE_* and NFTA_CHAIN_* in their places below
_LIST_ELEM, _ELEM_KEY, _ELEM_DATA = 1, 1, 2
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 1, 2, 1, 2
_CHAIN_NAME, _RULE_CHAIN, _RULE_EXPRESSIONS = 3, 2, 4
_EXPR_NAME, _EXPR_DATA = 1, 2
_JUMP, _DROP = -3, 0
_REGISTER, _VERDICT_REGISTER, _TRANSPORT_HEADER, _NOT_EQUAL = 1, 0, 2, 1
_BUFFER = 1 << 16


class Batch:
    """Changes in the order in which they are to be made, elements of one set together; `Socket.commit` sends them.

    Names are texts without NUL.
    """

    __slots__ = ("messages", "_elements")

    def __init__(self) -> None:
        self.messages: list[tuple[int, int, int, bytes, list[bytes]]] = []  # type, flags, family, body, elements
        self._elements: dict[tuple[int, str, str, str], list[bytes]] = {}

    def add(self, family: str, table: str, name: str, key: bytes, data: bytes | None = None) -> None:
        """Add an element to a set, or a pair to a map. One that is there stays; with other data it is refused."""
        value = b"" if data is None else _nest(_ELEM_DATA, attribute(_DATA_VALUE, data))
        self._element(_NEWSETELEM, _CREATE, family, table, name, key, value)

    def add_jump(self, family: str, table: str, name: str, key: bytes, chain: str) -> None:
        """Add to a verdict map that a key's packets go through a chain."""
        code = attribute(_VERDICT_CODE, _big(_JUMP & 0xFFFFFFFF))
        verdict = _nest(_DATA_VERDICT, code + attribute(_VERDICT_CHAIN, _text(chain)))
        self._element(_NEWSETELEM, _CREATE, family, table, name, key, _nest(_ELEM_DATA, verdict))

    def delete(self, family: str, table: str, name: str, key: bytes) -> None:
        """Delete an element by its key; without it the batch is refused."""
        self._element(_DELSETELEM, 0, family, table, name, key, b"")

    def _element(self, kind: int, flags: int, family: str, table: str, name: str, key: bytes, data: bytes) -> None:
        place = (kind, family, table, name)
        row = self._elements.get(place)
        if row is None or len(row) == _ELEMENTS:
            row = self._elements[place] = []
            body = attribute(_TABLE, _text(table)) + attribute(_NAME, _text(name))
            self.messages.append((kind, flags, FAMILIES[family], body, row))
        row.append(_nest(_LIST_ELEM, _nest(_ELEM_KEY, attribute(_DATA_VALUE, key)) + data))

    def add_chain(self, family: str, table: str, name: str) -> None:
        """Add a chain without a hook; one that is there stays."""
        self.messages.append((_NEWCHAIN, _CREATE, FAMILIES[family], _chain(table, name), []))

    def flush_chain(self, family: str, table: str, name: str) -> None:
        """Delete every rule of a chain."""
        body = attribute(_TABLE, _text(table)) + attribute(_RULE_CHAIN, _text(name))
        self.messages.append((_DELRULE, 0, FAMILIES[family], body, []))

    def delete_chain(self, family: str, table: str, name: str) -> None:
        """Delete a chain without rules that nothing names."""
        self.messages.append((_DELCHAIN, 0, FAMILIES[family], _chain(table, name), []))

    def drop_other(self, family: str, table: str, chain: str, offset: int, values: list[bytes]) -> None:
        """Append a rule that drops what has none of some values (of one size) at an offset of its transport header."""
        rule = b""
        for value in values:
            place = [(1, _REGISTER), (2, _TRANSPORT_HEADER), (3, offset), (4, len(value))]
            rule += _expression("payload", b"".join([attribute(kind, _big(number)) for kind, number in place]))
            rule += _expression("cmp", attribute(1, _big(_REGISTER)) + attribute(2, _big(_NOT_EQUAL))
                                + _nest(3, attribute(_DATA_VALUE, value)))
        verdict = _nest(_DATA_VERDICT, attribute(_VERDICT_CODE, _big(_DROP)))
        rule += _expression("immediate", attribute(1, _big(_VERDICT_REGISTER)) + _nest(2, verdict))
        body = attribute(_TABLE, _text(table)) + attribute(_RULE_CHAIN, _text(chain))
        body += _nest(_RULE_EXPRESSIONS, rule)
        self.messages.append((_NEWRULE, _CREATE | _APPEND, FAMILIES[family], body, []))

    def encode(self) -> bytes:
        """Return the whole as one datagram."""
        whole = [_message(_BEGIN, 0, 0, 0, _SUBSYSTEM, b"")]
        for number, (kind, flags, family, body, elements) in enumerate(self.messages, 1):
            if elements:
                body += _nest(_BODY, b"".join(elements))
            whole.append(_message(_SUBSYSTEM << 8 | kind, flags | _ACK, number, family, 0, body))
        whole.append(_message(_END, 0, len(whole), 0, _SUBSYSTEM, b""))
        return b"".join(whole)


class Socket:
    """A conversation with nftables (and conntrack) of this network namespace. Raises OSError.

    Closing one waits for the kernel's grace period while something that was deleted is still being freed, whoever
    deleted it: about 12 ms.
    """

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = rtnetlink.open(-1, rtnetlink.NETLINK_NETFILTER)
        # The kernel has done everything when a write returns, and its answers wait: what is missing does not come.
        posix.set_blocking(self.fd, False)

    def close(self) -> None:
        posix.close(self.fd)

    def commit(self, batch: Batch) -> None:
        """Carry out a batch, all of it or nothing. Raises the OSError of its first change that is refused."""
        data = batch.encode()
        if len(data) > LONGEST:
            raise OSError(90, "commit nftables batch: it is too long")
        posix.write(self.fd, data)
        accepted = 0
        first: OSError | None = None
        while True:
            try:
                data = posix.read(self.fd, _BUFFER)
            except BlockingIOError:
                break
            for _, error in acknowledgements(data):
                accepted += error is None
                first = first or error
        if first is not None:
            raise first
        if accepted != len(batch.messages):
            raise OSError(74, "commit nftables batch: an answer is missing")


def _message(kind: int, flags: int, number: int, family: int, resource: int, body: bytes) -> bytes:
    head = number_bytes(_HEADER + 4 + len(body), 4) + number_bytes(kind, 2) + number_bytes(_REQUEST | flags, 2)
    head += number_bytes(number, 4) + number_bytes(0, 4)
    return head + bytes((family, 0)) + resource.to_bytes(2, "big") + body  # struct nfgenmsg


def _chain(table: str, name: str) -> bytes:
    return attribute(_TABLE, _text(table)) + attribute(_CHAIN_NAME, _text(name))


def _expression(name: str, data: bytes) -> bytes:
    return _nest(_LIST_ELEM, attribute(_EXPR_NAME, _text(name)) + _nest(_EXPR_DATA, data))


def _nest(kind: int, inner: bytes) -> bytes:
    return attribute(kind | _NESTED, inner)


def _big(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _text(text: str) -> bytes:
    return text.encode() + b"\0"
