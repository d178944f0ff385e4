"""The store of volumes, and how a call's mounts are read; no container is made here."""

from __future__ import annotations

import os

import pytest

from capsule.bundle import volumes as giving
from capsule.bundle.volumes import Wanted
from capsule.cli import mount_options
from capsule.errors import CapsuleError, CorruptRecord, ImageError, Unsupported, VolumeError
from capsule.volume import views
from capsule.volume.store import Volumes

NONE = {"volume": [], "mount": [], "tmpfs": []}


@pytest.fixture
def volumes(tmp_path) -> Volumes:
    return Volumes(str(tmp_path / "volumes"))


def test_a_volume_is_made_once_and_found_again(volumes) -> None:
    made = volumes.create("data", labels={"a": "b"})
    assert volumes.load("data") == made and volumes.names() == ["data"] and not made["anonymous"]
    assert os.stat(volumes.path("data")).st_mode & 0o7777 == 0o755
    with pytest.raises(VolumeError, match="there is one of that name"):
        volumes.create("data")
    assert volumes.create("data", exist_ok=True) == made
    nameless = volumes.create()
    assert nameless["anonymous"] and len(nameless["name"]) == 64


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "ä", "a" * 129, "a\n"])
def test_what_is_no_name_is_refused(volumes, name) -> None:
    for verb in (volumes.load, volumes.remove, lambda name: volumes.hold(name, "c")):
        with pytest.raises(VolumeError, match="invalid volume name"):
            verb(name)
    assert not os.path.exists(volumes.directory)


def test_what_is_held_stays(volumes) -> None:
    volumes.create("data")
    assert volumes.hold("data", "one") and not volumes.hold("data", "one")
    with pytest.raises(VolumeError, match="in use by one"):
        volumes.remove("data")
    assert views.prune(volumes, all_unused=True) == ([], 0) and volumes.of("one") == ["data"]
    volumes.release("data", "one")
    volumes.release("data", "one")
    volumes.remove("data")
    assert volumes.names() == []
    with pytest.raises(VolumeError, match="no such volume"):
        volumes.hold("data", "one")


def test_prune_takes_the_anonymous_ones_and_with_all_the_others(volumes) -> None:
    volumes.create("named")
    nameless = volumes.create()["name"]
    assert views.prune(volumes, all_unused=False)[0] == [nameless]
    assert views.prune(volumes, all_unused=True)[0] == ["named"]


def test_a_record_that_is_none_is_told_and_hides_no_other(volumes) -> None:
    volumes.create("good")
    volumes.create("bad")
    record = os.path.join(volumes.directory, "bad", "volume.json")
    for text in ("{", "[]", '{"schema_version":9}', '{"schema_version":1,"name":"bad"}'):
        with open(record, "w") as file:
            file.write(text)
        with pytest.raises(CorruptRecord):
            volumes.load("bad")
    assert volumes.names() == ["bad", "good"]


def test_what_dead_makers_left_is_swept(volumes) -> None:
    volumes.create("data")
    for name in (".new-1", ".gone-1"):
        os.makedirs(f"{volumes.directory}/{name}/data/deep")
    assert volumes.names() == ["data"]
    assert volumes.sweep() == [".gone-1", ".new-1"] and volumes.sweep() == []


def read(**options) -> list[tuple]:
    return [(one.kind, one.source, one.destination, one.options, one.copy)
            for one in mount_options.read({**NONE, **options})]


def test_mounts_are_read() -> None:
    assert read(volume=["/anonymous", "named:/data:ro", "/etc/hosts:/x/../hosts:Z,rslave", "v:/w:nocopy"]) == [
        ("volume", "", "/anonymous", [], True), ("volume", "named", "/data", ["ro"], True),
        ("bind", "/etc/hosts", "/hosts", ["rslave"], True), ("volume", "v", "/w", [], False)]
    assert read(mount=["type=volume,target=/a", "src=named,dst=/b,readonly", "type=tmpfs,target=/c,tmpfs-size=1m",
                       "type=bind,source=/etc,target=/d,bind-propagation=rslave,ro=false"]) == [
        ("volume", "", "/a", [], True), ("volume", "named", "/b", ["ro"], True), ("tmpfs", "", "/c", ["size=1m"], True),
        ("bind", "/etc", "/d", ["rslave"], True)]


@pytest.mark.parametrize("options", [
    {"volume": ["a:b:c:d"]}, {"volume": ["a:relative"]}, {"volume": ["a:/x:ro,rw"]}, {"volume": ["a:/x:what"]},
    {"volume": ["/not/there:/x"]}, {"volume": [":/x"]}, {"volume": ["a b:/x"]}, {"mount": ["type=tape,target=/x"]},
    {"mount": ["type=bind,target=/x"]}, {"mount": ["target=/x,ro=perhaps"]}, {"mount": ["dst=/x,dst=/y"]},
    {"mount": ["dst=/x,target=/y"]}, {"mount": ["type=tmpfs,source=/etc,target=/x"]}, {"tmpfs": ["x"]},
    {"mount": ["source=/etc,target=/x,tmpfs-size=1m"]}, {"mount": ["type=volume,source=a,target=/x,volume-opt=a"]},
])
def test_mounts_that_cannot_be_meant_are_refused(options) -> None:
    with pytest.raises(CapsuleError):
        read(**options)


def test_an_image_gets_volumes_of_its_own_but_not_everywhere(volumes) -> None:
    given = giving.give(volumes, "c", [Wanted("volume", "mine", "/b", [])], {"Volumes": {"/a/x": {}, "/b/": {}}}, [])
    assert [mount["destination"] for mount in given.mounts] == ["/b", "/a/x"]
    assert [used["anonymous"] for used in given.used] == [False, True]
    given.undo()
    assert volumes.names() == ["mine"] and volumes.holders("mine") == []
    for path in ("/", "/proc/x", "/dev/shm", "/a/../sys", "relative"):
        with pytest.raises(ImageError):
            giving.give(volumes, "c", [], {"Volumes": {path: {}}}, [])
    with pytest.raises(ImageError):
        giving.give(volumes, "c", [], {"Volumes": {f"/{n}": {} for n in range(65)}}, [])
    assert volumes.names() == ["mine"]


def test_an_anonymous_volume_that_is_asked_for_by_name_is_nobodys_to_remove(volumes) -> None:
    name = volumes.create()["name"]
    giving.give(volumes, "c", [Wanted("volume", name, "/data", [], True)], {}, [])
    assert giving.let_go(volumes, "c", anonymous=True) == [] and volumes.names() == [name]
    assert giving.let_go(volumes, "d", anonymous=True) == [] and volumes.names() == [name]


def test_what_fails_leaves_nothing_held(volumes) -> None:
    wanted = [Wanted("volume", "", "/a", []), Wanted("volume", "taken", "/b", [])]
    volumes.create("taken", tmpfs=["size=1"])
    volumes.hold("taken", "other")
    with pytest.raises(Unsupported, match="one container's alone"):
        giving.give(volumes, "c", wanted, {}, [])
    assert volumes.names() == ["taken"] and volumes.holders("taken") == ["other"]
    with pytest.raises(VolumeError, match="two mounts"):
        giving.give(volumes, "c", [Wanted("tmpfs", "", "/a", []), Wanted("tmpfs", "", "/a/", [])], {}, [])
