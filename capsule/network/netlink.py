"""Links and addresses as they are now, read through pyroute2: for commands that compare, not for making containers.

Importing pyroute2 takes ten times as long as making a container (docs/decisions): only what runs in an ordinary Python
comes here.
"""

from __future__ import annotations

from pyroute2 import IPRoute  # type: ignore[import-untyped]

from capsule.errors import NetworkError

_IFF_UP = 0x1


class Link:
    """A link of this network namespace: `master` is the name of its bridge, `addresses` are with their prefix."""

    __slots__ = ("name", "kind", "alias", "mac", "master", "is_up", "addresses")

    def __init__(self, name: str, kind: str, alias: str, mac: str, *, is_up: bool) -> None:
        self.name = name
        self.kind = kind
        self.alias = alias
        self.mac = mac
        self.is_up = is_up
        self.master = ""
        self.addresses: list[str] = []


def links() -> dict[str, Link]:
    """Return every link by its name. Raises NetworkError."""
    try:
        with IPRoute() as route:
            messages, addresses = list(route.get_links()), list(route.get_addr())
    except OSError as err:
        raise NetworkError("look at the links of this host", "", errno=err.errno) from err
    by_index = {message["index"]: _link(message) for message in messages}
    for message in messages:
        master = by_index.get(message.get_attr("IFLA_MASTER"))
        if master is not None:
            by_index[message["index"]].master = master.name
    for message in addresses:
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        by_index[message["index"]].addresses.append(f"{text}/{message['prefixlen']}")
    return {link.name: link for link in by_index.values()}


def _link(message) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info is not None else ""
    return Link(message.get_attr("IFLA_IFNAME"), kind or "", message.get_attr("IFLA_IFALIAS") or "",
                message.get_attr("IFLA_ADDRESS") or "", is_up=bool(message["flags"] & _IFF_UP))
