"""Factory: the containers of one runtime root, for a Python program."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

from capsule._ext import json
from capsule.client import surroundings
from capsule.client.container import Container
from capsule.errors import AlreadyExists, SpecError, StateError, Unsupported
from capsule.linux import namespaces
from capsule.spec.load import load_config
from capsule.spec.model import Config
from capsule.state import roots
from capsule.state.ids import check_id
from capsule.state.store import Store

DEFAULT_ROOT = "/run/capsule"


class Factory:
    """Make and load containers below one directory; the directory is made by the first create."""

    def __init__(self, runtime_root: str | os.PathLike[str] = "") -> None:
        self._root = os.path.abspath(runtime_root) if runtime_root else default_root()

    def __repr__(self) -> str:
        return f"<Factory {self._root!r}>"

    @property
    def runtime_root(self) -> str:
        """The absolute path of the directory."""
        return self._root

    def create(
        self,
        id: str,
        config: Config | Mapping[str, object] | bytes | None = None,
        *,
        bundle: str | os.PathLike[str] = "",
        networks: Sequence[str | Mapping[str, object]] = (),
        ports: Sequence[str] = (),
        publish_all: bool = False,
        hostname: str = "",
        add_hosts: Sequence[str] = (),
        dns: Sequence[str] = (),
    ) -> Container:
        """Prepare a container that does not exist yet; nothing changes before its `create` or `run`.

        `config` is a checked Config, JSON values or JSON text; None reads config.json of the bundle. Relative paths in
        it are relative to the bundle, which defaults to the working directory.

        `networks` are what `--network` takes, or mappings with "network", "ip", "mac", "aliases", "interface"; without
        them the network of the config stays. `ports`, `hostname`, `add_hosts` and `dns` are what `--publish`,
        `--hostname`, `--add-host` and `--dns` take; `publish_all` publishes what the config's image exposes.
        Raises AlreadyExists, StateError for an id that is not valid, SpecError, NetworkError.
        """
        check_id(id)
        bundle_path = os.path.abspath(bundle)
        raw = _raw_config(config, bundle_path)
        load_config(raw)
        network = surroundings.read(networks, ports, hostname, add_hosts, dns, publish_all=publish_all)
        if self.exists(id):
            raise AlreadyExists("create container", id, "container with given ID already exists")
        return Container(self._root, id, bundle=bundle_path, raw_config=raw, network=network)

    def load(self, id: str) -> Container:
        """Load a container. Raises NotFound, CorruptRecord."""
        with Store(self._root).open(id) as entry:
            record = entry.load()
        return Container(self._root, id, bundle=record.bundle, raw_config=record.config)

    def exists(self, id: str) -> bool:
        """Tell whether a container of that id can be loaded."""
        try:
            self.load(id)
        except StateError:
            return False
        return True

    def list(self) -> list[str]:
        """Return the ids of all containers, half-made ones included, sorted."""
        return Store(self._root).ids()

    def start_initialization(self) -> NoReturn:
        """Refuse: a container's own initialization runs in the launcher, never in a program that uses the library.

        Raises Unsupported.
        """
        raise Unsupported("start initialization", "in this process", "the launcher does it")


def default_root() -> str:
    """Return where the command line keeps its records for this user. Raises StateError."""
    private = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0 and (not private or namespaces.is_initial_user()):
        return DEFAULT_ROOT
    return roots.private_root(private)


def _raw_config(config: Config | Mapping[str, object] | bytes | None, bundle: str) -> bytes:
    if config is None:
        path = f"{bundle}/config.json"
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as err:
            raise SpecError("read", path, errno=err.errno or 0) from err
    if isinstance(config, bytes):
        return config
    if isinstance(config, Config):
        return config.raw
    return json.dumps(dict(config))
