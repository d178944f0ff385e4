"""The firewall of bridge networks: the only caller of nft. One atomic transaction for each change.

What the rules are is in ruleset.py; this module puts them into the kernel, takes them out, and reads them back. Our two
tables are ours alone, and no other table is touched. What a container's coming and going changes is one batch that we
send ourselves (batches.py); everything else, and whatever the kernel refuses of such a batch, is nft's: it makes what
is missing and has the words for an error. man 8 nft, libnftables-json(5), docs/decisions.

A record and an endpoint are dicts (docs/networking.md): record {"name", "bridge", "mac" (of the bridge), "subnets":
[{"subnet", ...}], "internal", "icc", "isolate", "masquerade"}; endpoint {"host_interface", "mac", "addresses",
"ports": [{"proto", "host_ip", "host_port", "container_port"}]}.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule._ext import json, proc
from capsule.errors import NetworkError, Unsupported
from capsule.linux import nftables, program
from capsule.network import address as addresses, batches, conntrack, ruleset as tables
from capsule.network.ruleset import Element

_PLACES = ("/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft")
_ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
_TIMEOUT_MS = 30_000
_LISTING_MAX = 64 << 20  # bytes of rules that are read back


class Refused(NetworkError):
    """nft said no; nothing has changed. `cause` has its first words."""


def find_nft() -> str:
    """Return the path of nft. Raises Unsupported: to be asked before anything is made."""
    for path in _PLACES:
        if posix.access(path, posix.X_OK):
            return path
    raise Unsupported("network driver", "bridge", "the program nft is not installed (package nftables)")


def network_up(record: dict) -> None:
    """Make the tables what they should be and add a network to them. Idempotent. Raises NetworkError, Unsupported."""
    with _Lock(proc.LOCK_SH):
        _apply("add network", record["name"], tables.base() + tables.change("add", tables.network_elements(record)))
        _let_through(record)


def network_down(record: dict) -> None:
    """Take a network out of the tables; with the last one the tables go. Idempotent."""
    with _Lock(proc.LOCK_EX):
        _remove("remove network", record["name"], tables.network_elements(record), [])
        _drop_empty_tables()


def endpoint_up(record: dict, endpoint: dict) -> None:
    """Let an endpoint send from its addresses, and publish its ports. Idempotent. Raises NetworkError, Unsupported."""
    socket = _open_socket()
    try:
        with _Lock(proc.LOCK_SH):
            if not _commit(socket, batches.up(record, endpoint)):
                _add_endpoint(record, endpoint)
        # What was begun to a newly published port would go on to where it went.
        for port in endpoint.get("ports") or ():
            if port["proto"] == "udp":
                conntrack.forget_udp_port(socket, port["host_port"])
    finally:
        socket.close()


def _add_endpoint(record: dict, endpoint: dict) -> None:
    elements = tables.endpoint_elements(record, endpoint)
    commands = tables.endpoint_chains(endpoint) + tables.change("add", elements)
    try:
        _apply("connect", endpoint["host_interface"], commands)
    except Refused:
        # Somebody flushed the firewall, or a key is there with the data of an endpoint that has gone.
        stale = tables.change("delete", _same_keys(elements))
        network = tables.change("add", tables.network_elements(record))
        _apply("connect", endpoint["host_interface"], tables.base() + network + stale + commands)
        _let_through(record)


def endpoint_down(record: dict, endpoint: dict) -> None:
    """Take an endpoint out of the tables and forget its connections. Idempotent. Raises NetworkError, Unsupported."""
    socket = _open_socket()
    try:
        if not _commit(socket, batches.down(record, endpoint)):
            elements = tables.endpoint_elements(record, endpoint)
            interfaces = [key[0] for _, name, key, _ in elements if name == "targets"]
            _remove("disconnect", endpoint["host_interface"], elements, interfaces)
        for family, text in tables.own_addresses(endpoint):
            conntrack.forget_address(socket, family, addresses.to_bytes(*addresses.parse(text)))
    finally:
        _close_later(socket)


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
        _apply("repair", "firewall", commands + tables.change("add", expected(networks)))
        for record, _ in networks:
            _let_through(record)


def _stale(present: list[Element], wanted: list[Element], interfaces: dict[str, str]) -> list[Element]:
    """Return what is about links that are not there, or about a port of an address that nobody has any more.

    Or about a subnet that no bridge has, or a gateway that is none's address.

    And what stands in the way of an element that is wanted: the same key with other data.
    """
    wanted_data = {element[:3]: element[3] for element in wanted}
    alive = {key[1] for _, name, key, _ in [*present, *wanted]
             if name in ("addresses4", "addresses6") and key[0] in interfaces}
    subnets = {key[1] for _, name, key, _ in [*present, *wanted]
               if name in ("subnets4", "subnets6") and key[0] in interfaces}
    gateways = set(interfaces.values())
    kept_targets = {(family, name, key) for family, name, key, data in present
                    if name.startswith("published") and not name.endswith("_port") and data[0] in alive}
    found = []
    for element in present:
        family, name, key, data = element
        if name.startswith("published"):
            is_stale = (family, name.removesuffix("_port"), key) not in kept_targets
        elif name in ("masquerade4", "masquerade6"):
            is_stale = key[0] not in subnets
        elif name == "gateways":
            is_stale = key[0] not in gateways
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
        for element in tables.network_elements(record):
            found[element] = None
        for endpoint in endpoints:
            for element in tables.endpoint_elements(record, endpoint):
                found[element] = None
    return list(found)


def snapshot() -> dict:
    """Return what the kernel has of our tables: {"elements": [...], "chains": {(family, name): number of rules}}.

    Raises NetworkError, Unsupported.
    """
    elements: list[Element] = []
    chains: dict[tuple[str, str], int] = {}
    for entry in ruleset():
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


def ruleset() -> list[dict]:
    """Return every object of every table, as nft lists them."""
    status, output = _run(["-j", "list", "ruleset"], b"")
    if status:
        raise NetworkError("list", "firewall rules", _first_words(output))
    try:
        listed = json.loads(output)["nftables"]  # type: ignore[index]
    except (ValueError, KeyError, TypeError) as err:
        raise NetworkError("list", "firewall rules", "nft's answer is not the JSON that it should be") from err
    return [entry for entry in listed if "metainfo" not in entry]


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
    bridges = [record["bridge"] for record, _ in networks]
    lines = []
    for entry in ruleset():
        chain = entry.get("chain")
        if not chain or chain.get("hook") != "forward" or chain.get("table") == tables.TABLE:
            continue
        if chain.get("policy") != "drop" and chain["table"] != "firewalld":
            continue
        where = f"chain {chain['name']} of table {chain['family']} {chain['table']}"
        lines.append(f"{where} may drop what containers send and get; {_opening(chain, bridges)}")
    return lines


def _opening(chain: dict, bridges: list[str]) -> str:
    if chain["table"] == "firewalld":
        return "; ".join([f"firewall-cmd --permanent --zone=trusted --add-interface={name}" for name in bridges])
    program_name = "ip6tables" if chain["family"] == "ip6" else "iptables"
    target = "DOCKER-USER" if any(["chain" in one and one["chain"]["name"] == "DOCKER-USER" for one in ruleset()]) \
        else chain["name"]
    return "; ".join([f"{program_name} -I {target} {way} {name} -j ACCEPT" for name in bridges for way in ("-i", "-o")])


def _describe(element: Element) -> str:
    family, name, key, data = element
    text = " . ".join([str(part) for part in key])
    if data:
        text += " : " + " . ".join([str(part) for part in data])
    return f"element of {family} {tables.TABLE} {name}: {text}"


def _remove(operation: str, subject: str, elements: list[Element], interfaces: list[str]) -> None:
    """Delete elements in one transaction; where some have gone, those that are left with the very data."""
    try:
        _apply(operation, subject, tables.change("delete", elements) + tables.remove_chains(interfaces))
        return
    except Refused:
        found = snapshot()
    left = [element for element in elements if element in found["elements"]]
    chains = [name for name in interfaces if ("bridge", f"nd-{name}") in found["chains"]]
    if left or chains:
        _apply(operation, subject, tables.change("delete", left) + tables.remove_chains(chains))


def _same_keys(elements: list[Element]) -> list[Element]:
    """Return what the kernel has under the keys of elements, with other data."""
    wanted = {element[:3]: element[3] for element in elements if element[3]}
    return [element for element in snapshot()["elements"] if wanted.get(element[:3], element[3]) != element[3]]


def _drop_empty_tables() -> None:
    found = snapshot()
    if found["chains"] and not [one for one in found["elements"] if (one[0], one[1]) not in tables.HOST_SETS]:
        both = [{"table": {"family": family, "name": tables.TABLE}} for family in tables.FAMILIES]
        # Added first: of the two, one may have gone.
        _apply("remove", "firewall tables", [{verb: table} for verb in ("add", "delete") for table in both])


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


def _open_socket() -> nftables.Socket:
    try:
        return nftables.Socket()
    except OSError as err:
        raise NetworkError("ask", "the firewall", str(err.strerror), errno=err.errno) from err


_kept: list[nftables.Socket] = []


def _close_later(socket: nftables.Socket) -> None:
    """Close a socket when the next one is kept, or with the process: whoever closes one after a deletion waits (12 ms).

    Until then the rest of a container's removal is done.
    """
    release()
    _kept.append(socket)


def release() -> None:
    """Close what was kept: a process that lives on holds no network namespace by it."""
    while _kept:
        _kept.pop().close()


def _commit(socket: nftables.Socket, batch: nftables.Batch) -> bool:
    """Carry out a batch; False where the kernel refuses it, and nothing has changed. nft then has the last word."""
    try:
        socket.commit(batch)
    except OSError as err:
        log.debug(f"network: the kernel refuses a batch: {err.strerror}")
        return False
    return True


def _apply(operation: str, subject: str, commands: list[dict]) -> None:
    """Carry out commands, all or none. Raises Refused, NetworkError, Unsupported."""
    if not commands:
        return
    status, output = _run(["-j", "-f", "-"], json.dumps({"nftables": commands}))
    if status:
        raise Refused(operation, subject, f"nft: {_first_words(output)}")


def _run(args: list[str], stdin: bytes) -> tuple[int, bytes]:
    path = find_nft()
    try:
        return program.run(path, ["nft", *args], _ENVIRONMENT, stdin=stdin, timeout_ms=_TIMEOUT_MS, keep=_LISTING_MAX)
    except program.TimedOut as err:
        raise NetworkError("run", "nft", f"no answer within {_TIMEOUT_MS // 1000} s") from err
    except OSError as err:
        raise NetworkError("run", path, errno=err.errno) from err


def _first_words(output: bytes) -> str:
    for line in output.decode("utf-8", "replace").split("\n"):
        if "Error: " in line:
            return line.partition("Error: ")[2].strip().lower()
    return output.decode("utf-8", "replace").strip().partition("\n")[0] or "it failed without a word"


def _let_through(record: dict) -> None:
    """Let the kernel forward for a network's families, and route 127.0.0.1 over its bridge.

    An IPv6 host that forwards no longer listens to router advertisements unless it is told to (accept_ra 2).
    """
    families = {addresses.parse_subnet(entry["subnet"]).family for entry in record["subnets"]}
    if record.get("internal"):
        return
    if 4 in families:
        _set(f"ipv4/conf/{record['bridge']}/route_localnet", "1")
        _forward("ipv4/ip_forward", "ipv4")
    if 6 in families:
        if _get("ipv6/conf/all/forwarding") == "0":
            for name in posix.listdir("/proc/sys/net/ipv6/conf"):
                if _get(f"ipv6/conf/{name}/accept_ra") == "1":
                    _set(f"ipv6/conf/{name}/accept_ra", "2")
        _forward("ipv6/conf/all/forwarding", "ipv6")


def _forward(path: str, family: str) -> None:
    if _get(path) != "0":
        return
    # The host was no router before: it shall not become one for anybody else.
    _apply("close", family, tables.change("add", [("inet", "closed", (family,), ())]))
    _set(path, "1")


def _get(path: str) -> str:
    try:
        fd = posix.open(f"/proc/sys/net/{path}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return posix.read(fd, 64).decode().strip()
    finally:
        posix.close(fd)


def _set(path: str, value: str) -> None:
    try:
        fd = posix.open(f"/proc/sys/net/{path}", posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError as err:
        if err.errno in (errno.EROFS, errno.EACCES):
            log.warning(f"network: /proc/sys/net/{path} is not {value} and cannot be written here")
            return
        raise NetworkError("set sysctl", path.replace("/", "."), errno=err.errno) from err
    try:
        posix.write(fd, value.encode())
    except OSError as err:
        raise NetworkError("set sysctl", path.replace("/", "."), errno=err.errno) from err
    finally:
        posix.close(fd)
