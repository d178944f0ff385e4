"""podman: images built with its own buildah."""

from __future__ import annotations

from helpers.requires import requires

from .kit.podman import Podman
from .shared.build import Build

ENGINE = Podman
pytestmark = requires(*Podman.NEEDS)


class TestBuild(Build):
    FLAGS = ("--network", "none", "--isolation", "oci", "--quiet", "--no-cache")
