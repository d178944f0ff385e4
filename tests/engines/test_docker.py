"""Docker: the scenarios that it shares with podman."""

from __future__ import annotations

from helpers.requires import requires

from .kit.docker import Docker
from .shared.build import Build
from .shared.life import Life
from .shared.network import Network
from .shared.process import Process
from .shared.resources import Resources
from .shared.storage import Storage

ENGINE = Docker
pytestmark = requires(*Docker.NEEDS)


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


class TestBuild(Build):
    FLAGS = ("--network", "none", "--no-cache")
