"""The firewall as the rest of this package sees it: the one seam to firewall.py, which alone speaks to nft.

Runs in the launcher too, while a container is being made: what is called from here imports only what the launcher has.
The first four are idempotent, raise NetworkError, and take the dicts that docs/networking.md lists. Only networks
whose driver says `has_rules` come here.
"""

from __future__ import annotations

from capsule.errors import Unsupported


def network_up(record: dict) -> None:
    """Put a network's own rules in place: masquerading, isolation, what is internal."""


def network_down(record: dict) -> None:
    """Take them back."""


def endpoint_up(record: dict, endpoint: dict) -> None:
    """Put the rules of one endpoint in place: whose packets it may send, published ports."""


def endpoint_down(record: dict, endpoint: dict) -> None:
    """Take them back, and forget the connections that they made."""


def publish(ports: list[dict], reserved: list[dict]) -> list[dict]:
    """Return the ports with every host port chosen; `reserved` are those of all other endpoints.

    Called under the lock of the networks, before anything is made. Raises NetworkError for a port in use.
    """
    if ports:
        raise Unsupported("publish ports", "", "the firewall is not built yet")
    return []


def read_ports(texts: list[str]) -> list[dict]:
    """Return what `--publish` says, a dict a port: "proto", "host_ip", "host_port" (0: any), "container_port".

    Raises NetworkError for what is no port.
    """
    raise Unsupported("publish ports", "", "the firewall is not built yet")
