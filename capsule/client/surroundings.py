"""What a program asks for around a container's process: its networks, published ports, host name and name servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from capsule.errors import NetworkError
from capsule.network import attachment, names, ports as published

_KEYS = ("network", "ip", "mac", "aliases", "interface")


def read(networks: Sequence[str | Mapping[str, object]], ports: Sequence[str], hostname: str, add_hosts: Sequence[str],
         dns: Sequence[str], *, publish_all: bool) -> dict[str, object] | None:
    """Return what the launcher takes as `network`, None where nothing is asked for.

    A network is what `--network` takes, or a mapping with "network" (its name) and, as wanted, "ip", "aliases" (lists
    of texts), "mac" and "interface" (texts). Raises NetworkError, Unsupported for what cannot be meant.
    """
    if not (networks or ports or hostname or add_hosts or dns or publish_all):
        return None
    wanted = _wanted(networks)
    if (ports or publish_all) and not (wanted and wanted["requests"]):
        raise NetworkError("publish ports", "", "the container joins no network; name one with `networks`")
    if hostname:
        names.check_name("host name", hostname)
    for text in add_hosts:
        names.parse_added(text)
    return {"networks": wanted, "ports": published.parse(list(ports)), "publish_all": publish_all, "hostname": hostname,
            "add_hosts": list(add_hosts), "dns": names.servers_of(list(dns))}


def _wanted(networks: Sequence[str | Mapping[str, object]]) -> dict | None:
    texts = [text for text in networks if isinstance(text, str)]
    if len(texts) == len(networks):
        return attachment.to_dict(attachment.parse(texts, ip=[], mac="", aliases=[]))
    requests = []
    for wish in networks:
        if isinstance(wish, str):
            parsed = attachment.parse([wish], ip=[], mac="", aliases=[])
            if parsed is None or parsed.kind:
                raise NetworkError("use network", wish, "it takes no addresses or names and no second network")
            requests.append({**parsed.requests[0], "interface": ""})
        else:
            requests.append(_request(wish))
    return attachment.to_dict(attachment.Wanted("", "", attachment.check(requests)))


def _request(wish: Mapping[str, object]) -> dict:
    unknown = [key for key in wish if key not in _KEYS]
    name = wish.get("network")
    if unknown or not isinstance(name, str):
        raise NetworkError("use network", repr(name), f"expected a mapping with the keys {', '.join(_KEYS)}")
    request = {"network": name, "ip": wish.get("ip", []), "mac": wish.get("mac", ""),
               "aliases": wish.get("aliases", []), "interface": wish.get("interface", "")}
    for key, kind in (("ip", list), ("aliases", list), ("mac", str), ("interface", str)):
        value = request[key]
        if kind is list and isinstance(value, tuple | list) and all(isinstance(text, str) for text in value):
            request[key] = list(value)
        elif kind is list or not isinstance(value, str):
            raise NetworkError("use network", name, f"its {key} is no {'list of texts' if kind is list else 'text'}")
    return request
