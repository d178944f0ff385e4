"""What a kind of network can do (original: NetworkDriver), and who does it. Each kind is a module of its own."""

from __future__ import annotations

from capsule.errors import NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.network.store import Networks


class NetworkDriver:
    """One kind of network. Methods raise NetworkError; those that make or remove things may be called again."""

    __slots__ = ()
    name = ""
    #: Whether `network create --driver` makes networks of this kind; the others are a container's namespace only.
    has_records = True
    #: Whether its packets pass this host's own IP stack, so that rules of the firewall apply to them.
    has_rules = False

    def namespace(self, argument: str, *, find_pid) -> str | None:
        """Say which network namespace a container gets: a path, "" for a new one, None for the runtime's own.

        `find_pid(id)` returns the pid of another container's first process.
        """
        return ""

    def check(self, record: dict) -> None:
        """Refuse the record of a network that is to be created."""

    def create(self, networks: Networks, record: dict) -> None:
        """Make what the network needs on the host, or complete it. Idempotent."""

    def delete(self, networks: Networks, record: dict) -> None:
        """Remove what `create` made. Idempotent."""

    def connect(self, networks: Networks, record: dict, endpoint: dict, netns_fd: int) -> None:
        """Make an endpoint's interface in a network namespace, with its addresses and routes, up.

        Where it has rules nothing passes it before `admit`.
        """

    def admit(self, endpoint: dict) -> None:
        """Let packets pass an endpoint's interface, where that is done on the host: its rules are there. Idempotent."""

    def silence(self, endpoint: dict) -> None:
        """Let nothing pass an endpoint's interface any more, where that is done on the host. Idempotent."""

    def disconnect(self, networks: Networks, record: dict, endpoint: dict, netns_fd: int = -1) -> None:
        """Remove the interface of an endpoint, and no other one. Idempotent; netns_fd is -1 when its namespace ends."""


_HOMES = {"bridge": ("capsule.network.bridge", "BridgeDriver"), "macvlan": ("capsule.network.macvlan", "MacvlanDriver"),
          "none": ("capsule.network.namespace", "NoneDriver"), "host": ("capsule.network.namespace", "HostDriver"),
          "container": ("capsule.network.namespace", "ContainerDriver"),
          "ns": ("capsule.network.namespace", "PathDriver"), "pasta": ("capsule.network.namespace", "UserModeDriver"),
          "slirp4netns": ("capsule.network.namespace", "SlirpDriver")}


def names() -> list[str]:
    """The names of the drivers that `network create` takes, the default first."""
    return [name for name in _HOMES if find(name).has_records]


def find(name: str) -> NetworkDriver:
    """Return the driver of that name. Raises NetworkError."""
    home = _HOMES.get(name)
    if home is None:
        raise NetworkError("find network driver", name, f"there is none of that name; known are {', '.join(_HOMES)}")
    module, cls = home
    return getattr(__import__(module, None, None, (cls,)), cls)()
