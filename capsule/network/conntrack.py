"""Make the kernel forget connections: nf_conntrack's entries of an address that has gone, of a port published anew.

An entry outlives the rule that made it. A UDP flow would go on to where it went before a port was published, and a
container that gets an address again would get another's datagrams. linux/netfilter/nfnetlink_conntrack.h; the filter
of a deletion is Linux 5.8's (CTA_FILTER).
"""

from __future__ import annotations

import errno
import posix
import sys

from capsule.errors import NetworkError
from capsule.linux.nftables import Socket
from capsule.linux.rtnetlink import attribute, collect

_DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_REQUEST_ACK = 0x1 | 0x4
_ORIG, _REPLY, _FILTER = 1, 2, 25  # CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_FILTER
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC = {4: 1, 6: 3}  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
_IP_DST = {4: 2, 6: 4}
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
# CTA_FILTER_F_CTA_* (net/netfilter/nf_internals.h)
_BY_SRC, _BY_DST, _BY_PROTO, _BY_DST_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 5
_AF = {4: 2, 6: 10}
_IPPROTO_UDP = 17
_NESTED = 0x8000


def forget_address(socket: Socket, family: int, address: bytes) -> None:
    """Forget every connection from or to an address in network byte order. Raises NetworkError."""
    source = _nest(_TUPLE_IP, attribute(_IP_SRC[family], address))
    _forget(socket, [(_AF[family], direction, source, _BY_SRC) for direction in (_ORIG, _REPLY)])


def forget_udp_port(socket: Socket, family: int, address: bytes, port: int) -> None:
    """Forget every UDP flow that was begun to a port of an address in network byte order. Raises NetworkError."""
    proto = attribute(_PROTO_NUM, bytes((_IPPROTO_UDP,))) + attribute(_PROTO_DST_PORT, port.to_bytes(2, "big"))
    place = _nest(_TUPLE_IP, attribute(_IP_DST[family], address)) + _nest(_TUPLE_PROTO, proto)
    _forget(socket, [(_AF[family], _ORIG, place, _BY_DST | _BY_PROTO | _BY_DST_PORT)])


def _forget(socket: Socket, filters: list[tuple[int, int, bytes, int]]) -> None:
    try:
        for family, direction, entry, flags in filters:
            _request(socket.fd, family, direction, entry, flags)
    except OSError as err:
        raise NetworkError("forget", "connections", str(err.strerror), errno=err.errno) from err


def _request(fd: int, family: int, direction: int, entry: bytes, flags: int) -> None:
    body = bytes((family, 0, 0, 0))  # struct nfgenmsg
    body += _nest(direction, entry) + _nest(_FILTER, attribute(direction, _number(flags, 4)))
    head = _number(16 + len(body), 4) + _number(_DELETE, 2) + _number(_REQUEST_ACK, 2) + _number(1, 4) + _number(0, 4)
    posix.write(fd, head + body)
    try:
        while not collect(posix.read(fd, 1 << 16), []):
            pass
    except OSError as err:
        if err.errno != errno.ENOENT:  # no entry of that kind
            raise


def _nest(kind: int, inner: bytes) -> bytes:
    return attribute(kind | _NESTED, inner)


def _number(number: int, size: int) -> bytes:
    return number.to_bytes(size, sys.byteorder)
