"""Macvlan networks: each container has a link of its own, with its own hardware address, on an interface of the host.

The host's own addresses are not reached through it, nor is a firewall of the host passed: that is the kind's nature.
"""

from __future__ import annotations

from capsule.errors import NetworkError
from capsule.linux import links
from capsule.network import interface
from capsule.network.driver import NetworkDriver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.network.store import Networks


class MacvlanDriver(NetworkDriver):
    """Containers beside the host on its own network."""

    __slots__ = ()
    name = "macvlan"

    def check(self, record: dict) -> None:
        name = record["name"]
        if not record["parent"]:
            raise NetworkError("create network", name, "macvlan needs --parent, an interface of this host")
        if not record["subnets"]:
            raise NetworkError("create network", name, "macvlan needs --subnet, that of its parent's network")
        if record["mode"] not in links.MACVLAN_MODES:
            raise NetworkError("create network", name,
                               f"{record['mode']!r} is no macvlan mode; known are {', '.join(links.MACVLAN_MODES)}")
        for option in ("internal", "isolate"):
            if record[option]:
                raise NetworkError("create network", name, f"--{option} needs the bridge driver")
        if not record["icc"]:
            raise NetworkError("create network", name, "with macvlan, --mode private keeps containers apart")
        if record["bridge"]:
            raise NetworkError("create network", name, "--interface-name needs the bridge driver")
        _parent(record)

    def create(self, networks: Networks, record: dict) -> None:
        _parent(record)

    def connect(self, networks: Networks, record: dict, endpoint: dict, netns_fd: int) -> None:
        parent = _parent(record)
        socket = interface.open_socket()
        inside = interface.open_socket(netns_fd)
        try:
            socket.perform([links.macvlan(endpoint["interface"], interface.parse_mac(endpoint["mac"]), netns_fd,
                                          record["mtu"], parent, record["mode"])])
            interface.furnish(inside, endpoint)
        except OSError as err:
            raise interface.failed("connect to network", record["name"], err) from err
        finally:
            socket.close()
            inside.close()

    def disconnect(self, networks: Networks, record: dict, endpoint: dict, netns_fd: int = -1) -> None:
        if netns_fd < 0:
            return  # nothing of it is in the host's namespace
        inside = interface.open_socket(netns_fd)
        try:
            link = links.find(inside, endpoint["interface"])
            if link is not None and link.kind == "macvlan" and interface.mac_text(link.address) == endpoint["mac"]:
                inside.perform([links.remove(link.index)])
        except OSError as err:
            raise interface.failed("remove link", endpoint["interface"], err) from err
        finally:
            inside.close()


def _parent(record: dict) -> int:
    """Return the index of the parent. Raises NetworkError."""
    socket = interface.open_socket()
    try:
        link = links.find(socket, record["parent"])
    except OSError as err:
        raise interface.failed("find interface", record["parent"], err) from err
    finally:
        socket.close()
    if link is None:
        raise NetworkError("use macvlan parent", record["parent"], "there is no interface of that name")
    return link.index
