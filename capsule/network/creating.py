"""Making and removing networks: the checks of their subnets, automatic ones, names of bridges."""

from __future__ import annotations

import posix
import time

from capsule import log
from capsule.errors import CapsuleError, NetworkError, StateError
from capsule.linux import links
from capsule.network import (
    address as addresses,
    attachment,
    dns,
    driver as drivers,
    endpoint as endpoints,
    interface,
    store,
)
from capsule.network.address import Subnet
from capsule.network.ipam import IPAM
from capsule.network.store import Networks, NoSuchNetwork
from capsule.state.record import format_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MTU_LEAST = {4: 68, 6: 1280}  # RFC 791, RFC 8200 section 5
_MTU_MOST = 65535
_POOL = addresses.parse_subnet("10.89.0.0/16")
_POOL_END = addresses.parse_subnet("10.255.0.0/16").last
_POOL_PREFIX, _POOL_PREFIX_6 = 24, 64
_TRIES = 16
#: What no network can have: RFC 6890, RFC 1112, RFC 4291. Gateways there would be unreachable, or break the host's own.
_SPECIAL = tuple([addresses.parse_subnet(text) for text in (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8")])

#: What `network create` takes, and what each is where nothing is said.
DEFAULTS: dict = {
    "driver": "bridge", "subnets": [], "gateways": [], "ranges": [], "reserved": [], "ipv6": False, "internal": False,
    "icc": True, "isolate": False, "masquerade": True, "mtu": 0, "parent": "", "mode": "bridge", "bridge": "",
    "labels": {}, "dns": True,
}


def create(networks: Networks, name: str, **given) -> dict:
    """Create a network and make what it needs on the host; returns its record. Options are those of DEFAULTS.

    Raises NetworkError; nothing is left then.
    """
    options = {**DEFAULTS, **given}
    _check_name(name)
    driver = drivers.find(options["driver"])
    if not driver.has_records:
        raise NetworkError("create network", name, f"the driver {driver.name} makes no networks; "
                                                   f"it is for --network alone")
    record = _record(name, options)
    with networks.lock():
        try:
            networks.load(name)
        except NoSuchNetwork:
            pass
        else:
            raise NetworkError("create network", name, "a network of that name exists already")
        _place(networks, record, options)
        driver.check(record)
        networks.save(record)
    try:
        driver.create(networks, record)
    except BaseException:
        _take_back(networks, driver, record)
        raise
    return record


def find_or_default(networks: Networks, name: str) -> dict:
    """Return the record of a network; the default network is created when it is first asked for.

    Raises NoSuchNetwork, CorruptRecord, NetworkError.
    """
    try:
        return networks.load(name)
    except NoSuchNetwork:
        if name != attachment.DEFAULT_NETWORK:
            raise
    try:
        return create(networks, name, bridge=name)
    except NetworkError as err:
        try:
            # Two first containers: the other one has created it meanwhile.
            return networks.load(name)
        except NoSuchNetwork:
            raise err from None


def remove(networks: Networks, name: str, *, force: bool = False) -> None:
    """Remove a network; `force` disconnects the containers that are attached.

    Raises NoSuchNetwork, StateError while it is in use, NetworkError.
    """
    record = networks.load(name)
    with networks.lock():
        state = networks.state(name)
        endpoints.reclaim(networks, record, state)
        networks.save_state(name, state)
    for id in list(state.endpoints) if force else ():
        endpoints.disconnect(networks, name, id)
    with networks.lock():
        users = sorted({endpoint["container"] for endpoint in networks.state(name).endpoints.values()})
        if users:
            raise StateError("remove network", name, f"it is in use by {', '.join(users)}; --force disconnects them")
        dns.stop(networks, name)
        # First the host: what cannot be removed keeps its record, and can be tried again.
        drivers.find(record["driver"]).delete(networks, record)
        networks.remove(name)


def _take_back(networks: Networks, driver: drivers.NetworkDriver, record: dict) -> None:
    try:
        with networks.lock():
            driver.delete(networks, record)
            networks.remove(record["name"])
    except CapsuleError as err:
        log.warning(f"clean up after a failed creation of network {record['name']}: {err}")


def _check_name(name: str) -> None:
    store.check_name(name)
    if name in store.RESERVED:
        raise NetworkError("create network", name, "that word means something else to --network")


def _record(name: str, options: dict) -> dict:
    record = {
        "id": posix.urandom(16).hex(), "name": name, "driver": options["driver"], "bridge": options["bridge"],
        "subnets": [], "created": format_time(time.time_ns()),
    }
    for key in ("internal", "icc", "isolate", "masquerade", "mtu", "parent", "mode", "labels", "dns"):
        record[key] = options[key]
    has_ipv6 = options["ipv6"] or any([":" in text for text in options["subnets"]])
    least = _MTU_LEAST[6 if has_ipv6 else 4]
    if record["mtu"] and not least <= record["mtu"] <= _MTU_MOST:
        raise NetworkError("create network", name, f"its MTU {record['mtu']} is not between {least} and {_MTU_MOST}")
    if record["bridge"]:
        attachment.check_interface(record["bridge"])
    return record


def _place(networks: Networks, record: dict, options: dict) -> None:
    """Give a record its subnets and the name of its bridge, such that they meet nothing on this host."""
    on_bridge = record["driver"] == "bridge"
    taken = _taken(networks, record["name"])
    socket = interface.open_socket()
    try:
        link = links.find(socket, record["name"]) if len(record["name"]) <= 15 else None
        if link is not None:
            raise NetworkError("create network", record["name"], "an interface of this host has that name")
        if on_bridge:
            record["bridge"] = _bridge_name(socket, record)
        routed = _routes(socket) if on_bridge else []
    except OSError as err:
        raise interface.failed("look at the links of this host", "", err) from err
    finally:
        socket.close()
    record["subnets"] = _given_subnets(record["name"], options)
    for entry in record["subnets"]:
        _check_apart(record["name"], addresses.parse_subnet(entry["subnet"]), taken, routed)
    families = {addresses.parse_subnet(entry["subnet"]).family for entry in record["subnets"]}
    if on_bridge and not families:
        record["subnets"].append(_entry(_free_pool(record["name"], taken, routed)))
    if not on_bridge and options["ipv6"] and 6 not in families:
        raise NetworkError("create network", record["name"], "with macvlan, --ipv6 needs a --subnet of IPv6")
    if on_bridge and options["ipv6"] and 6 not in families:
        record["subnets"].append(_entry(_free_pool_6(record["id"])))


def _bridge_name(socket, record: dict) -> str:
    if record["bridge"]:
        if links.find(socket, record["bridge"]) is not None:
            raise NetworkError("create network", record["name"],
                               f"an interface {record['bridge']} of this host exists already")
        return record["bridge"]
    for attempt in range(_TRIES):
        name = interface.hashed("cbr-", record["id"], str(attempt))
        if links.find(socket, name) is None:
            return name
    raise NetworkError("create network", record["name"], f"{_TRIES} names of a bridge in a row are taken")


def _taken(networks: Networks, but: str) -> list[tuple[Subnet, str]]:
    """Return the subnets of other networks, each with whose it is."""
    found = []
    for name in networks.names():
        if name != but:
            try:
                entries = networks.load(name)["subnets"]
            except CapsuleError as err:
                log.warning(str(err))
                continue
            found += [(addresses.parse_subnet(entry["subnet"]), f"{entry['subnet']} of network {name}")
                      for entry in entries]
    return found


def _routes(socket) -> list[tuple[Subnet, str]]:
    """Return where this host sends packets to by a route of its own, the default route and link-local ones left out."""
    found = []
    for family, number, prefix, _link in links.routes(socket):
        subnet = addresses.subnet_of(family, number, prefix)
        local = family == 6 and (number >> 118 == 0x3FA or number >> 120 == 0xFF)
        if prefix and not local:
            found.append((subnet, f"the route of this host to {subnet}"))
    return found


def _given_subnets(name: str, options: dict) -> list[dict]:
    entries: list[dict] = []
    for text in options["subnets"]:
        try:
            subnet = addresses.parse_subnet(text)
        except ValueError as err:
            raise NetworkError("create network", name, str(err)) from err
        if subnet.size < 2:
            raise NetworkError("create network", name, f"{subnet} has no room for a gateway and a container")
        if subnet.prefix == 0:
            raise NetworkError("create network", name, f"{subnet} is every address there is")
        for special in _SPECIAL:
            if special.overlaps(subnet):
                raise NetworkError("create network", name, f"{subnet} meets {special}, whose addresses no network has")
        for other in entries:
            if addresses.parse_subnet(other["subnet"]).overlaps(subnet):
                raise NetworkError("create network", name, f"its subnets {other['subnet']} and {subnet} overlap")
        entries.append(_entry(subnet, gateway=options["driver"] == "bridge"))
    for key, what in (("gateways", "gateway"), ("ranges", "range"), ("reserved", "reserved")):
        filled: list[dict] = []
        for text in options[key]:
            entry = _add(name, entries, what, text)
            if what != "reserved" and entry in filled:
                raise NetworkError("create network", name, f"its subnet {entry['subnet']} has more than one {what}")
            filled.append(entry)
    for entry in entries:
        if entry["gateway"] in entry["reserved"]:
            raise NetworkError("create network", name, f"its gateway {entry['gateway']} is reserved")
        if (entry["range"] or entry["reserved"]) and not IPAM(name, [entry], {}).allocatable():
            raise NetworkError("create network", name, f"no address of {entry['range'] or entry['subnet']} is left for "
                                                       "a container")
    return entries


def _entry(subnet: Subnet, *, gateway: bool = True) -> dict:
    first = addresses.to_text(subnet.family, subnet.usable()[0])
    return {"subnet": str(subnet), "gateway": first if gateway else "", "range": "", "reserved": []}


def _add(name: str, entries: list[dict], what: str, text: str) -> dict:
    """Put a gateway, a range or a reserved address to the subnet that it lies in; returns that entry."""
    try:
        if what == "range":
            part = addresses.parse_subnet(text)
            family, first, last = part.family, part.base, part.last
        else:
            family, first = addresses.parse(text)
            last = first
    except ValueError as err:
        raise NetworkError("create network", name, str(err)) from err
    for entry in entries:
        subnet = addresses.parse_subnet(entry["subnet"])
        if subnet.family != family or not (subnet.holds(first) and subnet.holds(last)):
            continue
        low, high = subnet.usable()
        if what != "range" and not low <= first <= high:
            raise NetworkError("create network", name, f"no host of {subnet} can have the address {text}")
        if what == "reserved":
            entry["reserved"].append(addresses.to_text(family, first))
        else:
            entry[what] = str(part) if what == "range" else addresses.to_text(family, first)
        return entry
    raise NetworkError("create network", name, f"its {what} {text} lies in no --subnet")


def _check_apart(name: str, subnet: Subnet, taken: list, routed: list) -> None:
    for other, whose in [*taken, *routed]:
        if subnet.overlaps(other):
            raise NetworkError("create network", name, f"its subnet {subnet} overlaps {whose}")


def _pools() -> Iterator[Subnet]:
    number = _POOL.base
    while number <= _POOL_END:
        yield Subnet(4, number, _POOL_PREFIX)
        number += 1 << 32 - _POOL_PREFIX


def _free_pool(name: str, taken: list, routed: list) -> Subnet:
    """Return the first subnet of the pool that meets no other network and no route of this host."""
    others = [other for other, _ in [*taken, *routed]]
    for subnet in _pools():
        if not any([subnet.overlaps(other) for other in others]):
            return subnet
    raise NetworkError("create network", name, f"no subnet from {_POOL} on is free; give one with --subnet")


def _free_pool_6(id: str) -> Subnet:
    """Return a subnet of a unique local prefix of the network's own: 40 random bits (RFC 4193 section 3.2)."""
    return addresses.subnet_of(6, 0xFD << 120 | int(id[:10], 16) << 80, _POOL_PREFIX_6)
