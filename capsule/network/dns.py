"""Names by DNS: the responder of a network (csrc/dns.h), on the gateway's addresses, for the network's containers.

`refresh` is the one entry: it writes what the responder knows, starts it with the first endpoint and ends it with the
last. The responder answers for the members of all networks of who asks, and asks the host's servers for the rest.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule.errors import CapsuleError, NetworkError, errno_text
from capsule.network import address as addresses, attendant, driver as drivers, names
from capsule.network.store import Networks

_PORT = 53
_TABLE_MAX = 1 << 20  # bytes (csrc/attend_table.c)
_NAME = "capsule-dns"


def path_of(networks: Networks, network: str) -> str:
    """Return the data file of a network's responder."""
    return f"{networks.directory}/{network}.dns"


def has_responder(record: dict) -> bool:
    """Tell whether a network is to have one: with an address of this host, unless it was made with --disable-dns."""
    return bool(record.get("dns", True)) and drivers.find(record["driver"]).has_rules


def refresh(networks: Networks, network: str) -> None:
    """Bring the responder of a network, and those of its members' other networks, to what the leases say.

    What cannot be had is a warning: containers find each other by /etc/hosts, too. The lock of the networks is taken.
    """
    try:
        with networks.lock():
            every = networks.endpoints()
            containers = {endpoint["container"] for endpoint in every if endpoint["network"] == network}
            others = {endpoint["network"] for endpoint in every if endpoint["container"] in containers}
            for name in {network, *others}:
                _refresh(networks, name, every)
    except CapsuleError as err:
        log.warning(f"network {network}: its members are not found by DNS: {err}")


def _refresh(networks: Networks, network: str, every: list[dict]) -> None:
    own = [endpoint for endpoint in every if endpoint["network"] == network]
    path = path_of(networks, network)
    record = networks.load(network) if own else {}
    if not own or not has_responder(record):
        attendant.stop(path)
        return
    table = _table(networks, record, own, every)
    if len(table) > _TABLE_MAX:
        log.warning(f"network {network}: its names take {len(table)} bytes, of which its responder reads {_TABLE_MAX}: "
                    "what members know of their containers' other networks is not answered for all")
    attendant.write(path, table)
    if attendant.holder(path):
        return
    gateways = [addresses.parse(entry["gateway"]) for entry in record["subnets"] if entry["gateway"]]
    sockets = [(family, kind, addresses.to_bytes(family, number), _PORT)
               for family, number in gateways for kind in ("udp", "tcp")]
    try:
        attendant.start(path, [_NAME, network], sockets)
    except OSError as err:
        attendant.stop(path)
        cause = "a program of this host has taken port 53" if err.errno == errno.EADDRINUSE else errno_text(err.errno)
        raise NetworkError("listen for names at", ", ".join([entry["gateway"] for entry in record["subnets"]]),
                           cause) from err


def stop(networks: Networks, network: str) -> None:
    """End the responder of a network that goes. The lock of the networks is held. Raises NetworkError."""
    attendant.stop(path_of(networks, network))


def servers(networks: Networks, endpoints: list[dict]) -> list[str]:
    """Return the name servers of a container: the responder of each of its networks that has one. Raises NetworkError.
    """
    found: dict[bool, list[str]] = {False: [], True: []}
    for endpoint in endpoints:
        if not attendant.holder(path_of(networks, endpoint["network"])):
            continue
        families = {addresses.parse(text.partition("/")[0])[0] for text in endpoint["addresses"]}
        record = networks.load(endpoint["network"])
        gateways = [entry["gateway"] for entry in record["subnets"] if entry["gateway"]]
        found[record["internal"]] += [text for text in gateways if addresses.parse(text)[0] in families][:1]
    # An internal one says that it knows no name of elsewhere, and nobody is asked after that.
    return found[False] + found[True]


def is_lacking(networks: Networks, record: dict, members: list[dict]) -> bool:
    """Tell whether a network should have a responder and has none. Raises NetworkError."""
    return bool(members) and has_responder(record) and not attendant.holder(path_of(networks, record["name"]))


def strays(networks: Networks) -> list[str]:
    """Return the names of networks whose responder nobody needs. Raises NetworkError."""
    try:
        files = posix.listdir(networks.directory)
    except FileNotFoundError:
        return []
    used = {endpoint["network"] for endpoint in networks.endpoints()}
    return sorted([name[:-4] for name in files if name.endswith(".dns") and name[:-4] not in used])


def _table(networks: Networks, record: dict, own: list[dict], every: list[dict]) -> str:
    lines = ["internal"] if record["internal"] else []
    for entry in record["subnets"]:
        subnet = addresses.parse_subnet(entry["subnet"])
        lines.append(f"subnet {_hex(addresses.to_text(subnet.family, subnet.base))} {subnet.prefix}")
    lines.append("public " + " ".join([_hex(text) for text in names.PUBLIC]))
    for endpoint in own:
        lines += [f"name {words}" for words in _entries(endpoint)]
    for endpoint in own:
        asked = [_hex(text) for text in endpoint.get("dns", [])]
        views = _views(networks, endpoint, own, every)
        for client in _hex_addresses(endpoint):
            lines += [f"client {client} {' '.join(asked)}"] if asked else []
            lines += [f"view {client} {words}" for words in views]
    return "\n".join(lines) + "\n"


def _views(networks: Networks, endpoint: dict, own: list[dict], every: list[dict]) -> list[str]:
    """Return what one member alone may know: its links, and the members of its container's other networks."""
    found = []
    for linked, alias in endpoint.get("links", []):
        for other in names.linked_to(linked, own):
            found += [f"{alias.lower()} {address}" for address in _hex_addresses(other)]
    for network in _further(endpoint, every):
        if has_responder(networks.load(network)):
            found += [words for other in every if other["network"] == network for words in _entries(other)]
    return found


def _further(endpoint: dict, every: list[dict]) -> list[str]:
    """Return the other networks of an endpoint's container."""
    return [other["network"] for other in every
            if other["container"] == endpoint["container"] and other["network"] != endpoint["network"]]


def _entries(endpoint: dict) -> list[str]:
    """Return `NAME ADDRESS` for every name and address of a member."""
    words = {word.lower(): None for word in (endpoint["container"], *endpoint["aliases"]) if names.is_name(word)}
    return [f"{word} {address}" for word in words for address in _hex_addresses(endpoint)]


def _hex_addresses(endpoint: dict) -> list[str]:
    return [_hex(text.partition("/")[0]) for text in endpoint["addresses"]]


def _hex(text: str) -> str:
    family, number = addresses.parse(text)
    return addresses.to_bytes(family, number).hex()
