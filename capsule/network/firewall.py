"""The firewall of bridge networks. One atomic transaction for each change.

What the rules are is in ruleset.py; this module puts them into the kernel, takes them out, and reads them back. Our two
tables are ours alone, and no other table is touched. What a container's coming and going changes is one batch that we
send ourselves (batches.py); everything else, and whatever the kernel refuses of such a batch, is nft's: it makes what
is missing and has the words for an error. man 8 nft, libnftables-json(5), docs/decisions.

A record and an endpoint are dicts (docs/networking.md): record {"name", "bridge", "mac" (of the bridge), "subnets":
[{"subnet", ...}], "internal", "icc", "isolate", "masquerade"}; endpoint {"host_interface", "mac", "addresses",
"ports": [{"proto", "host_ip", "host_port", "container_port"}]}.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule._ext import proc
from capsule.errors import NetworkError, Unsupported
from capsule.linux import links, nftables
from capsule.network import (
    address as addresses,
    batches,
    conntrack,
    forwarding,
    interface,
    nft,
    ruleset as tables,
)
from capsule.network.ruleset import Element


def network_up(record: dict) -> None:
    """Make the tables what they should be and add a network to them. Idempotent. Raises NetworkError, Unsupported."""
    with _Lock(proc.LOCK_SH):
        nft.apply("add network", record["name"], tables.base() + tables.change("add", _network(record)))
        forwarding.let_through(record, _close)


def _network(record: dict) -> list[Element]:
    return tables.network_elements(record) + forwarding.elements(record)


def _close(family: str) -> None:
    nft.apply("close", family, tables.change("add", [("inet", "closed", (family,), ())]))


def network_down(record: dict, *, is_last: bool = True) -> None:
    """Take a network out of the tables. With the last one the tables go, and the host forwards no more than before us.

    Idempotent. Raises NetworkError, Unsupported.
    """
    with _Lock(proc.LOCK_EX):
        _remove("remove network", record["name"], tables.network_elements(record), [])
        if is_last:
            _drop_empty_tables(record)


def endpoint_up(record: dict, endpoint: dict) -> None:
    """Let an endpoint send from its addresses, and publish its ports. Idempotent. Raises NetworkError, Unsupported."""
    socket = open_socket()
    try:
        with _Lock(proc.LOCK_SH):
            if not _commit(socket, batches.up(record, endpoint)):
                _add_endpoint(record, endpoint)
        _forget_flows(socket, [port for port in endpoint.get("ports") or () if port["proto"] == "udp"])
    finally:
        socket.close()


def _forget_flows(socket: nftables.Socket, ports: list[dict]) -> None:
    """Forget what was begun to newly published ports: it would go on to where it went. What goes to others stays."""
    own = _own_addresses() if ports else []
    for port in ports:
        named = addresses.parse(port["host_ip"]) if port["host_ip"] else None
        for family, raw in own:
            if named is None or raw == addresses.to_bytes(*named) or not named[1]:
                conntrack.forget_udp_port(socket, family, raw, port["host_port"])


def _own_addresses() -> list[tuple[int, bytes]]:
    socket = interface.open_socket()
    try:
        return links.own_addresses(socket)
    except OSError as err:
        raise interface.failed("list addresses", "of this host", err) from err
    finally:
        socket.close()


def _add_endpoint(record: dict, endpoint: dict) -> None:
    elements = tables.endpoint_elements(record, endpoint)
    commands = tables.endpoint_chains(endpoint) + tables.change("add", elements)
    try:
        nft.apply("connect", endpoint["host_interface"], commands)
    except nft.Refused:
        # Somebody flushed the firewall, or a key is there with the data of an endpoint that has gone.
        stale = tables.change("delete", _same_keys(elements, endpoint["host_interface"]))
        network = tables.change("add", _network(record))
        nft.apply("connect", endpoint["host_interface"], tables.base() + network + stale + commands)
        forwarding.let_through(record, _close)


def endpoint_down(record: dict, endpoint: dict, socket: nftables.Socket | None = None) -> None:
    """Take an endpoint out of the tables and forget its connections. Idempotent. Raises NetworkError, Unsupported.

    `socket` is the caller's, who closes it last: the kernel lets nobody close one within 12 ms of a deletion.
    """
    own = socket or open_socket()
    try:
        if not _commit(own, batches.down(record, endpoint)):
            elements = tables.endpoint_elements(record, endpoint)
            interfaces = [key[0] for _, name, key, _ in elements if name == "targets"]
            _remove("disconnect", endpoint["host_interface"], elements, interfaces)
        for family, text in tables.own_addresses(endpoint):
            conntrack.forget_address(own, family, addresses.to_bytes(*addresses.parse(text)))
    finally:
        if socket is None:
            own.close()


def repair(networks: list[tuple[dict, list[dict]]], interfaces: dict[str, str]) -> None:
    """Bring the tables back to what the records want, in one transaction.

    `interfaces` are the links of this host with their hardware addresses: what is about others is stale. What another
    runtime root has in the tables stays. Raises NetworkError, Unsupported.
    """
    with _Lock(proc.LOCK_EX):
        stale = _stale(snapshot()["elements"], expected(networks), interfaces)
        chains = [key[0] for _, name, key, _ in stale if name == "targets"]
        commands = tables.base() + tables.change("delete", stale) + tables.remove_chains(chains)
        for _, endpoints in networks:
            for endpoint in endpoints:
                commands += tables.endpoint_chains(endpoint)
        nft.apply("repair", "firewall", commands + tables.change("add", expected(networks)))
        for record, _ in networks:
            forwarding.let_through(record, _close)
        if not networks and not snapshot()["elements"]:  # with some, somebody else's network may need them
            _drop_tables()


def is_there() -> bool:
    """Tell whether this host has tables of ours, as far as nft can tell: without it none could have been made."""
    try:
        nft.find()
    except Unsupported:
        return False
    return bool(snapshot()["chains"])


def _stale(present: list[Element], wanted: list[Element], interfaces: dict[str, str]) -> list[Element]:
    """Return what is about links that are not there, or about a port of an address that nobody has any more.

    Or about a subnet that no bridge has.

    And what stands in the way of an element that is wanted: the same key with other data.
    """
    wanted_data = {element[:3]: element[3] for element in wanted}
    alive = {key[1] for _, name, key, _ in [*present, *wanted]
             if name in ("addresses4", "addresses6") and key[0] in interfaces}
    subnets = {key[1] for _, name, key, _ in [*present, *wanted]
               if name in ("subnets4", "subnets6") and key[0] in interfaces}
    kept_targets = {(family, name, key) for family, name, key, data in present
                    if name.startswith("published") and not name.endswith("_port") and data[0] in alive}
    found = []
    for element in present:
        family, name, key, data = element
        if name.startswith("published"):
            is_stale = (family, name.removesuffix("_port"), key) not in kept_targets
        elif name in ("masquerade4", "masquerade6"):
            is_stale = key[0] not in subnets
        elif (family, name) in tables.HOST_SETS:
            is_stale = False
        else:
            is_stale = key[0] not in interfaces
        if wanted_data.get(element[:3], data) != data or (is_stale and element not in wanted):
            found.append(element)
    return found


def expected(networks: list[tuple[dict, list[dict]]]) -> list[Element]:
    """Return every element that the tables should hold."""
    found: dict[Element, None] = {}
    for record, endpoints in networks:
        for element in _network(record):
            found[element] = None
        for endpoint in endpoints:
            for element in tables.endpoint_elements(record, endpoint):
                found[element] = None
    return list(found)


def snapshot() -> dict:
    """Return what the kernel has of our tables: {"elements": [...], "chains": {(family, name): number of rules}}.

    Raises NetworkError, Unsupported.
    """
    return _ours(nft.ruleset())


def _ours(listed: list[dict]) -> dict:
    elements: list[Element] = []
    chains: dict[tuple[str, str], int] = {}
    for entry in listed:
        kind, body = next(iter(entry.items()))
        if body.get("table") != tables.TABLE or body.get("family") not in tables.FAMILIES:
            continue
        if kind == "chain":
            chains.setdefault((body["family"], body["name"]), 0)
        elif kind == "rule":
            where = (body["family"], body["chain"])
            chains[where] = chains.get(where, 0) + 1
        elif kind in ("set", "map"):
            elements += tables.parse_elements(body["family"], body)
    return {"elements": elements, "chains": chains}


def differences(networks: list[tuple[dict, list[dict]]], interfaces: dict[str, str]) -> list[str]:
    """Say, a line each, in what the kernel's tables are not what the records want; see `repair`.

    Raises NetworkError, Unsupported.
    """
    found = snapshot()
    wanted, present = expected(networks), set(found["elements"])
    lines = [f"missing {_describe(element)}" for element in wanted if element not in present]
    lines += [f"stale {_describe(element)}" for element in _stale(found["elements"], wanted, interfaces)]
    for family, name, _, body in tables.CHAINS if networks else ():
        count = found["chains"].get((family, name))
        if count != len(body):
            what = "is missing" if count is None else f"has {count} rules, not {len(body)}"
            lines.append(f"chain {name} of table {family} {tables.TABLE} {what}")
    return lines


def foreign_drops(networks: list[tuple[dict, list[dict]]]) -> list[str]:
    """Name the chains of others that drop what is forwarded, and what opens them for our bridges.

    A packet must be accepted by every table: our accepting it does not help where another one drops it. We write into
    no table but our own (docs/decisions). Raises NetworkError, Unsupported.
    """
    ways = [(way, record["bridge"]) for record, _ in networks for way in ("-i", "-o")]
    listed = nft.ruleset()
    lines = []
    for chain in _forward_chains(listed):
        if chain["table"] == tables.TABLE or chain.get("policy") != "drop":
            continue
        accepted = [_accepted(entry["rule"]) for entry in listed if "rule" in entry
                    and (entry["rule"]["family"], entry["rule"]["table"]) == (chain["family"], chain["table"])]
        closed = [way for way in ways if way not in accepted]
        if closed:
            where = f"chain {chain['name']} of table {chain['family']} {chain['table']}"
            lines.append(f"{where} may drop what containers send and get; {_opening(chain, closed, listed)}")
    return lines


def _accepted(rule: dict) -> tuple[str, str]:
    """Return the way that a rule accepts whatever takes it: ("-i" or "-o", a link), or two empty texts."""
    matches = [part["match"] for part in rule.get("expr", ()) if "match" in part]
    if len(matches) != 1 or not any(["accept" in part for part in rule["expr"]]) or matches[0]["op"] != "==":
        return "", ""
    key = matches[0]["left"].get("meta", {}).get("key")
    return {"iifname": "-i", "oifname": "-o"}.get(key, ""), matches[0]["right"]


def _opening(chain: dict, ways: list[tuple[str, str]], listed: list[dict]) -> str:
    program_name = "ip6tables" if chain["family"] == "ip6" else "iptables"
    has_users = any([one["chain"]["name"] == "DOCKER-USER" for one in listed if "chain" in one])
    target = "DOCKER-USER" if has_users else chain["name"]
    return "; ".join([f"{program_name} -I {target} {way} {name} -j ACCEPT" for way, name in ways])


def _describe(element: Element) -> str:
    family, name, key, data = element
    text = " . ".join([str(part) for part in key])
    if data:
        text += " : " + " . ".join([str(part) for part in data])
    return f"element of {family} {tables.TABLE} {name}: {text}"


def _remove(operation: str, subject: str, elements: list[Element], interfaces: list[str]) -> None:
    """Delete elements in one transaction; where some have gone, those that are left with the very data."""
    try:
        nft.apply(operation, subject, tables.change("delete", elements) + tables.remove_chains(interfaces))
        return
    except nft.Refused:
        found = snapshot()
    left = [element for element in elements if element in found["elements"]]
    chains = [name for name in interfaces if ("bridge", f"nd-{name}") in found["chains"]]
    if left or chains:
        nft.apply(operation, subject, tables.change("delete", left) + tables.remove_chains(chains))


def _same_keys(elements: list[Element], own: str) -> list[Element]:
    """Return what the kernel has under the keys of elements, with other data, of endpoints that have gone.

    Raises NetworkError where a container has what is asked for: one of another runtime root, for of ours we know.
    """
    wanted = {element[:3]: element[3] for element in elements if element[3]}
    present = snapshot()["elements"]
    found = [element for element in present if wanted.get(element[:3], element[3]) != element[3]]
    owners = {key[1]: key[0] for _, name, key, _ in present if name in ("addresses4", "addresses6") and key[0] != own}
    for _, name, key, data in found:
        owner = owners.get(data[0]) if name.startswith("published") else None
        if owner is not None and interface.exists(owner):
            raise NetworkError("publish port", ":".join([str(part) for part in (*key[:-2], key[-1])]) + f"/{key[-2]}",
                               f"the container at {data[0]}, of another runtime root, publishes it")
    return found


def _drop_empty_tables(record: dict) -> None:
    listed = nft.ruleset()
    found = _ours(listed)
    if [one for one in found["elements"] if (one[0], one[1]) not in tables.HOST_SETS]:
        return
    others = [chain for chain in _forward_chains(listed) if chain["table"] != tables.TABLE]
    if others:
        log.info(f"network {record['name']}: the host goes on forwarding, for it may be for table {others[0]['table']}")
    else:
        forwarding.restore(record, {key[0] for family, name, key, _ in found["elements"]})
    if found["chains"]:
        _drop_tables()


def _drop_tables() -> None:
    both = [{"table": {"family": family, "name": tables.TABLE}} for family in tables.FAMILIES]
    # Added first: of the two, one may have gone.
    nft.apply("remove", "firewall tables", [{verb: table} for verb in ("add", "delete") for table in both])


def _forward_chains(listed: list[dict]) -> list[dict]:
    return [entry["chain"] for entry in listed if entry.get("chain", {}).get("hook") == "forward"
            and entry["chain"]["family"] != "bridge"]


class _Lock:
    """The firewall of this network namespace: shared by those who add, alone for who drops what looked unused.

    The namespace's own file is what is locked: every process in it finds it, and nothing is left on a disk.
    """

    __slots__ = ("fd",)

    def __init__(self, operation: int) -> None:
        try:
            self.fd = posix.open("/proc/thread-self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            proc.flock(self.fd, operation)
        except OSError as err:
            raise NetworkError("lock", "the firewall", errno=err.errno) from err

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        posix.close(self.fd)


def open_socket() -> nftables.Socket:
    """Open a conversation with the kernel's firewall. Raises NetworkError."""
    try:
        return nftables.Socket()
    except OSError as err:
        raise NetworkError("ask", "the firewall", str(err.strerror), errno=err.errno) from err


def _commit(socket: nftables.Socket, batch: nftables.Batch) -> bool:
    """Carry out a batch; False where the kernel refuses it, and nothing has changed. nft then has the last word."""
    try:
        socket.commit(batch)
    except OSError as err:
        log.debug(f"network: the kernel refuses a batch: {err.strerror}")
        return False
    return True
