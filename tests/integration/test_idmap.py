"""Id-mapped mounts: whose files the container sees, and whose the host sees afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.requires import requires

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "userns"),
    pytest.mark.row(36),
    pytest.mark.rival(runc="1.1.5 has no id-mapped mounts", crun="1.8.1 maps otherwise", strict=False),
]

HOST = 100000
OVERFLOW = 65534


def maps(*ranges: tuple[int, int, int]) -> dict:
    """Return the mapping keys of a mount: (container id, host id, size) for both kinds of ids."""
    found = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges]
    return {"uidMappings": found, "gidMappings": found}


def entry(box, **fields):
    box.config["mounts"].append(fields)
    return box


@pytest.fixture
def source(workdir) -> Path:
    """Give a directory with a file of root, one of user 7, group 8, and one of an id that tests leave unmapped."""
    path = workdir / "source"
    path.mkdir()
    for name, uid, gid in (("root", 0, 0), ("seven", 7, 8), ("far", 70000, 70000)):
        (path / name).write_text(name)
        os.chown(path / name, uid, gid)
    return path


def owners(capsule, box, *names: str, at: str = "/data") -> list[tuple[int, int]]:
    found = capsule.attempts(box, *[word for name in names for word in ("stat", f"{at}/{name}")])
    return [(answer["uid"], answer["gid"]) for answer in found]


@pytest.mark.row(37)
@pytest.mark.parametrize("options", [["bind", "idmap"], ["bind"], ["rbind", "ridmap"], ["idmap", "bind", "ro"]])
def test_a_mounts_own_map_changes_the_owners_that_are_seen(capsule, bundle, source, options):
    """Mappings without the word mean idmap all the same."""
    box = entry(bundle(), destination="/data", type="bind", source=str(source), options=options,
                **maps((0, HOST, 1000)))
    assert owners(capsule, box, "root", "seven", "far") == [
        (HOST, HOST), (HOST + 7, HOST + 8), (OVERFLOW, OVERFLOW)]
    assert (source / "root").stat().st_uid == 0


@pytest.mark.row(37)
def test_each_mount_has_its_own_map(capsule, bundle, source):
    box = bundle()
    for name, host in (("one", 1000), ("two", 2000), ("one-again", 1000)):
        entry(box, destination=f"/m/{name}", type="bind", source=str(source), options=["bind", "idmap"],
              **maps((0, host, 10)))
    box.bind(source, "/m/plain", "bind")
    assert owners(capsule, box, "one/root", "two/root", "one-again/seven", "plain/seven", at="/m") == [
        (1000, 1000), (2000, 2000), (1007, 1008), (7, 8)]


@pytest.mark.row(37)
def test_uids_and_gids_have_maps_of_their_own(capsule, bundle, source):
    fields = {**maps((0, 1000, 10)), "gidMappings": maps((0, 5, 1), (8, 3000, 1))["gidMappings"]}
    box = entry(bundle(), destination="/data", type="bind", source=str(source), options=["bind", "idmap"], **fields)
    assert owners(capsule, box, "root", "seven") == [(1000, 5), (1007, 3000)]


@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_the_containers_map_makes_the_hosts_files_its_own(capsule, bundle, source, word):
    box = bundle().user_namespace(HOST, 1000).bind(source, "/data", "rbind", word)
    box.shell("stat -c %u:%g /data/root /data/seven; echo new > /data/made")
    assert capsule.run(box).out.split() == ["0:0", "7:8"]
    assert (source / "made").stat().st_uid == 0


def test_the_map_of_a_joined_user_namespace(capsule, bundle, source):
    first = bundle(["/payload", "pause"]).user_namespace(HOST, 1000)
    pid = capsule.start_container(first)
    second = bundle().own_rootfs(HOST).namespace("user", f"/proc/{pid}/ns/user").bind(source, "/data", "bind", "idmap")
    assert owners(capsule, second, "root", "seven") == [(0, 0), (7, 8)]


def test_a_mapped_source_only_host_root_may_reach(capsule, bundle, source):
    source.parent.joinpath("private").mkdir(mode=0o700)
    hidden = source.rename(source.parent / "private/source")
    box = bundle().user_namespace(HOST, 1000).bind(hidden, "/data", "bind", "idmap")
    assert owners(capsule, box, "root") == [(0, 0)]


@pytest.fixture
def tree(source):
    """Give a source with a tmpfs mounted in it, which holds a file of root."""
    (source / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "below"], check=True)
    (source / "below/file").touch()
    yield source
    subprocess.run(["umount", source / "below"], check=True)


@pytest.mark.parametrize(("word", "below"), [("idmap", 0), ("ridmap", HOST)])
def test_ridmap_alone_reaches_the_mounts_below(capsule, bundle, tree, word, below):
    box = entry(bundle(), destination="/data", type="bind", source=str(tree), options=["rbind", word],
                **maps((0, HOST, 1000)))
    assert owners(capsule, box, "root", "below/file") == [(HOST, HOST), (below, below)]


def test_a_new_file_system_may_be_mapped(capsule, bundle):
    box = entry(bundle(), destination="/data", type="tmpfs", source="tmpfs", options=["idmap", "mode=755", "nosuid"],
                **maps((0, HOST, 1000)))
    assert owners(capsule, box, ".") == [(HOST, HOST)]


def test_flags_of_a_mapped_mount_are_set_as_well(capsule, bundle, source):
    box = entry(bundle(), destination="/data", type="bind", source=str(source), options=["bind", "idmap", "ro"],
                **maps((0, HOST, 1000)))
    (tried,) = capsule.attempts(box, "create", "/data/new")
    assert tried["errno"] == 30  # EROFS


BOTH = maps((0, HOST, 1000))
ONE = {"uidMappings": BOTH["uidMappings"]}
OTHER = {"gidMappings": BOTH["gidMappings"]}
REFUSED = {
    "uids alone": ({"type": "bind", "options": ["bind"], **ONE}, "gidMappings: is required beside uidMappings"),
    "gids alone": ({"type": "bind", "options": ["bind", "idmap"], **OTHER},
                   "uidMappings: is required beside gidMappings"),
    "no map": ({"type": "bind", "options": ["bind", "idmap"]},
               "idmap needs uidMappings and gidMappings, of this mount or of a user namespace"),
    "no map, tree": ({"type": "bind", "options": ["rbind", "ro", "ridmap"]},
                     "options[2]: ridmap needs uidMappings and gidMappings"),
    "empty maps": ({"type": "bind", "options": ["bind", "idmap"], **maps()},
                   "idmap needs uidMappings and gidMappings"),
    "overlap": ({"type": "bind", "options": ["bind", "idmap"], **maps((0, 1, 5), (4, 100, 5))},
                "container id 4 is in two ranges"),
    "many": ({"type": "bind", "options": ["bind"], **maps(*[(n, n, 1) for n in range(341)])},
             "expected at most 340 ranges, got 341"),
    "remount": ({"options": ["remount", "ro"], **BOTH}, "the ids of a mount that is there already cannot be mapped"),
    "cgroup": ({"type": "cgroup", "options": ["ro"], **BOTH}, "the ids of a cgroup mount cannot be mapped"),
    "copy up": ({"type": "tmpfs", "options": ["tmpcopyup"], **BOTH}, "does not go with mapped ids"),
}


@pytest.mark.row(37)
@pytest.mark.parametrize(("fields", "words"), REFUSED.values(), ids=REFUSED)
def test_a_map_that_cannot_be_is_refused(capsule, bundle, source, fields, words):
    box = entry(bundle(), destination="/data", source=str(source), **fields)
    assert words in capsule.run(box, rc=1).err
    assert not capsule.exists(box)


def test_a_file_system_without_mapped_mounts_is_named(capsule, bundle):
    box = entry(bundle(), destination="/data", type="bind", source="/proc/sys", options=["bind", "idmap"], **BOTH)
    err = capsule.run(box, rc=1).err
    assert "map the ids of mount source /proc/sys: its file system has no id-mapped mounts" in err
    assert not capsule.exists(box)


def test_a_new_file_system_of_a_user_namespace_is_not_mapped(capsule, bundle):
    box = bundle().user_namespace(HOST, 1000).mount("/data", "tmpfs", "tmpfs", "idmap")
    assert "the ids of a new file system of a user namespace are not mapped" in capsule.run(box, rc=1).err
