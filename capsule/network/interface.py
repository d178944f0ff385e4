"""An interface inside a network namespace: what is the same whatever it is made of."""

from __future__ import annotations

from capsule._ext import seccomp
from capsule.errors import NetworkError
from capsule.linux import links, rtnetlink
from capsule.network import address as addresses

_TRIES = 16


def failed(operation: str, subject: str, err: OSError) -> NetworkError:
    """Turn the kernel's refusal into ours, with its own words where it has some."""
    return NetworkError(operation, subject, err.strerror or "", errno=err.errno)


def open_socket(netns_fd: int = -1) -> rtnetlink.Socket:
    """Open a netlink socket in a network namespace, -1 being ours. Raises NetworkError."""
    try:
        return rtnetlink.Socket(netns_fd)
    except OSError as err:
        raise NetworkError("open netlink socket", "", errno=err.errno) from err


def exists(name: str) -> bool:
    """Tell whether this network namespace has a link of that name. Raises NetworkError."""
    socket = open_socket()
    try:
        return links.find(socket, name) is not None
    except OSError as err:
        raise failed("find interface", name, err) from err
    finally:
        socket.close()


def hashed(prefix: str, *parts: str) -> str:
    """Return a name for a link, the same for the same parts: `prefix` and ten hexadecimal digits."""
    return prefix + seccomp.digest("\0".join(parts).encode()).hex()[:10]


def host_name(endpoint_id: str, attempt: int) -> str:
    """Return the name of an endpoint's link on the host; the next attempt's where another link has it."""
    if attempt >= _TRIES:
        raise NetworkError("make link of endpoint", endpoint_id, f"{_TRIES} names in a row are taken")
    return hashed("veth", endpoint_id, str(attempt))


def is_ours(link) -> bool:
    """Tell whether a link of the host (with `name`, `kind`, `mac`) was made for an endpoint, by how those are made."""
    return link.kind == "veth" and link.name.startswith("veth") and len(link.name) == 14 and link.mac.startswith("06:")


def derived_mac(first_address: str) -> str:
    """Return the hardware address that goes with an IP address, locally administered.

    An address that is leased again comes with the same one, so that no neighbour remembers a wrong one.
    """
    family, number = addresses.parse(first_address)
    raw = addresses.to_bytes(family, number)
    tail = raw if family == 4 else seccomp.digest(raw)[:4]
    return mac_text(b"\x02\xca" + tail)


def mac_text(raw: bytes) -> str:
    return ":".join([f"{byte:02x}" for byte in raw])


def parse_mac(text: str) -> bytes:
    """Read a hardware address that one device can have. Raises NetworkError."""
    words = text.split(":")
    if len(words) == 6 and all([len(word) == 2 and not word.strip("0123456789abcdefABCDEF") for word in words]):
        raw = bytes([int(word, 16) for word in words])
        if not raw[0] & 1 and any(raw):
            return raw
    raise NetworkError("use MAC address", repr(text), "expected that of one device, such as 02:00:00:00:00:01")


def furnish(socket: rtnetlink.Socket, endpoint: dict) -> None:
    """Give the interface its addresses and routes, and bring it up. Raises OSError."""
    link = links.find(socket, endpoint["interface"])
    if link is None:
        raise OSError(19, "it has gone meanwhile")
    parsed = [addresses.split(text) for text in endpoint["addresses"]]
    links.bring_up(socket, link.index, no_ipv6=not any([family == 6 for family, _, _ in parsed]))
    requests = []
    for family, number, prefix in parsed:
        requests.append(links.add_address(link.index, family, addresses.to_bytes(family, number), prefix))
    socket.perform(requests + _routes(link.index, endpoint["gateways"]))


def route(socket: rtnetlink.Socket, name: str, gateways: list[str]) -> None:
    """Send what is for nobody near to gateways; fine where the container does so already. Raises OSError."""
    link = links.find(socket, name)
    if link is None:
        raise OSError(19, "it has gone meanwhile")
    for request in _routes(link.index, gateways):
        try:
            socket.perform([request])
        except FileExistsError:
            pass


def _routes(index: int, gateways: list[str]) -> list:
    parsed = [addresses.parse(text) for text in gateways]
    return [links.default_route(index, family, addresses.to_bytes(family, number)) for family, number in parsed]


def bridge_mac(id: str) -> bytes:
    """Return the hardware address of a network's bridge."""
    return b"\x02\xcb" + seccomp.digest(id.encode())[:4]
