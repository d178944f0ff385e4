"""The files by which a container finds names: /etc/hosts, /etc/hostname and /etc/resolv.conf, as texts.

man 5 hosts, man 5 hostname, man 5 resolv.conf. Everything that ends up in them is checked here: a name or a search
domain with a line break or a blank would write lines of its own. (original: links, whose aliases were not looked at.)
"""

from __future__ import annotations

import errno
import posix

from capsule.errors import NetworkError
from capsule.network import address as addresses

RESOLV_CONF = "/etc/resolv.conf"
#: Where systemd-resolved keeps the servers that it asks; /etc/resolv.conf then names its stub (man 8 systemd-resolved).
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
_STUB = ("127.0.0.53", "127.0.0.54")
#: Servers for a container whose host has none but its own loopback's (Docker and podman do the same).
PUBLIC = ("8.8.8.8", "8.8.4.4")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_BEGIN = "# members of the container's networks, kept by capsule"
_END = "# end of members"
_SIZE_MAX = 1 << 20
_NOWHERE = "127.0.1.1"  # what a container without an address has its own name at
_EVERYBODY = ("localhost", "localhost.localdomain")
_SERVERS_MAX = 3  # MAXNS of resolv.h


def check_name(what: str, name: str) -> None:
    """Refuse what is no host name: labels of letters, digits, - and _ with dots between. Raises NetworkError."""
    labels = name.split(".")
    if len(name) > 253 or not all([0 < len(label) <= 63 and not label.strip(_LETTERS + "-_") and label[0] != "-"
                                   for label in labels]):
        raise NetworkError(f"invalid {what}", repr(name), "expected letters, digits, - and _, with dots between")


def servers_of(texts: list[str]) -> list[str]:
    """Return the name servers of --dns in their normal spelling. Raises NetworkError."""
    if len(texts) > _SERVERS_MAX:
        raise NetworkError("use DNS servers", ", ".join(texts), f"a resolver asks {_SERVERS_MAX} at most")
    return [_address("DNS server", text) for text in texts]


def is_name(word: str) -> bool:
    """Tell whether a word, such as a container's id, can be the host name of a member: not that of everybody itself."""
    if word.lower() in _EVERYBODY:
        return False
    try:
        check_name("name", word)
    except NetworkError:
        return False
    return True


def parse_link(text: str) -> tuple[str, str]:
    """Return (container, alias) of `container[:alias]` (original: --link). Raises NetworkError."""
    container, _, alias = text.partition(":")
    check_name("link", container)
    check_name("alias of a link", alias or container)
    return container, alias or container


def linked_to(name: str, endpoints: list[dict]) -> list[dict]:
    """Return the endpoints that --link NAME means: of the container of that id, otherwise of those with that alias."""
    named = [endpoint for endpoint in endpoints if endpoint["container"] == name]
    return named or [endpoint for endpoint in endpoints if name in endpoint["aliases"]]


def parse_added(text: str) -> tuple[str, str]:
    """Return (name, address) of --add-host's `name:address`; the address host-gateway is kept. Raises NetworkError."""
    name, colon, where = text.partition(":")
    check_name("host name", name)
    if not colon or not where:
        raise NetworkError("invalid host entry", repr(text), "expected NAME:ADDRESS")
    if where == "host-gateway":
        return name, where
    return name, _address("host entry", where.strip("[]") if where.startswith("[") else where)


def _address(what: str, text: str) -> str:
    try:
        return addresses.normal(text)
    except ValueError as err:
        raise NetworkError(f"invalid {what}", repr(text), "it is not an IP address") from err


def hosts_text(hostname: str, own: list[str], added: list[tuple[str, str]], members: list[tuple[str, list[str]]], *,
               gateway: str = "") -> str:
    """Return /etc/hosts: loopbacks, the container's own addresses, --add-host's, then the members of its networks.

    `own` are addresses without prefix; `members` is (address, names) each. Raises NetworkError.
    """
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "fe00::0\tip6-localnet",
             "ff02::1\tip6-allnodes", "ff02::2\tip6-allrouters"]
    short = hostname.partition(".")[0]
    if hostname:
        check_name("host name", hostname)
        names = hostname if short == hostname else f"{hostname} {short}"
        lines += [f"{_address('address', text)}\t{names}" for text in own or [_NOWHERE]]
    for name, where in added:
        check_name("host name", name)
        if where == "host-gateway":
            if not gateway:
                raise NetworkError("invalid host entry", repr(f"{name}:{where}"), "the container has no gateway")
            where = gateway
        lines.append(f"{_address('host entry', where)}\t{name}")
    return "\n".join(lines) + "\n" + members_text(members)


def members_text(members: list[tuple[str, list[str]]]) -> str:
    """Return the part of /etc/hosts that changes when members come and go. Raises NetworkError."""
    lines = []
    for address, names in members:
        for name in names:
            check_name("network alias", name)
        if names:
            lines.append(f"{_address('address', address)}\t{' '.join(names)}")
    return "\n".join([_BEGIN, *lines, _END]) + "\n"


def replace_members(text: str, members: list[tuple[str, list[str]]]) -> str:
    """Return a hosts file with other members; what stands outside of their part is the container's own and stays."""
    head, begin, rest = text.partition(_BEGIN + "\n")
    _, end, tail = rest.partition(_END + "\n")
    if not begin or not end:
        return text  # somebody has written the file anew: it is theirs
    return head + members_text(members) + tail


def replace_own(text: str, before: list[str], now: list[str]) -> str:
    """Return a hosts file in which the container has other addresses, under the names that it gave the old ones."""
    head, begin, rest = text.partition(_BEGIN + "\n")
    lines = head.split("\n")
    own = [line for line in lines if line.partition("\t")[0] in (before or [_NOWHERE])]
    if not own:
        return text  # somebody has written the file anew: it is theirs
    place = lines.index(own[0])
    kept = [line for line in lines if line not in own]
    names = own[0].partition("\t")[2]
    kept[place:place] = [f"{address}\t{names}" for address in now or [_NOWHERE]]
    return "\n".join(kept) + begin + rest


def replace_servers(text: str, before: list[str], now: list[str]) -> str:
    """Return a resolv.conf with other name servers in the place of the first of those that it had."""
    gone = [f"nameserver {address}" for address in before]
    lines = text.split("\n")
    places = [number for number, line in enumerate(lines) if line in gone]
    if not places:
        return text
    kept = [line for line in lines if line not in gone]
    kept[places[0]:places[0]] = [f"nameserver {address}" for address in now]
    return "\n".join(kept)


def servers_in(text: str) -> list[str]:
    """Return the name servers of a resolv.conf."""
    return _read_conf(text)[0]


def resolv_text(host: str, servers: list[str], searches: list[str], options: list[str], *, responder: list[str],
                ipv6: bool = True) -> str:
    """Return /etc/resolv.conf. `host` is the host's own, see `read_host`.

    `servers`, `searches` and `options` are --dns, --dns-search and --dns-option, each in place of the host's;
    `responder` are the addresses of the networks' own DNS, which then stand first and alone: they ask the others.
    Raises NetworkError.
    """
    host_servers, host_searches, host_options = _read_conf(host)
    usable = [text for text in host_servers if not is_loopback(text) and (ipv6 or ":" not in text)]
    asked = [_address("DNS server", text) for text in responder or servers or usable or PUBLIC]
    lines = [f"nameserver {text}" for text in asked[:_SERVERS_MAX]]
    domains = [word for word in searches or host_searches if word != "."]  # --dns-search . means none
    for word in domains:
        check_name("DNS search domain", word.rstrip("."))
    if domains:
        lines.append("search " + " ".join(domains))
    for word in options or host_options:
        if not word or word.strip(_LETTERS + "-_:"):
            raise NetworkError("invalid DNS option", repr(word), "expected letters, digits, - and :")
    if options or host_options:
        lines.append("options " + " ".join(options or host_options))
    return "\n".join(lines) + "\n"


def is_loopback(text: str) -> bool:
    return addresses.is_loopback(*addresses.parse(text.partition("%")[0]))


def read_host(path: str = RESOLV_CONF, resolved: str = RESOLVED_CONF) -> str:
    """Return the host's resolv.conf; systemd-resolved's own where the first names nothing but its stub."""
    text = _read(path)
    servers = _read_conf(text)[0]
    if servers and all([server in _STUB for server in servers]):
        return _read(resolved) or text
    return text


def _read_conf(text: str) -> tuple[list[str], list[str], list[str]]:
    """Return the servers, search domains and options of a resolv.conf; lines that say nothing are left out."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.split("\n"):
        words = line.partition("#")[0].partition(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            try:
                addresses.parse(words[1].partition("%")[0])
            except ValueError:
                continue
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = words[1:]  # the last one counts
        elif words[0] == "options":
            options += words[1:]
    return servers, searches, options


def _read(path: str) -> str:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return ""
        raise NetworkError("read", path, errno=err.errno) from err
    try:
        return posix.read(fd, _SIZE_MAX).decode("utf-8", "replace")
    except OSError as err:
        raise NetworkError("read", path, errno=err.errno) from err
    finally:
        posix.close(fd)
