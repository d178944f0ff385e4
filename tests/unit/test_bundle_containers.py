"""The records of the engine's containers: capsule.bundle.containers."""

from __future__ import annotations

import json
import os
import posix
from pathlib import Path

import pytest

from capsule.bundle.containers import FIELDS, SCHEMA_VERSION, Containers, Record, end_of, from_bytes, new_id, save
from capsule.errors import AlreadyExists, CorruptRecord, NotFound, StateError


@pytest.fixture
def containers(tmp_path) -> Containers:
    return Containers(str(tmp_path / "containers"))


def _make(containers: Containers, name: str = "", id: str = "") -> Record:
    record = Record(id or new_id(), name)
    containers.create(record, b"{}").close()
    return record


def test_a_record_is_found_by_name_id_and_prefix(containers) -> None:
    record = _make(containers, "web")
    other = _make(containers, id="f" * 64)
    assert containers.find("web") == containers.find(record.id) == record.id
    assert containers.find("fff") == containers.find(other.name) == other.id
    assert containers.load(record.id).to_dict() == record.to_dict()
    assert {each.id for each in containers.records()} == {record.id, other.id}


def test_what_is_not_one_container_is_not_found(containers) -> None:
    _make(containers, id="aa" + "1" * 62)
    _make(containers, id="aa" + "2" * 62)
    with pytest.raises(StateError, match="ambiguous"):
        containers.find("aa")
    for word in ("b", "", "../x", ".names", "a/b"):
        with pytest.raises(NotFound):
            containers.find(word)


def test_a_name_is_one_containers(containers) -> None:
    first = _make(containers, "web")
    with pytest.raises(AlreadyExists, match=first.id[:12]):
        _make(containers, "web")
    assert [record.id for record in containers.records()] == [first.id]
    with pytest.raises(StateError, match="invalid"):
        _make(containers, "../web")


def test_a_name_is_free_again_with_its_container(containers) -> None:
    record = _make(containers, "web")
    with containers.open(record.id, lock=True) as entry:
        containers.forget(entry, record)
    assert os.listdir(containers.root) == [".names"] and os.listdir(f"{containers.root}/.names") == []
    _make(containers, "web")


def test_a_name_whose_container_was_lost_is_free(containers) -> None:
    _make(containers, "other")
    os.symlink("0" * 64, f"{containers.root}/.names/web")
    record = _make(containers, "web")
    assert containers.find("web") == record.id


def test_a_renamed_container_leaves_its_name(containers) -> None:
    record = _make(containers, "web")
    _make(containers, "taken")
    with containers.open(record.id, lock=True) as entry:
        containers.rename(entry, record, "site")
        with pytest.raises(AlreadyExists):
            containers.rename(entry, record, "taken")
    assert containers.find("site") == record.id and containers.load(record.id).name == "site"
    with pytest.raises(NotFound):
        containers.find("web")


def test_files_are_private_and_whole(containers) -> None:
    record = _make(containers)
    directory = Path(containers.root, record.id)
    assert sorted(os.listdir(directory)) == ["config.json", "record.json", "room"]
    assert {path.stat().st_mode & 0o7777 for path in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o7777 == 0o700


def test_a_record_is_on_the_disk_before_it_has_its_name(containers, monkeypatch) -> None:
    """A rename alone may reach the disk before what is in the file (ext4, xfs): the record would be empty."""
    done: list[tuple] = []
    fsync, rename = posix.fsync, posix.rename
    monkeypatch.setattr(posix, "fsync", lambda fd: (done.append(("fsync", os.readlink(f"/proc/self/fd/{fd}"))),
                                                    fsync(fd)))
    monkeypatch.setattr(posix, "rename", lambda source, target, **how: (done.append(("rename", source, target)),
                                                                       rename(source, target, **how)))
    record = _make(containers, "web")
    place = f"{containers.root}/{record.id}"
    for name in ("config.json", "record.json"):
        at = next(index for index, step in enumerate(done) if step[0] == "rename" and step[2] == name)
        assert done[at - 1] == ("fsync", f"{place}/{done[at][1]}") and done[at + 1] == ("fsync", place)
    assert ("fsync", containers.root) in done and ("fsync", f"{containers.root}/.names") in done


@pytest.mark.parametrize("change", [
    {"schema_version": SCHEMA_VERSION + 1}, {"schema_version": "1"}, {"id": "other"}, {"runs": "3"}, {"name": None},
    {"volumes": {}}, {"detached": 1},
])
def test_a_record_of_wrong_types_is_refused(change) -> None:
    tree = {**Record("a").to_dict(), **change}
    with pytest.raises(CorruptRecord):
        from_bytes(json.dumps(tree).encode(), "a")


def test_keys_of_a_record_may_lack(containers) -> None:
    """An older capsule of the same schema did not write all of them."""
    record = from_bytes(b'{"schema_version":1,"id":"a","future":[1]}', "a")
    assert record.to_dict() == Record("a").to_dict()


def test_the_fields_have_the_types_that_a_new_record_has() -> None:
    tree = Record("a", "b").to_dict()
    assert {name: type(default) for name, default in FIELDS} | {"schema_version": int} == {
        name: type(value) for name, value in tree.items()}


def test_the_end_is_that_of_the_last_run(containers) -> None:
    record = _make(containers)
    path = Path(containers.root, record.id, "end.json")
    with containers.open(record.id, lock=True) as entry:
        record.runs = 2
        save(entry, record)
        assert end_of(entry, record) is None
        path.write_text(json.dumps({"id": record.id, "run": 1, "reason": "exit", "wait_status": 0, "time_ns": 1}))
        assert end_of(entry, record) is None
        path.write_text(json.dumps({"id": record.id, "run": 2, "reason": "oom", "wait_status": 9, "time_ns": 0}))
        assert end_of(entry, record) == {"reason": "oom", "signal": "SIGKILL", "time": "1970-01-01T00:00:00Z",
                                         "status": 137}
        path.write_text('{"id": "cut')
        assert end_of(entry, record) is None
