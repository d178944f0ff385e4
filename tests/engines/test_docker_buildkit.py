"""Docker: images built by BuildKit, which calls `runc run` by itself, without containerd's shim."""

from __future__ import annotations

import pytest
from helpers.requires import requires

from .kit.docker import Docker
from .shared.build import Build

ENGINE = Docker
pytestmark = requires(*Docker.NEEDS)


class TestBuildKit(Build):
    FLAGS = ("--network", "none", "--no-cache", "--progress", "plain")

    @pytest.fixture(autouse=True)
    def buildkit(self, engine):
        engine.buildkit = "1"
        yield
        engine.call("builder", "prune", "--all", "--force")
        engine.buildkit = "0"
