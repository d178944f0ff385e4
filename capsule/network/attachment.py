"""What `--network` and the options beside it ask for, as data.

A request is a dict: {"network": NAME, "ip": [addresses], "mac": "" or text, "aliases": [names], "interface": "" or
the name inside}. The namespace kinds (none, host, container, ns, pasta, slirp4netns) stand alone and have no such
options.
"""

from __future__ import annotations

from capsule.errors import NetworkError
from capsule.network import address as addresses, driver as drivers, interface, names
from capsule.network.store import check_name

USER_MODE = ("pasta", "slirp4netns")
DEFAULT_NETWORK = "capsule_bridge0"  # the original's
_LONGEST_INTERFACE = 15
_KEYS = ("ip", "ip6", "mac", "alias", "interface_name")


class Wanted:
    """The network of one container: `kind` is a driver without records and `argument` its, or "" with `requests`."""

    __slots__ = ("kind", "argument", "requests")

    def __init__(self, kind: str, argument: str, requests: list[dict]) -> None:
        self.kind = kind
        self.argument = argument
        self.requests = requests


def parse(texts: list[str], *, ip: list[str], mac: str, aliases: list[str],
          ip6: list[str] | tuple[()] = ()) -> Wanted | None:
    """Read the values of --network; `ip`, `ip6`, `mac` and `aliases` are for the first. None where nothing is asked.

    Raises NetworkError for what cannot be meant.
    """
    for text in ip6:
        if ":" not in text:
            raise NetworkError("use address", repr(text), "it is not an IPv6 address")
    ip = [*ip, *ip6]
    if not texts and (ip or mac or aliases):
        texts = [DEFAULT_NETWORK]
    requests: list[dict] = []
    for text in texts:
        word, _, argument = text.partition(":")
        kind = {"private": "none"}.get(word, word)
        if kind in ("none", "host", "container", "ns", *USER_MODE):
            if len(texts) > 1 or ip or mac or aliases:
                raise NetworkError("use network", text, "it takes no addresses or names and no second network")
            if argument and kind not in ("container", "ns"):
                raise NetworkError("use network", text, f"{word} takes no argument")
            return Wanted(kind, argument, [])
        requests.append(_request(word, argument, len(requests)))
    if not requests:
        return None
    requests[0]["ip"] += ip
    requests[0]["mac"] = mac or requests[0]["mac"]
    requests[0]["aliases"] += aliases
    return Wanted("", "", check(requests))


def to_dict(wanted: Wanted | None) -> dict | None:
    """Return a wish as JSON values, which outlive the call that made it."""
    if wanted is None:
        return None
    return {"kind": wanted.kind, "argument": wanted.argument, "requests": wanted.requests}


def from_dict(fields: dict | None) -> Wanted | None:
    """Return the wish of `to_dict`."""
    return None if fields is None else Wanted(fields["kind"], fields["argument"], fields["requests"])


def _request(word: str, argument: str, index: int) -> dict:
    name = DEFAULT_NETWORK if word in ("bridge", "default") else word
    request: dict = {"network": name, "ip": [], "mac": "", "aliases": [], "interface": ""}
    for option in argument.split(",") if argument else []:
        key, has_value, value = option.partition("=")
        if key not in _KEYS or not has_value:
            raise NetworkError("use network", name, f"{option!r} is no option; known are {'=, '.join(_KEYS)}=")
        if key == "ip6" and ":" not in value:
            raise NetworkError("use address", repr(value), "it is not an IPv6 address")
        if key in ("ip", "ip6"):
            request["ip"].append(value)
        elif key == "alias":
            request["aliases"].append(value)
        else:
            field = "interface" if key == "interface_name" else key
            if request[field]:
                raise NetworkError("use network", name, f"{key} is given twice")
            request[field] = value
    return request


def check(requests: list[dict]) -> list[dict]:
    """Refuse requests that nothing could fulfil, name what has no name; returns them. Raises NetworkError."""
    seen: set[str] = set()
    interfaces: set[str] = {"lo"}
    for index, request in enumerate(requests):
        check_name(request["network"])
        if request["network"] in seen:
            raise NetworkError("use network", request["network"], "it is named twice")
        seen.add(request["network"])
        request["ip"] = [_address(text) for text in request["ip"]]
        if request["mac"]:
            request["mac"] = interface.mac_text(interface.parse_mac(request["mac"]))
        for alias in request["aliases"]:
            names.check_name("network alias", alias)
            if alias.lower() == "localhost":
                raise NetworkError("invalid network alias", repr(alias), "it is everybody's own name for itself")
        request["interface"] = request["interface"] or f"eth{index}"
        check_interface(request["interface"])
        if request["interface"] in interfaces:
            raise NetworkError("use interface name", request["interface"], "the container has it already")
        interfaces.add(request["interface"])
    return requests


def _address(text: str) -> str:
    try:
        return addresses.normal(text)
    except ValueError as err:
        raise NetworkError("use address", repr(text), "it is not an IP address") from err


def check_interface(name: str) -> None:
    """Refuse what cannot be the name of a network device (dev_valid_name() of the kernel). Raises NetworkError."""
    plain = all(["!" <= char <= "~" and char not in "/:%" for char in name])
    if not plain or not 0 < len(name) <= _LONGEST_INTERFACE or name in (".", ".."):
        raise NetworkError("invalid interface name", repr(name),
                           f"expected at most {_LONGEST_INTERFACE} printable characters without / : and %")


def namespace_of(wanted: Wanted, *, find_pid) -> str | None:
    """Return the network namespace that a container gets: a path, "" for a new one, None for the runtime's own."""
    if not wanted.kind:
        return ""
    return drivers.find(wanted.kind).namespace(wanted.argument, find_pid=find_pid)
