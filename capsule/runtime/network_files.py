"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container: files in its state directory, bound over its own.

They are written before the container's first process is cloned. The part of /etc/hosts that names the other members of
its networks is rewritten, in place since it is mounted, when one comes or goes.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule.errors import CapsuleError, StateError, errno_text
from capsule.network import dns, names
from capsule.network.store import Networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.state.store import Entry

HOSTS, HOSTNAME, RESOLV = "hosts", "hostname", "resolv.conf"
_LARGEST = 1 << 20  # of a hosts file that is still rewritten: the container may have made it any size
_PLACES = ((HOSTS, "/etc/hosts"), (HOSTNAME, "/etc/hostname"), (RESOLV, "/etc/resolv.conf"))


def places(directory: str) -> list[tuple[str, str]]:
    """Return (path of the file, where it goes) for a container's state directory."""
    return [(f"{directory}/{name}", there) for name, there in _PLACES]


def check(options: dict) -> None:
    """Refuse --add-host and --dns that cannot be meant, before anything is made. Raises NetworkError."""
    for text in options.get("add_hosts", []):
        names.parse_added(text)
    names.resolv_text("", options.get("dns", []), [], [], responder=[])


def write(entry: Entry, networks: Networks, hostname: str, endpoints: list[dict], options: dict) -> None:
    """Write the three files of a container that is being made. Raises NetworkError, StateError."""
    own = _addresses(endpoints)
    gateways = [text for endpoint in endpoints for text in endpoint["gateways"]]
    added = [names.parse_added(text) for text in options.get("add_hosts", [])]
    members = _members(networks, endpoints)
    hosts = names.hosts_text(hostname, own, added, members, gateway=gateways[0] if gateways else "")
    has_ipv6 = any([":" in text for text in own]) or not endpoints
    resolv = names.resolv_text(names.read_host(), options.get("dns", []), [], [],
                               responder=options.get("responder") or dns.servers(networks, endpoints), ipv6=has_ipv6)
    for name, text in ((HOSTS, hosts), (HOSTNAME, hostname + "\n"), (RESOLV, resolv)):
        _write(entry, name, text.encode())


def _write(entry: Entry, name: str, data: bytes) -> None:
    entry.mark(name, data)
    try:
        posix.chmod(name, 0o644, dir_fd=entry.dir_fd)  # whatever user the container has
    except OSError as err:
        raise StateError("make", f"{entry.path}/{name}", errno=err.errno) from err


def _members(networks: Networks, own: list[dict]) -> list[tuple[str, list[str]]]:
    """Return (address, names) of every other container in the networks of a container, its links among the names."""
    ids = [endpoint["id"] for endpoint in own]
    links = [link for endpoint in own for link in endpoint.get("links", [])]
    found = []
    for network in [endpoint["network"] for endpoint in own if _is_named(networks, endpoint["network"])]:
        members = list(networks.state(network).endpoints.values())
        for other in members:
            if other["id"] not in ids:
                words = [word for word in dict.fromkeys([other["container"], *other["aliases"]]) if names.is_name(word)]
                for linked, alias in links:
                    if other in names.linked_to(linked, members) and alias not in words:
                        words.append(alias)
                found += [(text.partition("/")[0], words) for text in other["addresses"]]
    return found


def _is_named(networks: Networks, network: str) -> bool:
    """Tell whether the members of a network find each other by name (network create --disable-dns)."""
    try:
        return networks.load(network).get("dns", True)
    except CapsuleError:
        return False


def update(networks: Networks, network: str) -> None:
    """Tell every member of a network who its members are now; what cannot be told is a warning."""
    with networks.lock():
        every = networks.endpoints()
        for container in {endpoint["container"] for endpoint in every if endpoint["network"] == network}:
            own = [endpoint for endpoint in every if endpoint["container"] == container]
            try:
                members = _members(networks, own)
                _rewrite(f"{networks.root}/{container}/{HOSTS}", lambda text, members=members:
                         names.replace_members(text, members))
            except (OSError, CapsuleError) as err:
                words = errno_text(err.errno) if isinstance(err, OSError) else str(err)
                log.warning(f"update /etc/hosts of container {container}: {words}")


def move(networks: Networks, container: str, before: list[dict], servers: list[str], now: list[dict]) -> None:
    """Have a container's files tell its addresses and name servers of now; `servers` were those of `before`.

    What its programs have written anew stays as it is; what cannot be written is a warning.
    """
    old, own = _addresses(before), _addresses(now)
    try:
        resolv = names.resolv_text(names.read_host(), now[0].get("dns", []) if now else [], [], [],
                                   responder=dns.servers(networks, now),
                                   ipv6=not own or any([":" in text for text in own]))
        directory = f"{networks.root}/{container}"
        _rewrite(f"{directory}/{HOSTS}", lambda text: names.replace_own(text, old, own))
        _rewrite(f"{directory}/{RESOLV}", lambda text: names.replace_servers(text, servers, names.servers_in(resolv)))
    except (OSError, CapsuleError) as err:
        words = errno_text(err.errno) if isinstance(err, OSError) else str(err)
        log.warning(f"update the files of container {container}: {words}")


def _addresses(endpoints: list[dict]) -> list[str]:
    return [text.partition("/")[0] for endpoint in endpoints for text in endpoint["addresses"]]


def _rewrite(path: str, change) -> None:
    """Change the text of a file in place: it is mounted."""
    try:
        fd = posix.open(path, posix.O_RDWR | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError as err:
        if err.errno == errno.ENOENT:
            return  # its config mounts a file of its own, or it is on its way out
        raise
    try:
        if posix.fstat(fd).st_size > _LARGEST:
            return
        old = posix.read(fd, _LARGEST)
        new = change(old.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if new != old:
            posix.pwrite(fd, new, 0)
            posix.ftruncate(fd, len(new))
    finally:
        posix.close(fd)
