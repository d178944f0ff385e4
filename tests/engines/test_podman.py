"""podman: the scenarios that it shares with Docker."""

from __future__ import annotations

from helpers.requires import requires

from .kit.podman import Podman
from .shared.life import Life
from .shared.network import Network
from .shared.process import Process
from .shared.resources import Resources
from .shared.storage import Storage

ENGINE = Podman
pytestmark = requires(*Podman.NEEDS)


class TestLife(Life):
    pass


class TestProcess(Process):
    pass


class TestResources(Resources):
    pass


class TestStorage(Storage):
    pass


class TestNetwork(Network):
    pass
