"""IPv4 and IPv6 addresses and subnets as exact numbers: RFC 4291, RFC 5952, RFC 3021, RFC 6164.

A family is 4 or 6. Nothing here knows what an address is used for.
"""

from __future__ import annotations

BITS = {4: 32, 6: 128}
_DECIMAL = "0123456789"
_HEX = "0123456789abcdefABCDEF"


class Subnet:
    """A subnet: `base` is its lowest address as a number, `prefix` the bits that are the network's."""

    __slots__ = ("family", "base", "prefix")

    def __init__(self, family: int, base: int, prefix: int) -> None:
        self.family = family
        self.base = base
        self.prefix = prefix

    def __str__(self) -> str:
        return f"{to_text(self.family, self.base)}/{self.prefix}"

    @property
    def size(self) -> int:
        """How many addresses it has, special ones included."""
        return 1 << BITS[self.family] - self.prefix

    @property
    def last(self) -> int:
        return self.base + self.size - 1

    def holds(self, number: int) -> bool:
        """Tell whether an address of the same family lies in it."""
        return self.base <= number <= self.last

    def overlaps(self, other: Subnet) -> bool:
        return self.family == other.family and self.base <= other.last and other.base <= self.last

    def usable(self) -> tuple[int, int]:
        """The lowest and the highest address that a host may have.

        The network's own and the broadcast address are none, nor is IPv6's subnet-router anycast address (RFC 4291
        section 2.6.1). In a subnet of two both are (RFC 3021, RFC 6164), in one of one its one.
        """
        if self.size <= 2:
            return self.base, self.last
        return self.base + 1, self.last - 1 if self.family == 4 else self.last


def parse(text: str) -> tuple[int, int]:
    """Return (family, number) of an address. Raises ValueError."""
    if ":" in text:
        return 6, _parse_6(text)
    return 4, _parse_4(text)


def _parse_4(text: str) -> int:
    parts = text.split(".")
    if len(parts) != 4:
        raise ValueError(f"{text!r} is not an IP address")
    number = 0
    for part in parts:
        # A leading zero is octal to some readers: no address may mean two things.
        if not part or part.strip(_DECIMAL) or len(part) > 3 or (part[0] == "0" and len(part) > 1) or int(part) > 255:
            raise ValueError(f"{text!r} is not an IP address")
        number = number << 8 | int(part)
    return number


def _parse_6(text: str) -> int:
    head, gap, tail = text.partition("::")
    if "::" in tail or tail[:1] == ":" or (not gap and not head):
        raise ValueError(f"{text!r} is not an IP address")
    left, right = _groups(head, text), _groups(tail, text)
    missing = 8 - len(left) - len(right)
    if missing < 1 if gap else missing:
        raise ValueError(f"{text!r} is not an IP address")
    number = 0
    for group in [*left, *[0] * missing, *right]:
        number = number << 16 | group
    return number


def _groups(text: str, whole: str) -> list[int]:
    if not text:
        return []
    words = text.split(":")
    found = []
    for index, word in enumerate(words):
        if "." in word and index == len(words) - 1 and whole.endswith(word):
            number = _parse_4(word)
            found += [number >> 16, number & 0xFFFF]
        elif not word or len(word) > 4 or word.strip(_HEX):
            raise ValueError(f"{whole!r} is not an IP address")
        else:
            found.append(int(word, 16))
    return found


def to_text(family: int, number: int) -> str:
    """Return an address as text, IPv6 as RFC 5952 wants it."""
    if family == 4:
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    groups = [number >> shift & 0xFFFF for shift in range(112, -1, -16)]
    start, length = _longest_zeros(groups)
    if length < 2:
        return ":".join([f"{group:x}" for group in groups])
    left = ":".join([f"{group:x}" for group in groups[:start]])
    right = ":".join([f"{group:x}" for group in groups[start + length :]])
    return f"{left}::{right}"


def _longest_zeros(groups: list[int]) -> tuple[int, int]:
    """Return where the first of the longest rows of zeros starts, and how long it is."""
    best = start = length = 0
    for index, group in enumerate(groups):
        length = length + 1 if group == 0 else 0
        if length > best:
            best, start = length, index - length + 1
    return start, best


def to_bytes(family: int, number: int) -> bytes:
    """Return an address in network byte order."""
    return number.to_bytes(BITS[family] // 8, "big")


def is_loopback(family: int, number: int) -> bool:
    """Tell whether an address is one of the host's loopback, as IPv6 may write it too (::ffff:127.0.0.1)."""
    if family == 6 and number >> 32 == 0xFFFF:
        family, number = 4, number & 0xFFFFFFFF
    return number >> 24 == 127 if family == 4 else number == 1


def normal(text: str) -> str:
    """Return an address in its one spelling. Raises ValueError."""
    return to_text(*parse(text))


def split(text: str) -> tuple[int, int, int]:
    """Return (family, number, prefix) of `address/prefix`. Raises ValueError."""
    address, slash, length = text.partition("/")
    family, number = parse(address)
    if not slash or not length or length.strip(_DECIMAL) or len(length) > 3 or int(length) > BITS[family]:
        raise ValueError(f"{text!r} is not a subnet, such as 10.89.0.0/24 or fd00:89::/64")
    return family, number, int(length)


def parse_subnet(text: str) -> Subnet:
    """Return the subnet of `address/prefix`. Raises ValueError, also where host bits are set."""
    family, number, prefix = split(text)
    subnet = subnet_of(family, number, prefix)
    if subnet.base != number:
        raise ValueError(f"{text!r} is an address inside the subnet {subnet}")
    return subnet


def subnet_of(family: int, number: int, prefix: int) -> Subnet:
    """Return the subnet of that length that an address lies in."""
    host_bits = BITS[family] - prefix
    return Subnet(family, number >> host_bits << host_bits, prefix)
