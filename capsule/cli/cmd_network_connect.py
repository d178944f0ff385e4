"""network connect and disconnect: containers that run. In the launcher, like what makes containers."""

from __future__ import annotations

from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import NetworkError
from capsule.network import attachment
from capsule.runtime import networking


def run(invocation: Invocation) -> int:
    """Connect a container to a network, or disconnect it."""
    name, id = invocation.positionals
    root = runtime_root(invocation)
    if invocation.command == "network connect":
        networking.attach(root, id, _request(name, invocation.options))
    elif not networking.detach(root, id, name) and not invocation.options["force"]:
        raise NetworkError("disconnect from network", name, f"container {id} is not connected to it")
    return 0


def _request(name: str, options: dict) -> dict:
    wanted = attachment.parse([name], ip=options["ip"], ip6=options["ip6"], mac=options["mac_address"],
                              aliases=options["alias"])
    if wanted is None or wanted.kind:
        raise NetworkError("connect to network", name, "a container that runs keeps its own namespace")
    return {**wanted.requests[0], "interface": options["interface_name"]}
