"""The networks of one container, while it is made and removed. Imported when networks are asked for."""

from __future__ import annotations

import posix

from capsule import log
from capsule.errors import CapsuleError, NetworkError, StateError, Unsupported
from capsule.linux import namespaces
from capsule.network import attachment, creating, dns, endpoint as endpoints, names
from capsule.network.store import Networks
from capsule.runtime import network_files, status as statuses
from capsule.spec import surroundings
from capsule.state import journal, store as stores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.network.attachment import Wanted
    from capsule.state.record import StateStorage
    from capsule.state.store import Entry


class Networking:
    """What a container that is being made gets. Nothing has changed before `lease`."""

    __slots__ = ("networks", "container_id", "wanted", "options", "endpoints", "user_mode", "ports", "namespace_fds")

    def __init__(self, root: str, container_id: str, options: dict) -> None:
        """options: "networks" (a Wanted, its attachment.to_dict, or None), "ports", "publish_all",
        "hostname", "add_hosts", "dns".
        """
        self.networks = Networks(root)
        self.container_id = container_id
        wanted = options.get("networks")
        self.wanted: Wanted | None = attachment.from_dict(wanted) if isinstance(wanted, dict) else wanted
        self.options = options
        self.endpoints: list[dict] = []
        kind = "" if self.wanted is None else self.wanted.kind
        self.user_mode = kind if kind in attachment.USER_MODE else ""
        self.ports: list[dict] = []  # that the program of user_mode publishes
        self.namespace_fds: list[int] = []  # the container's, for that program: they come with its request for hooks

    def change(self, raw: bytes, *, find_pid) -> bytes:
        """Return the config with the network namespace and host name that were asked for.

        Raises NetworkError, StateError.
        """
        hostname = self.options.get("hostname", "")
        if hostname:
            names.check_name("host name", hostname)
        files: list[tuple[str, str]] = []
        if self.has_files:
            network_files.check(self.options)
            files = network_files.places(f"{self.networks.root}/{self.container_id}")
        if self.wanted is None:
            return surroundings.change(raw, leave_network=True, hostname=hostname, files=files)
        namespace = attachment.namespace_of(self.wanted, find_pid=find_pid)
        return surroundings.change(raw, network=namespace, hostname=hostname, files=files)

    @property
    def has_files(self) -> bool:
        """Whether the container gets /etc/hosts, /etc/hostname and /etc/resolv.conf from us."""
        joins = self.wanted is not None and bool(self.wanted.requests)
        asks = any([self.options.get(name) for name in ("hostname", "add_hosts", "dns")])
        return joins or asks or bool(self.user_mode)

    def check(self) -> None:
        """Refuse what cannot be had. Creates the default network where it is asked for. Raises NetworkError."""
        requests = self.wanted.requests if self.wanted is not None else []
        if self.user_mode:
            self._check_user_mode()
            return
        if (self.options.get("ports") or self.options.get("publish_all")) and not requests:
            raise NetworkError("publish ports", "", "the container joins no network; name one with --network")
        if requests and posix.geteuid() != 0:
            raise Unsupported("join network", requests[0]["network"],
                              f"as uid {posix.geteuid()}: links of this host need root; --network pasta does not")
        for request in requests:
            creating.find_or_default(self.networks, request["network"])

    def _check_user_mode(self) -> None:
        """Refuse a network of ordinary users that cannot be had; choose its ports. Raises NetworkError, Unsupported."""
        from capsule.network import user_mode

        if posix.geteuid() == 0 and namespaces.is_initial_user():
            raise Unsupported("network", self.user_mode, "it is for ordinary users; root has bridge networks")
        self.ports = user_mode.check(self.user_mode, self.options.get("ports", []))
        if not self.options.get("dns"):
            self.options = {**self.options, "responder": [user_mode.NAME_SERVERS[self.user_mode]]}

    def prepare(self, entry: Entry, hostname: str) -> None:
        """Lease addresses and ports, and write the files that depend on them. Raises NetworkError, StateError."""
        if self.wanted is not None and self.wanted.requests:
            self._lease(entry, self.wanted.requests)
        if self.has_files:
            network_files.write(entry, self.networks, hostname, self.endpoints, self.options)

    def _lease(self, entry: Entry, requests: list[dict]) -> None:
        asked = names.servers_of(self.options.get("dns", []))
        self.endpoints = endpoints.lease(
            self.networks, self.container_id, [{**request, "dns": asked} for request in requests],
            self.options.get("ports", []),
            note=lambda network, id: entry.journal_add(journal.ENDPOINT, network, id),
        )
        for request in requests:
            dns.refresh(self.networks, request["network"])

    def note(self, record: StateStorage) -> None:
        """Put the endpoints into the container's record."""
        if self.endpoints or self.has_files:
            record.extra["endpoints"] = self.endpoints
        if self.endpoints:
            record.endpoint = _legacy(self.endpoints[0])

    def connect(self, pid: int) -> None:
        """Make every endpoint in the network namespace of a process. Raises NetworkError, Unsupported."""
        if self.user_mode:
            from capsule.network import user_mode

            user_mode.start(f"{self.networks.root}/{self.container_id}", self.container_id, self.user_mode, self.ports,
                            pid, self.namespace_fds)
        if self.endpoints:
            netns_fd = _open_netns(pid)
            try:
                for endpoint in self.endpoints:
                    endpoints.connect(self.networks, endpoint, netns_fd)
            finally:
                posix.close(netns_fd)
            for endpoint in self.endpoints:
                network_files.update(self.networks, endpoint["network"])


def plan(container, options: dict) -> Networking:
    """Return the networking of a container to be made, and change its config accordingly.

    Raises NetworkError, StateError, SpecError.
    """
    from capsule.spec.load import load_config

    if options.get("publish_all"):
        from capsule.network import ports

        exposed = container.config.annotations.get(surroundings.EXPOSED_PORTS, "").split(",")
        options = {**options, "ports": ports.with_exposed(options.get("ports", []), [text for text in exposed if text])}
    networking = Networking(container.root, container.id, options)
    if networking.user_mode:
        _check_root(networking.user_mode, container.config.uid_mappings)
    changed = networking.change(container.config.raw, find_pid=lambda id: _pid_of(container.store, id))
    container.replace_config(load_config(changed))
    networking.check()
    return networking


def _check_root(kind: str, mappings: list[tuple[int, int, int]]) -> None:
    """Refuse a root other than the caller: it could not reach our files for /etc, nor may we bind them for it."""
    uid = posix.geteuid()
    if mappings and not any([inside == 0 and outside == uid for inside, outside, _ in mappings]):
        raise Unsupported("network", kind, f"the container's root must be uid {uid} of the host (linux.uidMappings)")


def _legacy(endpoint: dict) -> dict:
    """Return an endpoint under the original's keys, as the record has it."""
    return {
        "name": endpoint["id"],
        "ip_address": endpoint["addresses"][0].partition("/")[0] if endpoint["addresses"] else "",
        "device": endpoint["host_interface"],
        "network": {"name": endpoint["network"], "driver": endpoint["driver"]},
        "port_mappings": endpoint["ports"],
    }


def disconnect_all(root: str, pairs: list[tuple[str, str]]) -> None:
    """Take back the (network, endpoint id) of a container that has no processes.

    A failure is a warning: whatever became of its networks, a container can be deleted, and `network check --fix`
    tries again what could not be removed.
    """
    networks = Networks(root)
    for network, id in pairs:
        try:
            endpoints.disconnect(networks, network, id)
            _tell_members(networks, network)
        except CapsuleError as err:
            log.warning(f"disconnect from network {network}: {err}")


def _tell_members(networks: Networks, network: str) -> None:
    network_files.update(networks, network)
    dns.refresh(networks, network)


def attach(root: str, id: str, request: dict) -> dict:
    """Connect a container that runs to a further network; returns its endpoint.

    Raises NotFound, StateError when it does not run, NetworkError; nothing is left then.
    """
    from capsule.runtime.factory import Factory

    networks = Networks(root)
    container = Factory(root).load(id, lock=True)
    try:
        netns_fd = _open_private_netns(container, request["network"])
        try:
            return _attach(networks, container, request, netns_fd)
        finally:
            posix.close(netns_fd)
    finally:
        container.close()


def _attach(networks: Networks, container, request: dict, netns_fd: int) -> dict:
    record = container.state()
    present = record.extra["endpoints"] = _settled(networks, container.id, record.extra.get("endpoints", []), netns_fd)
    if any([endpoint["network"] == request["network"] for endpoint in present]):
        raise NetworkError("connect to network", request["network"], f"container {container.id} is connected to it")
    servers, before = dns.servers(networks, present), list(present)
    request = {**_with_free_interface(request, present), "dns": present[0].get("dns", []) if present else []}
    creating.find_or_default(networks, request["network"])
    container.entry.save(record)  # from here on delete looks into the journal
    if container.entry.marked(stores.ATTACHED) is None:
        container.entry.mark(stores.ATTACHED, b"")
    made = endpoints.lease(networks, container.id, [request], [], present=present,
                           note=lambda network, id: container.entry.journal_add(journal.ENDPOINT, network, id))
    try:
        endpoints.connect(networks, made[0], netns_fd)
        present += made
        record.endpoint = record.endpoint or _legacy(made[0])
        container.entry.save(record)
        _tell_members(networks, made[0]["network"])
        network_files.move(networks, container.id, before, servers, present)
    except BaseException:
        disconnect_all(networks.root, [(made[0]["network"], made[0]["id"])])
        raise
    return made[0]


def _settled(networks: Networks, id: str, recorded: list[dict], netns_fd: int) -> list[dict]:
    """Return a container's endpoints: those of its record that are still there. The container is locked.

    What a connect that was killed has left is taken back: nobody was told of it. `network rm --force` takes endpoints
    without the containers' records.
    """
    ids = [endpoint["id"] for endpoint in recorded]
    there = [endpoint for endpoint in networks.endpoints() if endpoint["container"] == id]
    for endpoint in there:
        if endpoint["id"] not in ids:
            endpoints.disconnect(networks, endpoint["network"], endpoint["id"], netns_fd)
            _tell_members(networks, endpoint["network"])
    kept = [endpoint["id"] for endpoint in there]
    return [endpoint for endpoint in recorded if endpoint["id"] in kept]


def _with_free_interface(request: dict, present: list[dict]) -> dict:
    taken = [endpoint["interface"] for endpoint in present]
    if request["interface"]:
        attachment.check_interface(request["interface"])
        if request["interface"] in taken:
            raise NetworkError("use interface name", request["interface"], "the container has it already")
        return request
    number = 0
    while f"eth{number}" in taken:
        number += 1
    return {**request, "interface": f"eth{number}"}


def detach(root: str, id: str, network: str) -> bool:
    """Disconnect a container from a network; False when it is not connected.

    Raises NotFound, NetworkError.
    """
    from capsule.runtime.factory import Factory

    networks = Networks(root)
    container = Factory(root).load(id, lock=True)
    try:
        record = container.state()
        netns_fd = -1 if container.observe() == statuses.STOPPED else _open_netns(record.init_process_pid)
        try:
            return _detach(networks, container, record, network, netns_fd)
        finally:
            if netns_fd >= 0:
                posix.close(netns_fd)
    finally:
        container.close()


def _detach(networks: Networks, container, record: StateStorage, network: str, netns_fd: int) -> bool:
    before = record.extra.get("endpoints", [])
    connected = [one for one in (*before, *networks.endpoints())
                 if one["container"] == container.id and one["network"] == network]
    present = _settled(networks, container.id, before, netns_fd)
    servers, before = dns.servers(networks, present), list(present)
    gone = [endpoint for endpoint in present if endpoint["network"] == network]
    for endpoint in gone:
        endpoints.disconnect(networks, network, endpoint["id"], netns_fd)
        present.remove(endpoint)
        _tell_members(networks, network)
    if gone and netns_fd >= 0:
        endpoints.reroute(networks, present, netns_fd)
        network_files.move(networks, container.id, before, servers, present)
    if connected:
        record.extra["endpoints"] = present
        record.endpoint = _legacy(present[0]) if present else None
        container.entry.save(record)
    return bool(connected)


def is_running(root: str, id: str) -> bool:
    """Tell whether a container of that id has a process."""
    from capsule.runtime.factory import Factory

    try:
        container = Factory(root).load(id)
    except StateError:
        return False
    try:
        return container.observe() != statuses.STOPPED
    finally:
        container.close()


def _open_private_netns(container, network: str) -> int:
    """Open the network namespace of a running container that is not ours. Raises StateError, NetworkError."""
    if container.observe() == statuses.STOPPED:
        raise StateError("connect to network", network, f"container {container.id} does not run")
    fd = _open_netns(container.state().init_process_pid)
    if posix.fstat(fd).st_ino == posix.stat("/proc/thread-self/ns/net").st_ino:
        posix.close(fd)
        raise NetworkError("connect to network", network, f"container {container.id} has the host's network")
    return fd


def _pid_of(store, id: str) -> int:
    """Return the pid of another container's first process. Raises StateError."""
    from capsule.runtime.factory import Factory

    other = Factory(store.root).load(id)
    try:
        if other.observe() == statuses.STOPPED:
            raise StateError("join network of container", id, "it does not run")
        return other.state().init_process_pid
    finally:
        other.close()


def _open_netns(pid: int) -> int:
    try:
        return posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as err:
        raise NetworkError("open network namespace", f"of process {pid}", errno=err.errno) from err
