"""Requests that make links, addresses and routes, for rtnetlink.Socket.perform: man 7 rtnetlink.

Each function returns one (type, flags, body). A family is 4 or 6; addresses are in network byte order.
"""

from __future__ import annotations

import errno
import sys

from capsule.linux.rtnetlink import IFF_UP, Link, Socket, attribute, attributes, link_body, number_bytes, parse_link

Request = tuple[int, int, bytes]

_DUMP, _CREATE_NEW = 0x300, 0x600
_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE = 16, 17, 18, 20, 22, 24, 26
_IFNAME, _ADDRESS, _MTU, _LINK, _MASTER, _LINKINFO, _IFALIAS, _AF_SPEC, _NET_NS_FD = 3, 1, 4, 5, 10, 18, 20, 26, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER, _MACVLAN_MODE, _BR_STP_STATE, _BRPORT_MODE, _INET6_ADDR_GEN_MODE = 1, 1, 5, 4, 8
_BR_MULTI_BOOLOPT, _BOOLOPT_NO_LL_LEARN, _BRPORT_GROUP_FWD_MASK = 46, 1 << 0, 31
_GROUP_FWD_ALL = 0xFFFD  # 01:80:c2:00:00:0X but for pause frames, which no bridge lets through
_AF = {4: 2, 6: 10}
_FAMILY = {2: 4, 10: 6}
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 4, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN, _PROTOCOL_STATIC, _TYPE_UNICAST = 254, 4, 1
_RTMSG, _IFADDRMSG = 12, 8
_EXT_MASK, _SKIP_STATS = 29, 1 << 3
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}


def find(socket: Socket, name: str) -> Link | None:
    """Return the link of that name, None when there is none. Raises OSError."""
    body = b"\0" * 16 + attribute(_IFNAME, name.encode() + b"\0") + attribute(_EXT_MASK, number_bytes(_SKIP_STATS, 4))
    try:
        return parse_link(socket.ask(_GETLINK, 0x4, body)[0])
    except OSError as err:
        if err.errno == errno.ENODEV:
            return None
        raise


def bridge(name: str, mac: bytes, mtu: int) -> Request:
    """Make a bridge without spanning tree: its ports forward at once.

    What is sent to the group addresses of bridges teaches it nothing: it would be learned before any rule.
    """
    data = attribute(_BR_STP_STATE, number_bytes(0, 4))
    data += attribute(_BR_MULTI_BOOLOPT, number_bytes(_BOOLOPT_NO_LL_LEARN, 4) * 2)  # struct br_boolopt_multi
    body = _named(name) + attribute(_ADDRESS, mac) + (attribute(_MTU, number_bytes(mtu, 4)) if mtu else b"")
    return _NEWLINK, _CREATE_NEW, body + _info(b"bridge", data)


def veth(name: str, mac: bytes, peer: str, peer_mac: bytes, netns_fd: int, mtu: int, master: int) -> Request:
    """Make a pair: one end here, a port of the bridge `master`, the other in a network namespace. Both are down."""
    size = attribute(_MTU, number_bytes(mtu, 4)) if mtu else b""
    there = _named(peer) + attribute(_ADDRESS, peer_mac) + size + attribute(_NET_NS_FD, number_bytes(netns_fd, 4))
    body = _named(name) + attribute(_ADDRESS, mac) + size + attribute(_MASTER, number_bytes(master, 4))
    return _NEWLINK, _CREATE_NEW, body + _info(b"veth", attribute(_VETH_INFO_PEER, there))


def macvlan(name: str, mac: bytes, netns_fd: int, mtu: int, parent: int, mode: str) -> Request:
    """Make a link in a network namespace that has its own hardware address on a link of ours. It is down."""
    body = _named(name) + attribute(_ADDRESS, mac) + (attribute(_MTU, number_bytes(mtu, 4)) if mtu else b"")
    body += attribute(_LINK, number_bytes(parent, 4)) + attribute(_NET_NS_FD, number_bytes(netns_fd, 4))
    data = attribute(_MACVLAN_MODE, number_bytes(MACVLAN_MODES[mode], 4))
    return _NEWLINK, _CREATE_NEW, body + _info(b"macvlan", data)


def bring_up(socket: Socket, index: int, *, alias: str = "", no_ipv6: bool = False, port: bool = False,
             hairpin: bool = False) -> None:
    """Bring a link up. Raises OSError.

    `alias` is a note for people and for us; `no_ipv6`: the kernel makes it no link-local address, so that it speaks no
    IPv6 of its own accord; `port`: it is one of a bridge, and all that comes in by it is the bridge's, frames to the
    group addresses of bridges too, which the kernel gives to the port's own link otherwise, past every rule of the
    bridge; `hairpin`: it is given back what it sent, where that is its way.
    """
    try:
        socket.perform([_change(index, alias, port=port, hairpin=hairpin, no_ipv6=no_ipv6)])
    except OSError as err:
        # There is no IPv6 on it: the kernel has none, or the MTU is less than IPv6 needs.
        if err.errno != errno.EAFNOSUPPORT or not no_ipv6:
            raise
        socket.perform([_change(index, alias, port=port, hairpin=hairpin, no_ipv6=False)])


def _change(index: int, alias: str, *, no_ipv6: bool, port: bool, hairpin: bool) -> Request:
    body = link_body(index, IFF_UP, IFF_UP)
    if alias:
        body += attribute(_IFALIAS, alias.encode())
    if no_ipv6:
        mode = attribute(_INET6_ADDR_GEN_MODE, b"\1")
        body += attribute(_AF_SPEC, attribute(_AF[6], mode))
    if port:
        data = attribute(_BRPORT_GROUP_FWD_MASK, number_bytes(_GROUP_FWD_ALL, 2))
        data += attribute(_BRPORT_MODE, b"\1") if hairpin else b""
        slave = attribute(_INFO_SLAVE_KIND, b"bridge\0") + attribute(_INFO_SLAVE_DATA, data)
        body += attribute(_LINKINFO, slave)
    return _NEWLINK, 0, body


def enslave(index: int, master: int) -> Request:
    """Make a link a port of a bridge; fine where it is one."""
    return _NEWLINK, 0, link_body(index, 0, 0) + attribute(_MASTER, number_bytes(master, 4))


def down(index: int) -> Request:
    """Bring a link down: nothing passes it any more, at once."""
    return _NEWLINK, 0, link_body(index, 0, IFF_UP)


def remove(index: int) -> Request:
    """Remove a link."""
    return _DELLINK, 0, link_body(index, 0, 0)


def add_address(index: int, family: int, number: bytes, prefix: int) -> Request:
    """Give a link an address, usable at once: whoever gives addresses here gives none twice."""
    body = bytes((_AF[family], prefix, 0, 0)) + number_bytes(index, 4)
    body += attribute(_IFA_LOCAL, number) + attribute(_IFA_ADDRESS, number)
    if family == 4 and prefix < 31:
        broadcast = int.from_bytes(number, "big") | (1 << 32 - prefix) - 1
        body += attribute(_IFA_BROADCAST, broadcast.to_bytes(4, "big"))
    if family == 6:
        body += attribute(_IFA_FLAGS, number_bytes(_IFA_F_NODAD, 4))
    return _NEWADDR, _CREATE_NEW, body


def default_route(index: int, family: int, gateway: bytes) -> Request:
    """Send what is for nobody near to a gateway."""
    body = bytes((_AF[family], 0, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, 0, _TYPE_UNICAST)) + number_bytes(0, 4)
    body += attribute(_RTA_GATEWAY, gateway) + attribute(_RTA_OIF, number_bytes(index, 4))
    return _NEWROUTE, _CREATE_NEW, body


def routes(socket: Socket) -> list[tuple[int, int, int, int]]:
    """Return (family, destination as a number, prefix, index of the link) of every unicast route. Raises OSError."""
    found = []
    for body in socket.ask(_GETROUTE, _DUMP, b"\0" * _RTMSG):
        family = _FAMILY.get(body[0], 0)
        if family and body[7] == _TYPE_UNICAST:
            values = dict(attributes(body[_RTMSG:]))
            link = int.from_bytes(values.get(_RTA_OIF, b""), sys.byteorder)
            found.append((family, int.from_bytes(values.get(_RTA_DST, b""), "big"), body[1], link))
    return found


def own_addresses(socket: Socket) -> list[tuple[int, bytes]]:
    """Return (family, address) of every address of this host. Raises OSError."""
    found = []
    for body in socket.ask(_GETADDR, _DUMP, b"\0" * _IFADDRMSG):
        family = _FAMILY.get(body[0], 0)
        values = dict(attributes(body[_IFADDRMSG:]))
        number = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))
        if family and number:
            found.append((family, number))
    return found


def _named(name: str) -> bytes:
    return b"\0" * 16 + attribute(_IFNAME, name.encode() + b"\0")


def _info(kind: bytes, data: bytes) -> bytes:
    return attribute(_LINKINFO, attribute(_INFO_KIND, kind + b"\0") + attribute(_INFO_DATA, data))
