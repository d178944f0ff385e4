"""The firewall's rules as data: a base that never changes, and what a network or an endpoint adds to its sets.

The base is two tables: `inet capsule` (routing, publishing, masquerading) and `bridge capsule` (what an endpoint may
send). A network and an endpoint are elements of their sets and maps, so a packet passes as many rules with a thousand
containers as with one. docs/firewall.md draws the way of a packet. man 8 nft; libnftables-json(5).

An element is (family, set, key, data): key and data are tuples of texts and numbers, data is () in a set.
"""

from __future__ import annotations

from capsule.network import address as addresses, interface

Element = tuple[str, str, tuple, tuple]

TABLE = "capsule"
FAMILIES = ("inet", "bridge")
#: Every set and map: family, name, types of the key, type of the data ("" for a set), whether keys are subnets.
SETS = (
    ("inet", "bridges", ("ifname",), "", False),  # bridges of our networks
    ("inet", "within", ("ifname", "ifname"), "", False),  # a bridge and itself, where containers may talk
    ("inet", "internal", ("ifname",), "", False),  # bridges that nothing enters or leaves
    ("inet", "own", ("ifname", "ifname"), "", False),  # a bridge and itself
    ("inet", "isolated", ("ifname",), "", False),  # bridges whose published ports are not for other networks
    ("inet", "subnets4", ("ifname", "ipv4_addr"), "", True),
    ("inet", "subnets6", ("ifname", "ipv6_addr"), "", True),
    ("inet", "masquerade4", ("ipv4_addr",), "", True),
    ("inet", "masquerade6", ("ipv6_addr",), "", True),
    # Published ports: to which address, to which port. Two maps, for nft 1.0.6 takes no pair of them in JSON.
    ("inet", "published4", ("inet_proto", "inet_service"), "ipv4_addr", False),
    ("inet", "published4_port", ("inet_proto", "inet_service"), "inet_service", False),
    ("inet", "published4_at", ("ipv4_addr", "inet_proto", "inet_service"), "ipv4_addr", False),
    ("inet", "published4_at_port", ("ipv4_addr", "inet_proto", "inet_service"), "inet_service", False),
    ("inet", "published6", ("inet_proto", "inet_service"), "ipv6_addr", False),
    ("inet", "published6_port", ("inet_proto", "inet_service"), "inet_service", False),
    ("inet", "published6_at", ("ipv6_addr", "inet_proto", "inet_service"), "ipv6_addr", False),
    ("inet", "published6_at_port", ("ipv6_addr", "inet_proto", "inet_service"), "inet_service", False),
    ("inet", "ends", ("ifname",), "", False),  # host sides of endpoints
    ("inet", "closed", ("nf_proto",), "", False),  # families that this host did not forward before us
    ("bridge", "ends", ("ifname",), "", False),  # host sides of endpoints
    ("bridge", "alone", ("ifname",), "", False),  # those whose containers may not talk to each other
    ("bridge", "bridge_macs", ("ifname", "ether_addr"), "", False),  # of those, and where they may send
    ("bridge", "macs", ("ifname", "ether_addr"), "", False),
    ("bridge", "addresses4", ("ifname", "ipv4_addr"), "", False),
    ("bridge", "addresses6", ("ifname", "ipv6_addr"), "", False),
    ("bridge", "targets", ("ifname",), "verdict", False),  # which neighbour an endpoint may say that it is
)
#: Sets whose elements belong to the host and not to a network: they stay when everything else is written anew.
HOST_SETS = (("inet", "closed"),)


def _meta(key: str) -> dict:
    return {"meta": {"key": key}}


def _field(protocol: str, field: str) -> dict:
    return {"payload": {"protocol": protocol, "field": field}}


def _concat(*parts: dict) -> dict:
    return {"concat": list(parts)}


def _is(left: dict, right: object, op: str = "==") -> dict:
    return {"match": {"op": op, "left": left, "right": right}}


def _isnt(left: dict, right: object) -> dict:
    return _is(left, right, "!=")


def _jump(chain: str) -> dict:
    return {"jump": {"target": chain}}


def _dnat(family: str, name: str, *key: dict) -> list:
    looked_up = {"addr": f"@{name}", "port": f"@{name}_port"}
    return [_is(_meta("l4proto"), {"set": ["tcp", "udp", "sctp"]}),
            {"dnat": {"family": family, **{part: {"map": {"key": _concat(*key), "data": data}}
                                           for part, data in looked_up.items()}}}]


_ACCEPT, _DROP, _RETURN, _MASQUERADE = {"accept": None}, {"drop": None}, {"return": None}, {"masquerade": None}
_FROM, _TO = _meta("iifname"), _meta("oifname")
_L4, _PORT = _meta("l4proto"), _field("th", "dport")
_SADDR4, _DADDR4, _SADDR6, _DADDR6 = (_field("ip", "saddr"), _field("ip", "daddr"), _field("ip6", "saddr"),
                                      _field("ip6", "daddr"))
_LOCALNET = {"prefix": {"addr": "127.0.0.0", "len": 8}}
_TO_THIS_HOST = _is({"fib": {"result": "type", "flags": ["daddr"]}}, "local")
_OF_ITS_LINK = {"fib": {"result": "type", "flags": ["daddr", "iif"]}}
_PUBLISHED = _is({"ct": {"key": "status"}}, "dnat", "in")
_IS_GROUP = {"&": [_field("ether", "daddr"), "01:00:00:00:00:00"]}
_NO_GROUP = "00:00:00:00:00:00"

#: Chains in the order in which they must exist: family, name, (type, hook, priority) or (), rules.
CHAINS: tuple[tuple[str, str, tuple, list], ...] = (
    ("inet", "guard", ("filter", "prerouting", -300), [
        # A container speaks to its bridge: nothing that it sends is the port's own (frames to 01:80:c2:00:00:0X are).
        [_is(_FROM, "@ends"), _DROP],
        # The kernel drops it as well, unless somebody has set route_localnet for every link.
        [_is(_FROM, "@bridges"), _is(_DADDR4, _LOCALNET), _DROP],
        [_is(_FROM, "@bridges"), _is(_SADDR4, _LOCALNET), _DROP],
    ]),
    ("inet", "publish", (), [
        _dnat("ip", "published4_at", _DADDR4, _L4, _PORT),
        _dnat("ip", "published4", _L4, _PORT),
        _dnat("ip6", "published6_at", _DADDR6, _L4, _PORT),
        _dnat("ip6", "published6", _L4, _PORT),
    ]),
    ("inet", "arriving", ("nat", "prerouting", -100), [
        # A neighbour can send a packet to 127.0.0.1 over the wire; turned into a container's it would be routed.
        [_is(_DADDR4, _LOCALNET), _RETURN],
        # Port 53 of its gateway is the responder's, whoever publishes that port.
        [_is(_FROM, "@bridges"), _is(_L4, {"set": ["tcp", "udp"]}), _is(_PORT, 53), _is(_OF_ITS_LINK, "local"),
         _RETURN],
        [_TO_THIS_HOST, _jump("publish")],
    ]),
    ("inet", "leaving", ("nat", "output", -100), [
        # What leaves from the loopback over another link gets no answer there: a proxy serves it (loopback.py).
        [_is(_DADDR4, _LOCALNET), _RETURN],
        [_is(_DADDR6, "::1"), _RETURN],
        [_TO_THIS_HOST, _jump("publish")],
    ]),
    ("inet", "strangers", (), [
        # With br_netfilter what crosses a bridge of somebody else's passes here too; it is not forwarded by routing.
        [_is(_meta("iifkind"), "bridge"), _is(_meta("oifkind"), "bridge"), _RETURN],
        [_is(_meta("nfproto"), "@closed"), _DROP],
    ]),
    ("inet", "forward", ("filter", "forward", 0), [
        [_isnt(_FROM, "@bridges"), _isnt(_TO, "@bridges"), {"goto": {"target": "strangers"}}],
        [_is(_concat(_FROM, _TO), "@within"), _ACCEPT],
        [_is(_FROM, "@internal"), _DROP],
        [_is(_TO, "@internal"), _DROP],
        [_is({"ct": {"key": "state"}}, ["established", "related"], "in"), _ACCEPT],
        # Such packets are not translated: they would show a container's own address outside.
        [_is({"ct": {"key": "state"}}, "invalid", "in"), _DROP],
        [_PUBLISHED, _is(_concat(_FROM, _TO), "@own"), _ACCEPT],
        [_is(_FROM, "@isolated"), _is(_TO, "@bridges"), _DROP],
        [_is(_FROM, "@bridges"), _is(_TO, "@isolated"), _DROP],
        [_PUBLISHED, _is(_TO, "@bridges"), _ACCEPT],
        [_is(_FROM, "@bridges"), _isnt(_TO, "@bridges"), _ACCEPT],
        [_DROP],
    ]),
    ("inet", "input", ("filter", "input", 0), [
        # An internal network reaches its gateway on this host, and none of the host's other addresses.
        [_is(_FROM, "@internal"), _isnt(_OF_ITS_LINK, {"set": ["local", "multicast", "broadcast"]}), _DROP],
    ]),
    ("inet", "translate", ("nat", "postrouting", 100), [
        # To a neighbour by the host's address: the answer must come back this way.
        [_PUBLISHED, _is(_concat(_TO, _SADDR4), "@subnets4"), _MASQUERADE],
        [_PUBLISHED, _is(_concat(_TO, _SADDR6), "@subnets6"), _MASQUERADE],
        [_isnt(_TO, "@bridges"), _is(_SADDR4, "@masquerade4"), _MASQUERADE],
        [_isnt(_TO, "@bridges"), _is(_SADDR6, "@masquerade6"), _MASQUERADE],
    ]),
    ("bridge", "check_arp", (), [
        [_isnt(_concat(_FROM, _field("arp", "saddr ether")), "@macs"), _DROP],
        [_is(_concat(_FROM, _field("arp", "saddr ip")), "@addresses4"), _RETURN],
        [_is(_field("arp", "saddr ip"), "0.0.0.0"), _is(_field("arp", "operation"), "request"), _RETURN],  # RFC 5227
        [_DROP],
    ]),
    ("bridge", "check_ip4", (), [
        [_isnt(_concat(_FROM, _SADDR4), "@addresses4"), _DROP],
    ]),
    ("bridge", "check_ip6", (), [
        [_is(_field("icmpv6", "type"), {"set": ["nd-router-advert", "nd-redirect"]}), _DROP],
        [_is(_field("icmpv6", "type"), "nd-neighbor-advert"),
         {"vmap": {"key": _FROM, "data": "@targets"}}],
        [_is(_concat(_FROM, _SADDR6), "@addresses6"), _RETURN],
        [_is(_SADDR6, "::"), _is(_field("icmpv6", "type"), {"set": ["nd-neighbor-solicit", "mld2-listener-report"]}),
         _RETURN],  # RFC 4862, RFC 3810: before it has an address
        [_DROP],
    ]),
    ("bridge", "check", (), [
        # Group addresses of bridges: what is sent there passes no bridge (IEEE 802.1Q 8.6.3), and none of it is ours.
        [_is({"&": [_field("ether", "daddr"), "ff:ff:ff:ff:ff:f0"]}, "01:80:c2:00:00:00"), _DROP],
        [_isnt(_concat(_FROM, _field("ether", "saddr")), "@macs"), _DROP],
        [{"vmap": {"key": _field("ether", "type"), "data": {"set": [
            ["arp", _jump("check_arp")], ["ip", _jump("check_ip4")], ["ip6", _jump("check_ip6")]]}}}],
        # Nothing else: a frame with a VLAN tag would carry any address.
        [_isnt(_field("ether", "type"), {"set": ["arp", "ip", "ip6"]}), _DROP],
        # Not in the forward chain: a published port of a neighbour is reached by the gateway, even where
        # br_netfilter then hands the frame over from port to port.
        [_is(_FROM, "@alone"), _isnt(_concat(_FROM, _field("ether", "daddr")), "@bridge_macs"),
         _is(_IS_GROUP, _NO_GROUP), _DROP],
    ]),
    ("bridge", "arriving", ("filter", "prerouting", -200), [
        [_is(_FROM, "@ends"), _jump("check")],
    ]),
    ("bridge", "forward", ("filter", "forward", -200), [
        [_is(_FROM, "@alone"), _is(_TO, "@alone"), _isnt(_IS_GROUP, _NO_GROUP), _DROP],
    ]),
)


def base() -> list[dict]:
    """Return the commands that make the tables, or bring their chains to what they should be; elements stay."""
    commands = [_add("table", family, name=TABLE) for family in FAMILIES]
    for family, name, key, data, is_subnets in SETS:
        entry: dict = {"name": name, "type": key[0] if len(key) == 1 else list(key)}
        if data:
            entry["map"] = data
        if is_subnets:
            entry["flags"] = ["interval"]
        commands.append(_add("map" if data else "set", family, table=TABLE, **entry))
    for family, name, hook, _ in CHAINS:
        entry = {"table": TABLE, "name": name}
        if hook:
            entry |= {"type": hook[0], "hook": hook[1], "prio": hook[2], "policy": "accept"}
        commands.append(_add("chain", family, **entry))
        commands.append({"flush": {"chain": {"family": family, "table": TABLE, "name": name}}})
    # Rules last: they name chains and sets.
    for family, name, _, rules in CHAINS:
        commands += [_add("rule", family, table=TABLE, chain=name, expr=rule) for rule in rules]
    return commands


def _add(kind: str, family: str, **entry: object) -> dict:
    return {"add": {kind: {"family": family, **entry}}}


def network_elements(record: dict) -> list[Element]:
    """Return what a network adds to the sets."""
    bridge = record["bridge"]
    found: list[Element] = [("inet", "bridges", (bridge,), ()), ("inet", "own", (bridge, bridge), ())]
    if record.get("icc", True):
        found.append(("inet", "within", (bridge, bridge), ()))
    if record.get("internal"):
        found.append(("inet", "internal", (bridge,), ()))
    if record.get("isolate"):
        found.append(("inet", "isolated", (bridge,), ()))
    for entry in record["subnets"]:
        subnet = addresses.parse_subnet(entry["subnet"])
        found.append(("inet", f"subnets{subnet.family}", (bridge, str(subnet)), ()))
        if record.get("masquerade", True) and not record.get("internal"):
            found.append(("inet", f"masquerade{subnet.family}", (str(subnet),), ()))
    return found


def endpoint_elements(record: dict, endpoint: dict) -> list[Element]:
    """Return what an endpoint adds to the sets: what it may send, and what is published of it."""
    name, mac = endpoint["host_interface"], endpoint["mac"]
    found: list[Element] = [("inet", "ends", (name,), ()), ("bridge", "ends", (name,), ()),
                            ("bridge", "macs", (name, mac), ())]
    if not record.get("icc", True):
        bridge_mac = interface.mac_text(interface.bridge_mac(record["id"]))
        found += [("bridge", "alone", (name,), ()), ("bridge", "bridge_macs", (name, bridge_mac), ())]
    own = own_addresses(endpoint)
    for family, text in own + [(6, text) for text in _neighbours(endpoint)[:1]]:
        found.append(("bridge", f"addresses{family}", (name, text), ()))
    if _neighbours(endpoint):
        found.append(("bridge", "targets", (name,), (_chain_name(name),)))
    if not record.get("internal"):
        for port in endpoint.get("ports") or ():
            found += _published(port, own)
    return found


def own_addresses(endpoint: dict) -> list[tuple[int, str]]:
    """Return (family, address) of each address of an endpoint, in its normal spelling."""
    found = []
    for text in endpoint["addresses"]:
        family, number = addresses.parse(text.partition("/")[0])
        found.append((family, addresses.to_text(family, number)))
    return found


def _published(port: dict, own: list[tuple[int, str]]) -> list[Element]:
    found: list[Element] = []
    host_ip = port.get("host_ip") or ""
    wanted = addresses.parse(host_ip) if host_ip else (0, 0)
    for family in (4, 6):
        target = [text for own_family, text in own if own_family == family][:1]
        if not target or wanted[0] not in (0, family) or addresses.is_loopback(*wanted):  # that has its proxy
            continue
        place = (port["proto"], port["host_port"])
        at = bool(wanted[1])
        name = f"published{family}_at" if at else f"published{family}"
        key = (addresses.to_text(*wanted), *place) if at else place
        found += [("inet", name, key, (target[0],)), ("inet", f"{name}_port", key, (port["container_port"],))]
    return found


def link_local(mac: str) -> str:
    """Return the link-local address that the kernel makes of a hardware address (RFC 4291 appendix A)."""
    number = int(mac.replace(":", ""), 16) ^ 1 << 41
    return addresses.to_text(6, 0xFE80 << 112 | (number >> 24) << 40 | 0xFFFE << 24 | number & 0xFFFFFF)


def _neighbours(endpoint: dict) -> list[str]:
    """The IPv6 addresses that an endpoint may say it has: none where its network has no IPv6."""
    own = [text for family, text in own_addresses(endpoint) if family == 6]
    return [link_local(endpoint["mac"]), *own] if own else []


def _chain_name(interface: str) -> str:
    return f"nd-{interface}"


def endpoint_chain(endpoint: dict) -> tuple[str, list[str]] | None:
    """Return the name of an endpoint's own chain and the addresses that it may advertise; None without IPv6.

    Its element in `targets` names it. Which address a neighbour advertisement is about is no field that nft 1.0.6 could
    look up in a set of addresses.
    """
    known = _neighbours(endpoint)
    return (_chain_name(endpoint["host_interface"]), known) if known else None


def endpoint_chains(endpoint: dict) -> list[dict]:
    """Return the commands that make an endpoint's own chain."""
    found = endpoint_chain(endpoint)
    if found is None:
        return []
    name, known = found
    chain = {"family": "bridge", "table": TABLE, "name": name}
    field = {"payload": {"base": "th", "offset": 64, "len": 128}}
    others = [_isnt(field, f"{addresses.parse(text)[1]:#034x}") for text in known]
    # Not the end of the check: the caller's rule goes on to the source address.
    return [{"add": {"chain": chain}}, {"flush": {"chain": chain}},
            _add("rule", "bridge", table=TABLE, chain=name, expr=[*others, _DROP])]


def remove_chains(interfaces: list[str]) -> list[dict]:
    """Return the commands that remove the chains of endpoints whose elements have gone."""
    commands = []
    for name in interfaces:
        chain = {"family": "bridge", "table": TABLE, "name": _chain_name(name)}
        commands += [{"flush": {"chain": chain}}, {"delete": {"chain": chain}}]
    return commands


def change(verb: str, elements: list[Element]) -> list[dict]:
    """Return the commands that "add" or "delete" elements."""
    commands = []
    for family, name, key, data in elements:
        item = _pair(name, key, data) if data and verb == "add" else _words(key)
        commands.append({verb: {"element": {"family": family, "table": TABLE, "name": name, "elem": [item]}}})
    return commands


def _pair(name: str, key: tuple, data: tuple) -> list:
    return [_words(key), {"jump": {"target": data[0]}} if name == "targets" else _words(data)]


def _words(parts: tuple) -> object:
    words = [_word(part) for part in parts]
    return words[0] if len(words) == 1 else {"concat": words}


def _word(part: object) -> object:
    if isinstance(part, str) and "/" in part:
        base_address, _, length = part.partition("/")
        return {"prefix": {"addr": base_address, "len": int(length)}}
    return part


def parse_elements(family: str, entry: dict) -> list[Element]:
    """Return the elements of a set or map as nft lists it."""
    found: list[Element] = []
    for item in entry.get("elem") or ():
        pair = item if entry.get("map") else (item, None)
        data = () if pair[1] is None else _parts(pair[1])
        found.append((family, entry["name"], _parts(_bare(pair[0])), data))
    return found


def _bare(key: object) -> object:
    """Return a key without what nft may list beside it, such as a counter or a comment."""
    return key["elem"]["val"] if isinstance(key, dict) and "elem" in key else key


def _parts(value: object) -> tuple:
    if isinstance(value, dict):
        if "concat" in value:
            return tuple([_parts(part)[0] for part in value["concat"]])
        if "prefix" in value:
            return (f"{value['prefix']['addr']}/{value['prefix']['len']}",)
        for verdict in ("jump", "goto"):
            if verdict in value:
                return (value[verdict]["target"],)
    return (value,)
