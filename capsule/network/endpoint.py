"""A container's place in a network (original: Endpoint): leased, made, and gone when the container is.

The order is fixed. Up: journal of the container, lease and endpoint in the network's state, interface, rules, and only
then packets. Down: interface down, rules, interface gone, lease. So whatever dies, the state names what may be there,
no container speaks unguarded, and an address is nobody else's before the last rule about it has gone.

An endpoint is a dict: "id", "container", "network", "network_id", "driver", "bridge", "interface" (inside),
"host_interface" and "host_mac" ("" where nothing is on the host), "mac", "addresses" (with prefix), "gateways",
"ports", "aliases", "links" ([name of another container, what this one calls it], original: --link), "dns" (the servers
that its names are asked of instead of the host's), "leaving" (true once it is being taken back).
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule._ext import proc
from capsule.errors import CapsuleError, NetworkError
from capsule.network import driver as drivers, firewall, interface, nft, ports as published
from capsule.network.ipam import IPAM
from capsule.network.store import Networks, State


def lease(networks: Networks, container: str, requests: list[dict], ports: list[dict], *, note,
          present: list[dict] | tuple = ()) -> list[dict]:
    """Lease addresses and host ports for a container and note its endpoints; returns them, none of them made yet.

    The first endpoint that has a gateway of a family, those `present` already included, has its default route.
    `note(network, endpoint id)` is called before each is written. Raises NetworkError; nothing is kept then.
    """
    leased: list[dict] = []
    try:
        for request in requests:
            with networks.lock():
                routed = [text for other in (*present, *leased) for text in other["gateways"]]
                leased.append(_lease(networks, container, request, [] if leased else ports, routed, note))
    except BaseException:
        if leased:
            with networks.lock():
                for endpoint in leased:
                    _release(networks, endpoint["network"], endpoint["id"])
        raise
    return leased


def _lease(networks: Networks, container: str, request: dict, ports: list[dict], routed: list[str],
           note) -> dict:
    record = networks.load(request["network"])
    state = networks.state(record["name"])
    id = posix.urandom(16).hex()
    try:
        addresses = IPAM(record["name"], record["subnets"], state.leases).allocate(id, request["ip"])
    except NetworkError:
        if not reclaim(networks, record, state):
            raise
        addresses = IPAM(record["name"], record["subnets"], state.leases).allocate(id, request["ip"])
    has_rules = drivers.find(record["driver"]).has_rules
    if has_rules:
        nft.find()
    if ports and (not has_rules or record["internal"]):
        cause = "it is internal" if has_rules else f"its driver {record['driver']} cannot"
        raise NetworkError("publish ports", f"of network {record['name']}", cause)
    endpoint = _endpoint(record, container, id, request, addresses)
    endpoint["gateways"] = _gateways(record, routed)
    if ports:
        reserved = [port for other in networks.endpoints() for port in other["ports"]]
        families = {6 if ":" in text else 4 for text in addresses}
        responders = _responders(networks) if any([port["host_port"] == published.NAMES for port in ports]) else set()
        endpoint["ports"] = published.allocate(ports, reserved, families, responders)
    _check_mac(record, state, endpoint["mac"])
    note(record["name"], id)
    proc.stop_point("net-journal")
    state.endpoints[id] = endpoint
    networks.save_state(record["name"], state)
    proc.stop_point("net-leased")
    return endpoint


def _check_mac(record: dict, state: State, mac: str) -> None:
    """Refuse the hardware address of the bridge or of a neighbour: both would lose what is sent to them."""
    if mac == interface.mac_text(interface.bridge_mac(record["id"])):
        raise NetworkError("use MAC address", mac, f"it is that of the bridge of network {record['name']}")
    for other in state.endpoints.values():
        if other["mac"] == mac:
            raise NetworkError("use MAC address", mac, f"container {other['container']} has it in network "
                                                       f"{record['name']}")


def _responders(networks: Networks) -> set[str]:
    """Return the addresses at which networks answer for names."""
    found: set[str] = set()
    for name in networks.names():
        try:
            record = networks.load(name)
        except CapsuleError:
            continue  # `network check` tells of it
        if record.get("dns", True):
            found.update([entry["gateway"] for entry in record["subnets"] if entry["gateway"]])
    return found


def _endpoint(record: dict, container: str, id: str, request: dict, addresses: list[str]) -> dict:
    on_host = record["driver"] == "bridge"
    first = addresses[0].partition("/")[0] if addresses else ""
    mac = request["mac"] or (interface.derived_mac(first) if first else interface.mac_text(b"\x02" + posix.urandom(5)))
    return {
        "id": id,
        "container": container,
        "network": record["name"],
        "network_id": record["id"],
        "driver": record["driver"],
        "bridge": record["bridge"],
        "interface": request["interface"],
        "host_interface": interface.host_name(id, 0) if on_host else "",
        "host_mac": interface.mac_text(b"\x06" + posix.urandom(5)) if on_host else "",
        "mac": mac,
        "addresses": addresses,
        "gateways": [],
        "ports": [],
        "aliases": request["aliases"],
        "links": request.get("links", []),
        "dns": request.get("dns", []),
    }


def _gateways(record: dict, routed: list[str]) -> list[str]:
    """Return the first gateway of each family that `routed` has none of."""
    if record["internal"]:
        return []
    found: dict[bool, str] = {":" in text: "" for text in routed}
    for entry in record["subnets"]:
        if entry["gateway"]:
            found.setdefault(":" in entry["gateway"], entry["gateway"])
    return [text for text in found.values() if text]


def connect(networks: Networks, endpoint: dict, netns_fd: int) -> None:
    """Make a leased endpoint in a network namespace, with its rules. Raises NetworkError."""
    record = networks.load(endpoint["network"])
    failure = None
    try:
        _make(networks, record, endpoint, netns_fd)
    except CapsuleError as err:
        failure = err
    if endpoint["id"] not in networks.state(endpoint["network"]).endpoints:
        # `network rm --force` came in between: what it took back may have been made again in part.
        _unmake(networks, record, endpoint, netns_fd)
        raise NetworkError("connect to network", endpoint["network"], "it was removed meanwhile") from failure
    if failure is not None:
        raise failure


def _make(networks: Networks, record: dict, endpoint: dict, netns_fd: int) -> None:
    driver = drivers.find(record["driver"])
    driver.connect(networks, record, endpoint, netns_fd)
    proc.stop_point("net-connected")
    if driver.has_rules:
        firewall.endpoint_up(record, endpoint)
    driver.admit(endpoint)
    proc.stop_point("net-ruled")
    if endpoint["ports"]:
        from capsule.network import loopback

        loopback.up(networks, endpoint)


def reroute(networks: Networks, present: list[dict], netns_fd: int) -> None:
    """Give a container whose default route went with a network that of another one, for each family.

    Raises NetworkError.
    """
    for endpoint in present:
        record = networks.load(endpoint["network"])
        routed = [text for other in present for text in other["gateways"]]
        new = _gateways(record, routed)
        if not new:
            continue
        socket = interface.open_socket(netns_fd)
        try:
            interface.route(socket, endpoint["interface"], new)
        except OSError as err:
            raise interface.failed("route by network", record["name"], err) from err
        finally:
            socket.close()
        endpoint["gateways"] = [*endpoint["gateways"], *new]
        with networks.lock():
            state = networks.state(record["name"])
            if endpoint["id"] in state.endpoints:
                state.endpoints[endpoint["id"]] = endpoint
                networks.save_state(record["name"], state)


def disconnect(networks: Networks, network: str, id: str, netns_fd: int = -1) -> None:
    """Take back an endpoint, however far it was made; fine when there is none of that id. Raises NetworkError.

    Where a rule about it cannot be removed, its addresses stay leased, to nobody, until `reclaim` can.
    """
    with networks.lock():
        state = networks.state(network)
        endpoint = state.endpoints.get(id)
        if endpoint is None:
            return
        # A reload beside us would make its rules again after we have removed them.
        endpoint["leaving"] = True
        networks.save_state(network, state)
    _unmake(networks, _record_of(networks, endpoint), endpoint, netns_fd)
    with networks.lock():
        _release(networks, network, id)


def _unmake(networks: Networks, record: dict, endpoint: dict, netns_fd: int) -> None:
    driver = drivers.find(record["driver"])
    if endpoint["ports"]:
        from capsule.network import loopback

        loopback.down(networks, endpoint)
    proc.stop_point("net-unrule")
    failure: CapsuleError | None = None
    socket = None
    try:
        if driver.has_rules:
            try:
                # Programs may be left in the namespace, and the rules guard what they send.
                driver.silence(endpoint)
                socket = firewall.open_socket()
                firewall.endpoint_down(record, endpoint, socket)
            except CapsuleError as err:
                failure = err
        proc.stop_point("net-unlink")
        driver.disconnect(networks, record, endpoint, netns_fd)
    finally:
        if socket is not None:
            socket.close()  # last: the link takes as long to go as the kernel makes whoever closes this wait
    proc.stop_point("net-release")
    if failure is not None:
        raise failure


def _record_of(networks: Networks, endpoint: dict) -> dict:
    """Return the record of an endpoint's network, or what the endpoint knows of it when it was lost."""
    try:
        return networks.load(endpoint["network"])
    except CapsuleError:
        return {"name": endpoint["network"], "id": endpoint["network_id"], "driver": endpoint["driver"],
                "bridge": endpoint["bridge"], "subnets": [], "internal": False, "icc": True, "isolate": False, "mtu": 0,
                "masquerade": True, "parent": "", "mode": ""}


def _release(networks: Networks, network: str, id: str) -> None:
    """Drop an endpoint and its leases. The lock is held."""
    state = networks.state(network)
    if state.endpoints.pop(id, None) is not None:
        IPAM(network, [], state.leases).release(id)
        networks.save_state(network, state)


def reclaim(networks: Networks, record: dict, state: State) -> bool:
    """Take back the endpoints of containers that are no more; tell whether there were any. The lock is held.

    A container's directory is made before its first lease and removed after its last. Nothing is written here: the
    caller saves the state.
    """
    gone = [endpoint for endpoint in state.endpoints.values() if is_orphan(networks, endpoint)]
    freed = False
    for endpoint in gone:
        try:
            _unmake(networks, record, endpoint, -1)
        except CapsuleError as err:
            log.warning(f"network {record['name']}: leftover of container {endpoint['container']}: {err}")
            continue
        del state.endpoints[endpoint["id"]]
        IPAM(record["name"], [], state.leases).release(endpoint["id"])
        freed = True
    for text, owner in list(state.leases.items()):
        if owner not in state.endpoints:
            del state.leases[text]
            freed = True
    return freed


def is_orphan(networks: Networks, endpoint: dict) -> bool:
    """Tell whether an endpoint's container has no directory any more."""
    try:
        posix.stat(f"{networks.root}/{endpoint['container']}")
    except OSError as err:
        return err.errno == errno.ENOENT
    return False
