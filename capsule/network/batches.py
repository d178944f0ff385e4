"""What an endpoint changes in the firewall's sets, as one batch for the kernel: what nft would send, without nft.

The rules and the elements are ruleset.py's; the layout of a key is that of the set's types: each part of a
concatenation is padded to four bytes (linux/netfilter/nf_tables.h, NFT_REG32_SIZE).
"""

from __future__ import annotations

from capsule.linux.nftables import Batch
from capsule.network import address as addresses, interface, ruleset as tables
from capsule.network.ruleset import Element

_IFNAMSIZ = 16
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_ADVERTISED = 8  # where a neighbour advertisement has its address, from the ICMPv6 header on (RFC 4861)
_TYPES = {(family, name): (key, data) for family, name, key, data, _ in tables.SETS}


def up(record: dict, endpoint: dict) -> Batch:
    """Return the batch that lets an endpoint send, and publishes its ports. Idempotent."""
    batch = Batch()
    chain = tables.endpoint_chain(endpoint)
    if chain is not None:
        name, known = chain
        batch.add_chain("bridge", tables.TABLE, name)
        batch.flush_chain("bridge", tables.TABLE, name)
        batch.drop_other("bridge", tables.TABLE, name, _ADVERTISED, [_address(text) for text in known])
    for element in tables.endpoint_elements(record, endpoint):
        _add(batch, element)
    return batch


def down(record: dict, endpoint: dict) -> Batch:
    """Return the batch that takes an endpoint out of the sets; refused where a part of it is not there."""
    batch = Batch()
    for family, name, key, _ in tables.endpoint_elements(record, endpoint):
        batch.delete(family, tables.TABLE, name, _key(family, name, key))
    chain = tables.endpoint_chain(endpoint)
    if chain is not None:
        batch.flush_chain("bridge", tables.TABLE, chain[0])
        batch.delete_chain("bridge", tables.TABLE, chain[0])
    return batch


def _add(batch: Batch, element: Element) -> None:
    family, name, key, data = element
    kind = _TYPES[family, name][1]
    if kind == "verdict":
        batch.add_jump(family, tables.TABLE, name, _key(family, name, key), data[0])
    else:
        value = _part(kind, data[0]) if kind else None
        batch.add(family, tables.TABLE, name, _key(family, name, key), value)


def _key(family: str, name: str, key: tuple) -> bytes:
    parts = [_part(kind, part) for kind, part in zip(_TYPES[family, name][0], key, strict=True)]
    return parts[0] if len(parts) == 1 else b"".join([part + b"\0" * (-len(part) % 4) for part in parts])


def _part(kind: str, value) -> bytes:
    """Return a value of one of nft's types as the kernel compares it."""
    if kind == "ifname":
        return value.encode().ljust(_IFNAMSIZ, b"\0")
    if kind == "ether_addr":
        return interface.parse_mac(value)
    if kind == "inet_proto":
        return bytes((_PROTOCOLS[value],))
    if kind == "inet_service":
        return value.to_bytes(2, "big")
    return _address(value)  # ipv4_addr, ipv6_addr


def _address(text: str) -> bytes:
    return addresses.to_bytes(*addresses.parse(text))
