"""Network and Endpoint: networks of this host for a Python program. Each call looks; nothing is remembered."""

from __future__ import annotations

import os
from collections.abc import Sequence

from capsule.client.factory import default_root
from capsule.network import attachment, check, creating
from capsule.network.ipam import IPAM
from capsule.network.store import Networks
from capsule.runtime import networking


class Endpoint:
    """A container's place in a network, as it was when it was looked at."""

    __slots__ = ("id", "container", "network", "interface", "mac", "addresses", "ports", "aliases")

    def __init__(self, fields: dict) -> None:
        self.id: str = fields["id"]
        self.container: str = fields["container"]
        self.network: str = fields["network"]
        self.interface: str = fields["interface"]  # its name inside
        self.mac: str = fields["mac"]
        self.addresses: list[str] = fields["addresses"]  # with prefix
        self.ports: list[dict] = fields["ports"]
        self.aliases: list[str] = fields["aliases"]

    def __repr__(self) -> str:
        return f"<Endpoint of {self.container!r} in {self.network!r}: {', '.join(self.addresses)}>"


class Network:
    """A network by its name. Made by `create` and `load`."""

    def __init__(self, root: str, name: str) -> None:
        self._networks = Networks(root)
        self._name = name

    def __repr__(self) -> str:
        return f"<Network {self._name!r} in {self._networks.root!r}>"

    @classmethod
    def create(cls, name: str, *, root: str | os.PathLike[str] = "", **options: object) -> Network:
        """Create a network. Options are those of capsule.network.creating.DEFAULTS: driver, subnets, internal ...

        Raises NetworkError; nothing is left then.
        """
        made = cls(_root(root), name)
        creating.create(made._networks, name, **options)
        return made

    @classmethod
    def load(cls, name: str, *, root: str | os.PathLike[str] = "") -> Network:
        """Return a network that exists. Raises NotFound, CorruptRecord."""
        found = cls(_root(root), name)
        found.inspect()
        return found

    @classmethod
    def list(cls, *, root: str | os.PathLike[str] = "") -> Sequence[str]:
        """Return the names of all networks, sorted."""
        return Networks(_root(root)).names()

    @property
    def name(self) -> str:
        return self._name

    @property
    def driver(self) -> str:
        """The name of its driver."""
        return self.inspect()["driver"]

    def inspect(self) -> dict:
        """Return its record (docs/networking.md). Raises NotFound, CorruptRecord."""
        return self._networks.load(self._name)

    def endpoints(self) -> Sequence[Endpoint]:
        """Return who is connected. Raises CorruptRecord."""
        return [Endpoint(fields) for fields in self._networks.state(self._name).endpoints.values()]

    def ipam(self) -> IPAM:
        """Return its addresses and who has them; a copy, changes of it lease nothing."""
        return IPAM(self._name, self.inspect()["subnets"], self._networks.state(self._name).leases)

    def connect(self, container: str, *, ip: Sequence[str] = (), mac: str = "",
                aliases: Sequence[str] = ()) -> Endpoint:
        """Connect a container that runs. Raises NotFound, StateError, NetworkError; nothing is left then."""
        request = {"network": self._name, "ip": [*ip], "mac": mac, "aliases": [*aliases], "interface": ""}
        checked = attachment.check([request])[0]
        return Endpoint(networking.attach(self._networks.root, container, {**checked, "interface": ""}))

    def disconnect(self, container: str) -> bool:
        """Disconnect a container; False when it is not connected. Raises NotFound, NetworkError."""
        return networking.detach(self._networks.root, container, self._name)

    def reload(self) -> None:
        """Make again what a reboot, a removed bridge or a flushed firewall took. Raises NetworkError."""
        check.reload(self._networks, self._name)

    def delete(self, *, force: bool = False) -> None:
        """Remove it. Raises StateError while it is in use and without `force`, NotFound, NetworkError."""
        creating.remove(self._networks, self._name, force=force)


def _root(root: str | os.PathLike[str]) -> str:
    return os.path.abspath(root) if root else default_root()
