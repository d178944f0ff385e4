"""What an image has where a new volume is mounted, copied whole or not at all, and full disks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule.bundle.volumes import Wanted, give, merged
from capsule.errors import VolumeError
from capsule.volume.store import Volumes

from .conftest import TREE

pytestmark = requires("root")

_KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from capsule._ext import proc
from capsule.bundle import volumes
proc.stop_point = lambda name: os._exit(9) if name == sys.argv[2] else None
store = volumes.Volumes(sys.argv[3])
volumes.give(store, "first", [volumes.Wanted("volume", "data", "/data", [])], {}, sys.argv[4:])
"""


@pytest.fixture
def layers(memory: Path) -> list[str]:
    for name, file in (("one", "below"), ("two", "above")):
        (memory / name / "data").mkdir(parents=True)
        (memory / name / "data" / file).write_text(file)
    os.mknod(memory / "two" / "data" / "gone", 0o020000)
    (memory / "one" / "data" / "gone").write_text("deleted above")
    (memory / "two" / "data").chmod(0o700)
    return [str(memory / "one"), str(memory / "two")]


def fill(volumes: Volumes, layers: list[str]) -> list[str]:
    give(volumes, "second", [Wanted("volume", "data", "/data", [])], {}, layers)
    return sorted(os.listdir(volumes.path("data")))


@pytest.mark.parametrize("point", ["volume-made", "volume-copied", "volume-filled"])
def test_who_is_killed_while_filling_leaves_it_new_or_filled(point, memory, layers) -> None:
    volumes = Volumes(str(memory / "volumes"))
    done = subprocess.run([sys.executable, "-c", _KILLED, str(TREE), point, volumes.directory, *layers], check=False)
    assert done.returncode == 9
    assert fill(volumes, layers) == ["above", "below"]
    assert os.stat(volumes.path("data")).st_mode & 0o7777 == 0o700
    assert [name[:5] for name in volumes.sweep()] == ([".new-"] if point == "volume-made" else [])
    assert sorted(os.listdir(f"{volumes.directory}/data")) == ["data", "holds", "volume.json"]


def test_layers_by_name_as_older_kernels_want_them(layers, memory) -> None:
    here = os.getcwd()
    (memory / "empty").mkdir()
    for by_name in (False, True):
        fd = merged(layers, str(memory / "empty"), by_name=by_name)
        inner = os.open("data", os.O_RDONLY, dir_fd=fd)
        assert sorted(os.listdir(inner)) == ["above", "below"]
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("x", dir_fd=inner)
        os.close(inner)
        os.close(fd)
    assert os.getcwd() == here


def test_a_full_disk_is_told_and_the_volume_stays_new(memory, layers) -> None:
    Path(layers[0], "data", "big").write_bytes(b"x" * (2 << 20))
    place = memory / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "capsule-test", place], check=True)
    try:
        volumes = Volumes(str(place / "volumes"))
        with pytest.raises(VolumeError, match="no space left on device"):
            fill(volumes, layers)
        assert volumes.load("data")["fresh"] and os.listdir(volumes.path("data")) == []
        assert volumes.holders("data") == [] and sorted(os.listdir(place / "volumes" / "data")) == [
            "data", "holds", "volume.json"]
        Path(layers[0], "data", "big").unlink()
        assert fill(volumes, layers) == ["above", "below"]
    finally:
        subprocess.run(["umount", place], check=True)
