"""Bridge networks: a bridge of this host with the gateways' addresses, and a pair of links for each container.

The requests go through capsule.linux.links, in the launcher: importing pyroute2 costs more than all of them
(docs/decisions).
"""

from __future__ import annotations

import errno

from capsule import log
from capsule._ext import proc
from capsule.errors import CapsuleError, NetworkError
from capsule.linux import links
from capsule.network import address as addresses, firewall, forwarding, interface, nft, sysctl
from capsule.network.driver import NetworkDriver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.linux.rtnetlink import Link, Socket
    from capsule.network.store import Networks

_ALIAS = "capsule network "


class BridgeDriver(NetworkDriver):
    """Containers on a bridge, routed and masqueraded by the host unless the network is internal."""

    __slots__ = ()
    name = "bridge"
    has_rules = True

    def check(self, record: dict) -> None:
        if record.get("parent"):
            raise NetworkError("create network", record["name"], "a bridge has no parent interface")
        if record["mode"] != "bridge":
            raise NetworkError("create network", record["name"], "--mode needs the macvlan driver")
        for entry in record["subnets"]:
            if not entry["gateway"]:
                raise NetworkError("create network", record["name"], f"the subnet {entry['subnet']} has no gateway")
        nft.find()

    def create(self, networks: Networks, record: dict) -> None:
        with networks.lock():
            socket = interface.open_socket()
            try:
                _bring_up(socket, record)
            finally:
                socket.close()
            # Let nothing that a container says make it a router of this host.
            sysctl.put(f"ipv6/conf/{record['bridge']}/accept_ra", "0")
            forwarding.note(networks, record)
        firewall.network_up(record)
        from capsule.network import firewalld  # where a network is made alone

        firewalld.trust(record)

    def delete(self, networks: Networks, record: dict) -> None:
        from capsule.network import firewalld

        firewalld.forget(record)
        firewall.network_down(record, is_last=not _others(networks, record))
        socket = interface.open_socket()
        try:
            link = links.find(socket, record["bridge"])
            if link is None:
                return
            if not _is_ours(link, record):
                log.warning(f"network {record['name']}: {record['bridge']} is not the bridge that it made; left alone")
                return
            socket.perform([links.remove(link.index)])
        except OSError as err:
            if err.errno != errno.ENODEV:
                raise interface.failed("remove bridge", record["bridge"], err) from err
        finally:
            socket.close()

    def connect(self, networks: Networks, record: dict, endpoint: dict, netns_fd: int) -> None:
        socket = interface.open_socket()
        try:
            bridge = _find(socket, record)
            if bridge is None:
                # After a reboot, or somebody has removed it.
                self.create(networks, record)
                bridge = _find(socket, record)
            if bridge is None:
                raise NetworkError("find bridge", record["bridge"], "it was removed meanwhile")
            _make_pair(networks, socket, bridge.index, record, endpoint, netns_fd)
            proc.stop_point("net-linked")
            inside = interface.open_socket(netns_fd)
            try:
                interface.furnish(inside, endpoint)
            finally:
                inside.close()
        except OSError as err:
            raise interface.failed("connect to network", record["name"], err) from err
        finally:
            socket.close()

    def admit(self, endpoint: dict) -> None:
        self._act(endpoint, "bring up link", lambda socket, index: bring_up_port(socket, index, endpoint))

    def silence(self, endpoint: dict) -> None:
        self._act(endpoint, "bring down link", lambda socket, index: socket.perform([links.down(index)]))

    def disconnect(self, networks: Networks, record: dict, endpoint: dict, netns_fd: int = -1) -> None:
        self._act(endpoint, "remove link", lambda socket, index: socket.perform([links.remove(index)]))

    def _act(self, endpoint: dict, operation: str, act) -> None:
        """Do something with the host's link of an endpoint; fine where it has gone. Raises NetworkError."""
        socket = interface.open_socket()
        try:
            link = links.find(socket, endpoint["host_interface"])
            # The name alone could be somebody else's: ours has the hardware address that it was made with.
            if link is not None and link.kind == "veth" and interface.mac_text(link.address) == endpoint["host_mac"]:
                act(socket, link.index)
        except OSError as err:
            if err.errno != errno.ENODEV:
                raise interface.failed(operation, endpoint["host_interface"], err) from err
        finally:
            socket.close()


def _others(networks: Networks, record: dict) -> list[str]:
    """Return the names of the other networks that may have rules."""
    found = []
    for name in networks.names():
        try:
            if name != record["name"] and networks.load(name)["driver"] == BridgeDriver.name:
                found.append(name)
        except CapsuleError:
            found.append(name)  # nobody knows what it is
    return found


def mac_of(record: dict) -> bytes:
    """Return the hardware address of a network's bridge.

    Without one of its own it would have that of a port, another one as ports come and go. It also tells the bridge from
    one that somebody else gave the name: it has it from the moment that it exists.
    """
    return interface.bridge_mac(record["id"])


def bring_up_port(socket: Socket, index: int, endpoint: dict) -> None:
    """Bring up the host's link of an endpoint, a port of its bridge. Raises OSError."""
    # With br_netfilter a container's way to its own published port is from its port of the bridge to that port.
    links.bring_up(socket, index, alias=f"capsule {endpoint['container']}"[:255], no_ipv6=True, port=True,
                   hairpin=bool(endpoint["ports"]))


def _is_ours(link: Link, record: dict) -> bool:
    return link.kind == "bridge" and link.address == mac_of(record)


def _find(socket: Socket, record: dict) -> Link | None:
    link = links.find(socket, record["bridge"])
    if link is not None and not _is_ours(link, record):
        raise NetworkError("use bridge of network", record["name"],
                           f"{record['bridge']} is an interface that this network has not made")
    return link


def _bring_up(socket: Socket, record: dict) -> None:
    """Make the bridge with its addresses, or complete one that is there."""
    name = record["bridge"]
    try:
        if _find(socket, record) is None:
            socket.perform([links.bridge(name, mac_of(record), record["mtu"])])
            proc.stop_point("net-bridge")
        link = _find(socket, record)
        if link is None:
            raise OSError(errno.ENODEV, "it has gone meanwhile")
        has_ipv6 = any([":" in entry["subnet"] for entry in record["subnets"]])
        links.bring_up(socket, link.index, alias=_ALIAS + record["id"], no_ipv6=not has_ipv6)
        for entry in record["subnets"]:
            _add_gateway(socket, link.index, entry)
    except OSError as err:
        raise interface.failed("make bridge", name, err) from err


def _add_gateway(socket: Socket, index: int, entry: dict) -> None:
    family, number = addresses.parse(entry["gateway"])
    prefix = addresses.parse_subnet(entry["subnet"]).prefix
    try:
        socket.perform([links.add_address(index, family, addresses.to_bytes(family, number), prefix)])
    except FileExistsError:
        pass


def _make_pair(networks: Networks, socket: Socket, bridge: int, record: dict, endpoint: dict, netns_fd: int) -> None:
    """Make the two links; a name that is taken is followed by another one, noted before it is used."""
    here, there = interface.parse_mac(endpoint["host_mac"]), interface.parse_mac(endpoint["mac"])
    attempt = 0
    while True:
        request = links.veth(endpoint["host_interface"], here, endpoint["interface"], there, netns_fd, record["mtu"],
                             bridge)
        try:
            socket.perform([request])
            return
        except FileExistsError:
            # The kernel says the same of the name inside: only a name of ours that is taken is worth another try.
            if links.find(socket, endpoint["host_interface"]) is None:
                raise
        attempt += 1
        endpoint["host_interface"] = interface.host_name(endpoint["id"], attempt)
        with networks.lock():
            state = networks.state(record["name"])
            state.endpoints[endpoint["id"]] = endpoint
            networks.save_state(record["name"], state)
