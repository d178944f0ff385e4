"""The networks' records, and who is attached to each (docs/networking.md).

    <records>/NAME.json               a network; outlives a reboot
    <runtime root>/.networks/lock     its flock is held to read and change what follows, and the set of records
    <runtime root>/.networks/NAME.json  leases and endpoints of a network; gone with a reboot, like the containers

`records` is /var/lib/capsule/networks for the default root, and `.networks/records` below any other one: whoever
moves the containers moves their networks. Files are replaced by rename, never written in place.

A lease is taken and an endpoint noted before anything of it is made, and both are dropped last: whatever a crash
leaves is named here.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import json, proc
from capsule.errors import CorruptRecord, NetworkError, NotFound
from capsule.linux import files
from capsule.state import named
from capsule.state.store import make_root

SCHEMA_VERSION = 1
DEFAULT_ROOT = "/run/capsule"
_DURABLE = "/var/lib/capsule/networks"
_DIRECTORY = ".networks"  # no container can have this id
_LONGEST = 63  # a label of a domain name
#: What `--network` means otherwise, and names that other engines' users would read so.
RESERVED = ("none", "host", "bridge", "default", "container", "ns", "private", "pasta", "slirp4netns", "macvlan")
_RECORD_KEYS = (("id", str), ("name", str), ("driver", str), ("subnets", list))


class NoSuchNetwork(NotFound, NetworkError):
    """`network "NAME" does not exist`."""


class State:
    """The leases and endpoints of one network: address to endpoint id, endpoint id to endpoint."""

    __slots__ = ("leases", "endpoints")

    def __init__(self, leases: dict[str, str], endpoints: dict[str, dict]) -> None:
        self.leases = leases
        self.endpoints = endpoints


class Lock:
    """The lock of all networks below one root, held until it is closed; a second one waits."""

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        try:
            self.fd = posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600)
            proc.flock(self.fd, proc.LOCK_EX)
        except OSError as err:
            raise NetworkError("lock", path, errno=err.errno) from err

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exc_info: object) -> None:
        posix.close(self.fd)


class Networks:
    """The networks below one runtime root."""

    __slots__ = ("root", "records", "directory")

    def __init__(self, root: str) -> None:
        self.root = root
        self.directory = f"{root}/{_DIRECTORY}"
        self.records = _DURABLE if root == DEFAULT_ROOT else f"{self.directory}/records"

    def lock(self) -> Lock:
        """Take the lock of all networks. Raises NetworkError."""
        try:
            return Lock(f"{self.directory}/lock")
        except NetworkError as err:
            if err.errno != errno.ENOENT:
                raise
        _make_directory(self.directory)
        return Lock(f"{self.directory}/lock")

    def names(self) -> list[str]:
        """The names of all networks, sorted."""
        try:
            found = posix.listdir(self.records)
        except FileNotFoundError:
            return []
        except OSError as err:
            raise NetworkError("list networks in", self.records, errno=err.errno) from err
        return sorted([name[:-5] for name in found if name.endswith(".json") and is_valid(name[:-5])])

    def load(self, name: str) -> dict:
        """Return a network's record. Raises NoSuchNetwork, CorruptRecord, NetworkError for what is no name."""
        check_name(name)
        data = _read(f"{self.records}/{name}.json")
        if data is None:
            raise NoSuchNetwork(f'network "{name}" does not exist')
        return named.parse("load record of network", name, data, version=SCHEMA_VERSION, keys=_RECORD_KEYS)

    def save(self, record: dict) -> None:
        """Write a network's record, durably. The lock is held. Raises NetworkError."""
        _make_directory(self.records)
        _replace(self.records, f"{record['name']}.json", {"schema_version": SCHEMA_VERSION, **record}, durable=True)

    def remove(self, name: str) -> None:
        """Forget a network and its state; fine when it has gone. The lock is held. Raises NetworkError."""
        for path in (f"{self.records}/{name}.json", f"{self.directory}/{name}.json"):
            try:
                posix.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as err:
                raise NetworkError("remove", path, errno=err.errno) from err

    def state(self, name: str) -> State:
        """Return the leases and endpoints of a network. Raises CorruptRecord."""
        data = _read(f"{self.directory}/{name}.json")
        if data is None:
            return State({}, {})
        whole = named.parse("load record of network", name, data, version=SCHEMA_VERSION)
        leases, endpoints = whole.get("leases"), whole.get("endpoints")
        if not isinstance(leases, dict) or not isinstance(endpoints, dict):
            raise CorruptRecord("load leases of network", name, "it has no leases or no endpoints")
        return State(leases, endpoints)

    def save_state(self, name: str, state: State) -> None:
        """Replace the leases and endpoints of a network. The lock is held. Raises NetworkError."""
        whole = {"schema_version": SCHEMA_VERSION, "leases": state.leases, "endpoints": state.endpoints}
        _replace(self.directory, f"{name}.json", whole, durable=False)

    def stateful(self) -> list[str]:
        """The names of all networks that have or had endpoints since the machine started, sorted."""
        try:
            found = posix.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted([name[:-5] for name in found if name.endswith(".json") and is_valid(name[:-5])])

    def endpoints(self) -> list[dict]:
        """Every endpoint of every network; what cannot be read hides nothing else."""
        found: list[dict] = []
        for name in self.stateful():
            try:
                found += self.state(name).endpoints.values()
            except CorruptRecord:
                continue
        return found


def is_valid(name: str) -> bool:
    """Tell whether a network can have this name."""
    return named.is_valid(name, _LONGEST)


def check_name(name: str) -> None:
    """Refuse what is no name of a network. Raises NetworkError."""
    named.check_name("network", name, _LONGEST, NetworkError)


def _read(path: str) -> bytes | None:
    try:
        return files.read(path)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise NetworkError("read", path, errno=err.errno) from err


def _replace(directory: str, name: str, whole: dict, *, durable: bool) -> None:
    try:
        files.replace(f"{directory}/{name}", json.dumps(whole, indent=2 if durable else 0) + b"\n", durable=durable)
    except OSError as err:
        raise NetworkError("write", f"{directory}/{name}", errno=err.errno) from err


def _make_directory(path: str) -> None:
    try:
        make_root(path)
    except OSError as err:
        raise NetworkError("make directory", path, errno=err.errno) from err
