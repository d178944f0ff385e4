"""check and reload: records and leases against what the kernel has, and back in agreement.

`reload` makes again what a reboot, a removed bridge or a flushed firewall has taken. `check` tells what does not
agree, and with `fix` repairs what can be repaired without touching a container.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from capsule.errors import CapsuleError, CorruptRecord, NetworkError
from capsule.linux import links
from capsule.network import (
    attendant,
    bridge as bridges,
    dns,
    driver as drivers,
    endpoint as endpoints,
    firewall,
    firewalld,
    interface,
    loopback,
    netlink,
)
from capsule.network.store import Networks, State


class Finding:
    """Something that does not agree. `repair` is None where only a person can do something."""

    __slots__ = ("network", "subject", "problem", "repair", "fixed")

    def __init__(self, network: str, subject: str, problem: str, repair: Callable[[], object] | None) -> None:
        self.network = network
        self.subject = subject
        self.problem = problem
        self.repair = repair
        self.fixed = False


def reload(networks: Networks, name: str) -> None:
    """Make again whatever a network and its endpoints need on this host. Raises NetworkError, NoSuchNetwork."""
    record = networks.load(name)
    driver = drivers.find(record["driver"])
    driver.create(networks, record)
    with networks.lock():
        state = networks.state(name)
        if endpoints.reclaim(networks, record, state):
            networks.save_state(name, state)
    for endpoint in state.endpoints.values():
        _restore(networks, record, endpoint["id"])
    dns.refresh(networks, name)


def _restore(networks: Networks, record: dict, id: str) -> None:
    """Make again what an endpoint has on the host: rules, then its link's place on the bridge, then its proxy.

    One that has gone meanwhile, or is on its way, gets nothing: what is made now would outlive it.
    """
    with networks.lock():
        endpoint = networks.state(record["name"]).endpoints.get(id)
        if endpoint is None or endpoint.get("leaving"):
            return
        has_rules = drivers.find(record["driver"]).has_rules
        if has_rules:
            firewall.endpoint_up(record, endpoint)
        _put_back(record, endpoint)
    if has_rules:
        loopback.up(networks, endpoint)


def _put_back(record: dict, endpoint: dict) -> None:
    """Make an endpoint's link a port of its bridge again. One that has gone stays so: its container may have ended."""
    if not endpoint["host_interface"]:
        return
    socket = interface.open_socket()
    try:
        link, bridge = links.find(socket, endpoint["host_interface"]), links.find(socket, record["bridge"])
        if link is not None and bridge is not None and interface.mac_text(link.address) == endpoint["host_mac"]:
            socket.perform([links.enslave(link.index, bridge.index)])
            bridges.bring_up_port(socket, link.index, endpoint)
    except OSError as err:
        raise interface.failed("put back link", endpoint["host_interface"], err) from err
    finally:
        socket.close()


def check(networks: Networks, *, is_running: Callable[[str], bool], fix: bool = False) -> list[Finding]:
    """Compare every network; with `fix` repair what can be. Raises NetworkError.

    Nobody is given an address meanwhile; who has one and is not quite connected yet may be named.
    """
    with networks.lock():
        found = _compare(networks, is_running)
    if fix:
        _repair(found)
    return found


def _compare(networks: Networks, is_running: Callable[[str], bool]) -> list[Finding]:
    """Compare everything. The lock is held."""
    present = netlink.links()
    found: list[Finding] = []
    for name in networks.names():
        try:
            record = networks.load(name)
            state = networks.state(name)
        except CorruptRecord as err:
            found.append(Finding(name, "record", str(err), None))
            continue
        found += _check_leases(networks, record, state)
        if record["driver"] == "bridge":
            found += _check_bridge(networks, record, present)
            found += _check_ports(networks, record, state, present, is_running)
            found += _check_attendants(networks, record, state, is_running)
    for name in set(networks.stateful()) - set(networks.names()):
        found.append(Finding(name, "leases", "their network is no more", partial(_forget, networks, name)))
    found += _check_strays(networks)
    return found + _check_rules(networks)


def _check_rules(networks: Networks) -> list[Finding]:
    ruled, interfaces = _rule_facts(networks)
    if not ruled and not firewall.is_there():
        return []  # without a network nft may well be missing
    again = partial(_repair_rules, networks)
    found = [Finding("", "firewall", problem, again) for problem in firewall.differences(ruled, interfaces)]
    found += [Finding("", "firewall", problem, None) for problem in firewall.foreign_drops(ruled)]
    return found + _check_firewalld([record["bridge"] for record, _ in ruled])


def _check_firewalld(bridges: list[str]) -> list[Finding]:
    try:
        return [Finding("", name, "firewalld does not let it through", partial(firewalld.put, name))
                for name in firewalld.rejected(bridges)]
    except NetworkError as err:
        return [Finding("", "firewall", str(err), None)]


def _repair_rules(networks: Networks) -> None:
    """Repair by what is so now: since the comparison containers may have come, and their rules with them."""
    with networks.lock():
        firewall.repair(*_rule_facts(networks))


def _rule_facts(networks: Networks) -> tuple[list[tuple[dict, list[dict]]], dict[str, str]]:
    """Return the networks that have rules, each with the endpoints that stay, and {link: hardware address}.

    The lock is held: whose link is there has an endpoint, which is noted first.
    """
    interfaces = {name: link.mac for name, link in netlink.links().items()}
    ruled = []
    for name in networks.names():
        try:
            record, state = networks.load(name), networks.state(name)
        except CorruptRecord:
            continue
        if drivers.find(record["driver"]).has_rules:
            ruled.append((record, [one for one in state.endpoints.values() if not one.get("leaving")]))
    return ruled, interfaces


def _repair(found: list[Finding]) -> None:
    for finding in found:
        if finding.repair is None:
            continue
        try:
            finding.repair()
            finding.fixed = True
        except CapsuleError as err:
            finding.problem += f"; not repaired: {err}"


def _check_leases(networks: Networks, record: dict, state: State) -> list[Finding]:
    name = record["name"]
    found = [Finding(name, text, "leased to an endpoint that is not there", partial(_reclaim, networks, record))
             for text, owner in state.leases.items() if owner not in state.endpoints]
    for endpoint in state.endpoints.values():
        container = endpoint["container"]
        if endpoints.is_orphan(networks, endpoint):
            found.append(Finding(name, container, "the container is no more, its endpoint is still there",
                                 partial(_reclaim, networks, record)))
        for text in endpoint["addresses"]:
            if state.leases.get(text.partition("/")[0]) != endpoint["id"]:
                found.append(Finding(name, container, f"its address {text} is not leased to it", None))
    return found


def _reclaim(networks: Networks, record: dict) -> None:
    with networks.lock():
        state = networks.state(record["name"])
        if endpoints.reclaim(networks, record, state):
            networks.save_state(record["name"], state)


def _forget(networks: Networks, name: str) -> None:
    for id in list(networks.state(name).endpoints):
        endpoints.disconnect(networks, name, id)
    with networks.lock():
        networks.remove(name)


def _check_bridge(networks: Networks, record: dict, present: dict[str, netlink.Link]) -> list[Finding]:
    name = record["name"]
    bridge = present.get(record["bridge"])
    again = partial(reload, networks, name)
    if bridge is None:
        return [Finding(name, record["bridge"], "the bridge is missing", again)]
    if bridge.kind != "bridge" or bridge.mac != interface.mac_text(bridges.mac_of(record)):
        return [Finding(name, record["bridge"], "an interface that it has not made has that name", None)]
    found = []
    if not bridge.is_up:
        found.append(Finding(name, record["bridge"], "the bridge is down", again))
    for entry in record["subnets"]:
        address = f"{entry['gateway']}/{entry['subnet'].partition('/')[2]}"
        if address not in bridge.addresses:
            found.append(Finding(name, record["bridge"], f"the bridge lacks the address {address}", again))
    return found


def _check_ports(networks: Networks, record: dict, state: State, present: dict[str, netlink.Link],
                 is_running: Callable[[str], bool]) -> list[Finding]:
    name, found = record["name"], []
    known = set()
    for endpoint in state.endpoints.values():
        known.add(endpoint["host_interface"])
        link = present.get(endpoint["host_interface"])
        container = endpoint["container"]
        if link is None:
            if is_running(container):
                found.append(Finding(name, container, f"its link {endpoint['host_interface']} is missing; network "
                                                      "disconnect and connect make another", None))
        elif link.mac == endpoint["host_mac"] and (link.master != record["bridge"] or not link.is_up):
            found.append(Finding(name, container, f"its link {link.name} is no port of the bridge, or is down",
                                 partial(_restore, networks, record, endpoint["id"])))
    for link in present.values():
        if link.master == record["bridge"] and interface.is_ours(link) and link.name not in known:
            found.append(Finding(name, link.name, "a link on the bridge that is no container's",
                                 partial(_remove_stray, networks, record, link.name)))
    return found


def _check_attendants(networks: Networks, record: dict, state: State,
                      is_running: Callable[[str], bool]) -> list[Finding]:
    name, found = record["name"], []
    if dns.is_lacking(networks, record, list(state.endpoints.values())):
        found.append(Finding(name, "names", "its DNS responder does not run", partial(dns.refresh, networks, name)))
    for endpoint in state.endpoints.values():
        if loopback.is_lacking(networks, endpoint) and is_running(endpoint["container"]):
            found.append(Finding(name, endpoint["container"], "the proxy of its ports does not run",
                                 partial(loopback.up, networks, endpoint)))
    return found


def _check_strays(networks: Networks) -> list[Finding]:
    """Find attendants that nobody needs: a refresh removes a responder, and no container has the proxy."""
    found = [Finding(name, "names", "its DNS responder is there without a container",
                     partial(dns.refresh, networks, name)) for name in dns.strays(networks)]
    return found + [Finding("", path, "the proxy of an endpoint that has gone", partial(attendant.stop, path))
                    for path in loopback.strays(networks)]


def _remove_stray(networks: Networks, record: dict, name: str) -> None:
    """Remove a link that no endpoint has; one that was noted meanwhile is a new container's."""
    with networks.lock():
        if name in [endpoint["host_interface"] for endpoint in networks.state(record["name"]).endpoints.values()]:
            return
        socket = interface.open_socket()
        try:
            link = links.find(socket, name)
            if link is not None:
                socket.perform([links.remove(link.index)])
        except OSError as err:
            raise interface.failed("remove link", name, err) from err
        finally:
            socket.close()
