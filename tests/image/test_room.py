"""What takes room, what is removed of it, and disks that are full."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule.bundle import room
from capsule.bundle.containers import Containers, Record
from capsule.errors import ImageError
from capsule.image import cache, importing
from capsule.image.check import check
from capsule.image.layout import Staging
from capsule.image.store import Store
from capsule.volume.store import Volumes

from .tars import member, rootfs, tar

pytestmark = requires("root")


@pytest.fixture
def containers(memory: Path) -> Containers:
    return Containers(str(memory / "containers"))


@pytest.fixture
def volumes(memory: Path) -> Volumes:
    return Volumes(str(memory / "volumes"))


def bring(store: Store, name: str, memory: Path, data: bytes) -> str:
    (memory / "root.tar").write_bytes(data)
    with open(memory / "root.tar", "rb") as file:
        return importing.from_tar(store, file, name).id


def test_what_takes_room_and_what_is_not_needed(store, containers, volumes, memory) -> None:
    bring(store, "used", memory, rootfs())
    bring(store, "unused", memory, tar(member("big", data=b"x" * 100_000)))
    store.hold(store.find("used").id, "c")
    volumes.create("kept")
    nameless = volumes.create()["name"]
    Path(volumes.path("kept"), "file").write_bytes(b"x" * 8192)
    os.link(Path(volumes.path("kept"), "file"), Path(volumes.path("kept"), "twin"))
    record = Record("0123456789ab", "box")
    containers.create(record, b"{}").close()
    upper = Path(containers.root, record.id, "upper0")
    upper.mkdir()
    (upper / "file").write_bytes(b"x" * 4096)
    with Staging(store.root) as staging:
        cache.keep(staging, "0" * 64, None, "now")
    sums = {kind.name: kind.to_data() for kind in room.kinds(store, containers, volumes)}
    assert sums["images"]["total"] == 2 and sums["images"]["active"] == 1
    assert sums["images"]["reclaimable"] >= 200_000 > sums["images"]["size"] - sums["images"]["reclaimable"]
    assert sums["volumes"] == {"type": "volumes", "total": 2, "active": 0, "size": 8192, "reclaimable": 8192}
    assert sums["containers"]["size"] == 4096
    gone, freed = room.prune(store, volumes, all_images=True, with_volumes=True)
    assert len(gone) == 3 and freed > 0 and f"volume {nameless}" in gone
    assert [image.names for image in store.images()] == [["used:latest"]] and volumes.names() == ["kept"]
    assert check(store, fix=False) == []


def test_holds_of_containers_that_are_gone_are_found_and_ended(containers, volumes) -> None:
    volumes.create("data")
    for user in ("gone", "alive"):
        volumes.hold("data", user)
    os.makedirs(f"{volumes.directory}/.new-1")
    look = lambda fix: room.check_volumes(volumes, containers, lambda id: id == "alive", fix=fix)  # noqa: E731
    assert [row[2] for row in look(False)] == [False] and volumes.holders("data") == ["alive", "gone"]
    assert [row[2] for row in look(True)] == [True, True]
    assert volumes.holders("data") == ["alive"] and look(True) == []


def test_a_disk_that_is_full_spoils_nothing(memory: Path) -> None:
    place = memory / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "capsule-test", place], check=True)
    try:
        store = Store(str(place / "storage"))
        first = bring(store, "first", memory, rootfs())
        for data in (tar(member("big", data=os.urandom(4 << 20))), tar(member("half", data=os.urandom(1200 << 10)))):
            with pytest.raises(ImageError, match="no space left on device"):
                bring(store, "second", memory, data)
            assert [image.id for image in store.images()] == [first] and check(store, fix=False, deep=True) == []
            assert os.listdir(f"{store.root}/staging") == []
        bring(store, "second", memory, rootfs(more="x"))
        assert check(store, fix=False, deep=True) == []
    finally:
        subprocess.run(["umount", place], check=True)
