"""port: what is published of a container, a line a port: `80/tcp -> 0.0.0.0:8080`."""

from __future__ import annotations

from capsule.cli import output
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import NetworkError
from capsule.network import ports, user_mode
from capsule.network.store import Networks
from capsule.state import store


def run(invocation: Invocation) -> int:
    """Print all published ports, or with a second argument where that one is published."""
    root = runtime_root(invocation)
    id = invocation.positionals[0]
    store.Store(root).open(id).close()  # says so when there is no such container
    published = [port for endpoint in Networks(root).endpoints() + user_mode.endpoints(root)
                 if endpoint["container"] == id for port in endpoint["ports"]]
    if len(invocation.positionals) < 2:
        output.print_out("".join([f"{line}\n" for line in ports.listing(published)]))
        return 0
    wanted, *further = ports.parse_exposed([invocation.positionals[1]])
    if further:
        raise NetworkError("find port", invocation.positionals[1], "expected one port and not a range")
    key = (wanted["proto"], wanted["container_port"])
    found = [port for port in published if (port["proto"], port["container_port"]) == key]
    if not found:
        raise NetworkError("find port", f"{wanted['container_port']}/{wanted['proto']} of container {id}",
                           "it is not published")
    output.print_out("".join([f"{line.partition(' -> ')[2]}\n" for line in ports.listing(found)]))
    return 0
