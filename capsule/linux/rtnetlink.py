"""A conversation with rtnetlink about one network namespace: its messages, and the requests that move a device.

What makes links, addresses and routes is in links.py.

man 7 netlink, man 7 rtnetlink; linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h. Numbers are in native byte order.
"""

from __future__ import annotations

import posix
import sys

from capsule._ext import rtnetlink

IFF_UP = 0x1
IFF_LOOPBACK = 0x8
IFA_F_PERMANENT = 0x80

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_CREATE_NEW = 0x1, 0x4, 0x300, 0x600
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_RTM_NEWLINK, _RTM_GETLINK, _RTM_SETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 19, 20, 22
_IFLA_IFNAME, _IFLA_NET_NS_FD, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 3, 28, 52, 53
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_INFO_KIND = 1, 4, 10, 18, 20, 1
_IFA_FLAGS = 8
#: What makes an address: IFA_ADDRESS, LOCAL, BROADCAST, RT_PRIORITY, PROTO. Its label begins with the device's name.
_IFA_KEPT = (1, 2, 4, 9, 11)
#: Of its flags, those that are set and not found out: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
_IFA_FLAGS_KEPT = 0x02 | 0x10 | 0x100 | 0x200 | 0x400

_HEADER = 16
_LINK = 16  # struct ifinfomsg
_ADDRESS = 8  # struct ifaddrmsg
_BUFFER = 1 << 16


class Link:
    """A device: its index in its namespace, its names (the first is the one), its IFF_* flags.

    Also its hardware address (bytes), its kind ("" for a physical one), its alias, the index of its bridge (0 for
    none) and its MTU.
    """

    __slots__ = ("index", "names", "flags", "address", "kind", "alias", "master", "mtu")

    def __init__(self, index: int, names: list[str], flags: int) -> None:
        self.index = index
        self.names = names
        self.flags = flags
        self.address = b""
        self.kind = self.alias = ""
        self.master = self.mtu = 0


class Address:
    """An address of a device, as the kernel wants it again; flags are IFA_F_*, scope is RT_SCOPE_*."""

    __slots__ = ("family", "prefix", "flags", "scope", "attributes")

    def __init__(self, family: int, prefix: int, flags: int, scope: int, attributes: list[tuple[int, bytes]]) -> None:
        self.family = family
        self.prefix = prefix
        self.flags = flags
        self.scope = scope
        self.attributes = attributes


class Socket:
    """A conversation with the kernel about one network namespace; OSErrors have the kernel's own words."""

    __slots__ = ("fd",)

    def __init__(self, netns_fd: int = -1) -> None:
        self.fd = rtnetlink.open(netns_fd)

    def close(self) -> None:
        posix.close(self.fd)

    def links(self) -> list[Link]:
        """Return every device."""
        return [parse_link(body) for body in self.ask(_RTM_GETLINK, _NLM_F_DUMP, b"\0" * _LINK)]

    def addresses(self, index: int) -> list[Address]:
        """Return the addresses of a device, in the order that it got them."""
        found = []
        for body in self.ask(_RTM_GETADDR, _NLM_F_DUMP, b"\0" * _ADDRESS):
            if _number(body[4:8]) == index:
                found.append(parse_address(body))
        return found

    def move(self, index: int, netns_fd: int, name: str) -> None:
        """Move a device to another network namespace, under a new name or a template such as eth%d."""
        body = link_body(index, 0, 0)
        body += attribute(_IFLA_NET_NS_FD, number_bytes(netns_fd, 4)) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        self.ask(_RTM_SETLINK, _NLM_F_ACK, body)

    def set_up(self, index: int) -> None:
        """Bring a device up."""
        self.ask(_RTM_NEWLINK, _NLM_F_ACK, link_body(index, IFF_UP, IFF_UP))

    def add(self, index: int, address: Address) -> None:
        """Give a device an address."""
        flags = address.flags & _IFA_FLAGS_KEPT
        body = bytes((address.family, address.prefix, flags & 0xFF, address.scope)) + number_bytes(index, 4)
        for kind, value in address.attributes:
            if kind in _IFA_KEPT:
                body += attribute(kind, value)
        self.ask(_RTM_NEWADDR, _NLM_F_ACK | _NLM_F_CREATE_NEW, body + attribute(_IFA_FLAGS, number_bytes(flags, 4)))

    def perform(self, requests: list[tuple[int, int, bytes]]) -> None:
        """Do (type, flags, body) one after the other, all sent at once: the kernel goes on behind one that it refuses.

        Raises the OSError of the first refusal, with `request`, its index.
        """
        data = b""
        for number, (kind, flags, body) in enumerate(requests, 1):
            data += _message(kind, flags | _NLM_F_ACK, number, body)
        posix.write(self.fd, data)
        first: OSError | None = None
        left = len(requests)
        while left:
            for number, error in acknowledgements(posix.read(self.fd, _BUFFER)):
                left -= 1
                if error is not None and first is None:
                    first = error
                    first.request = number - 1  # type: ignore[attr-defined]
        if first is not None:
            raise first

    def ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send a request and return the bodies of its answers. Raises OSError."""
        posix.write(self.fd, _message(kind, flags, 1, body))
        found: list[bytes] = []
        while not collect(posix.read(self.fd, _BUFFER), found):
            pass
        return found


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    head = number_bytes(_HEADER + len(body), 4) + number_bytes(kind, 2)
    head += number_bytes(_NLM_F_REQUEST | flags, 2) + number_bytes(number, 4) + number_bytes(0, 4)
    return head + body + b"\0" * (-len(body) % 4)


def acknowledgements(data: bytes) -> list[tuple[int, OSError | None]]:
    """Return (sequence number, refusal) of a datagram's acknowledgements. Raises OSError for what is cut short."""
    found = []
    at = 0
    while at + _HEADER <= len(data):
        size, kind = _number(data[at : at + 4]), _number(data[at + 4 : at + 6])
        if size < _HEADER or at + size > len(data):
            raise OSError(74, "read netlink message: it is cut short")
        if kind == _NLMSG_ERROR:
            found.append((_number(data[at + 8 : at + 12]), _refusal(data[at : at + size])))
        at += size + 3 & ~3
    return found


def _refusal(message: bytes) -> OSError | None:
    """Read a struct nlmsgerr."""
    body = message[_HEADER:]
    error = int.from_bytes(body[:4], sys.byteorder, signed=True)
    if not error:
        return None
    return OSError(-error, _words(body, _number(message[6:8])) or posix.strerror(-error).lower())


def collect(data: bytes, found: list[bytes]) -> bool:
    """Append the bodies of a datagram's messages; True when they were the last. Raises the OSError of a refusal."""
    at = 0
    while at + _HEADER <= len(data):
        size, kind = _number(data[at : at + 4]), _number(data[at + 4 : at + 6])
        if size < _HEADER or at + size > len(data):
            raise OSError(74, "read netlink message: it is cut short")
        body = data[at + _HEADER : at + size]
        if kind in (_NLMSG_ERROR, _NLMSG_DONE):
            error = _refusal(data[at : at + size])
            if error is not None:
                raise error
            return True
        found.append(body)
        at += size + 3 & ~3
    return False


def _words(body: bytes, flags: int) -> str:
    """Return what the kernel says about a refusal, or ""."""
    # With NETLINK_CAP_ACK the request's header alone is repeated before the attributes.
    if flags & _NLM_F_ACK_TLVS:
        for kind, value in attributes(body[4 + _HEADER :]):
            if kind == _NLMSGERR_ATTR_MSG:
                return value.rstrip(b"\0").decode("utf-8", "replace")
    return ""


def parse_link(body: bytes) -> Link:
    """Read a struct ifinfomsg and its attributes."""
    names: list[str] = []
    link = Link(_number(body[4:8]), names, _number(body[8:12]))
    for kind, value in attributes(body[_LINK:]):
        if kind == _IFLA_IFNAME:
            names.insert(0, _text(value))
        elif kind == _IFLA_PROP_LIST:
            names += [_text(name) for inner, name in attributes(value) if inner == _IFLA_ALT_IFNAME]
        elif kind == _IFLA_ADDRESS:
            link.address = value
        elif kind == _IFLA_MTU:
            link.mtu = _number(value)
        elif kind == _IFLA_MASTER:
            link.master = _number(value)
        elif kind == _IFLA_IFALIAS:
            link.alias = _text(value)
        elif kind == _IFLA_LINKINFO:
            link.kind = "".join([_text(word) for inner, word in attributes(value) if inner == _IFLA_INFO_KIND])
    return link


def parse_address(body: bytes) -> Address:
    """Read a struct ifaddrmsg and its attributes."""
    found = attributes(body[_ADDRESS:])
    flags = body[2]
    for kind, value in found:
        if kind == _IFA_FLAGS:
            flags = _number(value)  # the field above has room for eight of them only
    return Address(body[0], body[1], flags, body[3], found)


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    """Split a row of struct rtattr into (type, value)."""
    found = []
    at = 0
    while at + 4 <= len(data):
        size = _number(data[at : at + 2])
        if size < 4:
            break
        found.append((_number(data[at + 2 : at + 4]) & 0x3FFF, data[at + 4 : at + size]))
        at += size + 3 & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Write a struct rtattr."""
    return number_bytes(4 + len(value), 2) + number_bytes(kind, 2) + value + b"\0" * (-len(value) % 4)


def link_body(index: int, flags: int, change: int) -> bytes:
    """Write a struct ifinfomsg."""
    return b"\0" * 4 + number_bytes(index, 4) + number_bytes(flags, 4) + number_bytes(change, 4)


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def number_bytes(number: int, size: int) -> bytes:
    """Write a number in native byte order."""
    return number.to_bytes(size, sys.byteorder)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")
