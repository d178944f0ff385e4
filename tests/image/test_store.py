"""The store through its commands: what comes in, what is refused, what stays, what a crash leaves."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule.errors import ImageError, Unsupported
from capsule.image.adopt import Builder, adopt
from capsule.image.check import check
from capsule.image.importing import from_tar
from capsule.image.store import Store

from .conftest import Cli
from .tars import Layout, member, rootfs, tar

pytestmark = requires("root")


def rows(cli: Cli) -> list[dict]:
    return json.loads(cli("image", "list", "--format", "json"))


def state(store: Store) -> dict:
    """Say what a store holds, by name and content, without times."""
    root = Path(store.root)
    if not root.exists():
        return {}
    parts = ("blobs/sha256", "images", "layers", "holds", "staging")
    return {part: sorted(os.listdir(root / part)) for part in parts} | {
        "index": json.loads((root / "index.json").read_text())["manifests"] if (root / "index.json").exists() else []}


def test_create_list_get_delete(cli: Cli) -> None:
    cli("image", "create", "web", "-", data=rootfs(**{"etc/hello": "world"}))
    table = cli("image", "list").splitlines()
    assert table[0].split() == ["ID", "LAYER_ID", "CREATED", "SIZE", "NAME"]
    assert table[1].split()[-1] == "web:latest"
    (image,) = json.loads(cli("image", "get", "web"))
    assert Path(image["directories"][0], "etc/hello").read_text() == "world"
    assert oct(os.stat(image["directories"][0]).st_mode) == oct(0o40755)
    assert f"deleted {image['id']}" in cli("image", "delete", "web")
    assert {key: value for key, value in state(Store(str(cli.storage))).items() if value} == {}


def test_import_changes_the_configuration(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "root.tar.gz"
    path.write_bytes(gzip.compress(rootfs()))
    cli("image", "import", "-c", 'ENTRYPOINT ["/app", "x"]', "-c", "ENV A=1 B='2 3'", "-c", "EXPOSE 80 53/udp",
        "-c", "WORKDIR /srv",
        "-c", "WORKDIR sub", "-c", "USER 7", "-c", "VOLUME /data", "-c", "LABEL k=v", "-c", "CMD run me",
        "-c", "STOPSIGNAL SIGINT", "-m", "why", str(path), "app:1")
    config = json.loads(cli("image", "inspect", "app:1"))[0]["config"]
    assert config["config"] == {
        "Entrypoint": ["/app", "x"], "Cmd": ["/bin/sh", "-c", "run me"], "Env": ["A=1", "B=2 3"], "User": "7",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "WorkingDir": "/srv/sub", "Volumes": {"/data": {}},
        "Labels": {"k": "v"}, "StopSignal": "SIGINT"}
    assert "why" in cli("image", "history", "app:1")


@pytest.mark.parametrize("words", [
    ["create", "Bad", "-"], ["create", "a:b:c", "-"], ["create", "../x", "-"], ["create", "a@sha256:12", "-"],
    ["create", "host", "-"], ["import", "-c", "RUN x", "-", "a"], ["import", "-c", "EXPOSE 99999", "-", "a"],
    ["import", "-c", "ENV", "-", "a"], ["get", "nothing"], ["delete", "nothing"], ["tag", "nothing", "x"],
    ["load", "-i", "/nothing"], ["list", "--format", "xml"], ["save", "nothing"], ["history", "nothing"],
])
def test_bad_words_change_nothing(cli: Cli, store: Store, words: list[str]) -> None:
    cli("image", *words, rc=1, data=rootfs())
    assert {key: value for key, value in state(store).items() if value} == {}


def test_layers_are_shared_and_counted(cli: Cli, store: Store, tmp_path: Path) -> None:
    base, top = rootfs(), tar(member("new", data=b"n"), member("etc/.wh.hostname"))
    one, two = Layout(tmp_path / "one"), Layout(tmp_path / "two")
    one.image(base, ref="base:1")
    two.image(base, top, ref="full:1")
    for layout in (one, two):
        cli("image", "load", data=layout.archive())
    assert len(os.listdir(cli.storage / "layers")) == 2
    full = store.find("full:1")
    assert full.layers[0] == store.find("base:1").layers[0]
    cli("image", "delete", "base:1")
    assert Path(full.layers[0], "etc/hostname").read_text() == "box\n"
    cli("image", "delete", "full:1")
    assert os.listdir(cli.storage / "layers") == os.listdir(cli.storage / "blobs/sha256") == []


def test_references(cli: Cli, store: Store) -> None:
    cli("image", "create", "a", "-", data=rootfs())
    id = rows(cli)[0]["id"]
    cli("image", "tag", "a", "docker.io/library/b:2")
    refs = ("a", "a:latest", id, id[7:], id[7:17], "b:2", rows(cli)[0]["digest"])
    assert {store.find(ref).id for ref in refs} == {id}
    cli("image", "delete", id, rc=1)
    assert "several names" in cli.err
    cli("image", "delete", "a")
    assert [row["name"] for row in rows(cli)] == ["docker.io/library/b:2"]
    cli("image", "create", "b:2", "-", data=rootfs(x="y"))
    assert len(rows(cli)) == 2
    assert store.find("b:2").id != id  # the nearest spelling counts


def test_a_name_that_moves_leaves_the_old_image_without_one(cli: Cli, store: Store) -> None:
    cli("image", "create", "a", "-", data=rootfs())
    old = store.find("a").id
    cli("image", "create", "a", "-", data=rootfs(x="y"))
    assert {(row["id"] == old, row["name"]) for row in rows(cli)} == {(True, ""), (False, "a:latest")}
    assert old in cli("image", "prune")
    assert len(rows(cli)) == len(os.listdir(cli.storage / "layers")) == 1


def test_what_is_held_stays(cli: Cli, store: Store) -> None:
    cli("image", "create", "a", "-", data=rootfs())
    image = store.find("a")
    store.hold(image.id, "box")
    store.hold(image.id, "box")
    cli("image", "delete", "a", rc=1)
    assert "in use by box" in cli.err
    cli("image", "delete", "-f", "a")
    cli("image", "prune", "-a")
    assert Path(image.layers[0], "etc/hostname").exists() and store.find(image.id).names == []
    store.release(image.id, "box")
    store.release(image.id, "box")
    cli("image", "prune")
    assert not Path(image.layers[0]).exists()
    with pytest.raises(ImageError):
        store.hold(image.id, "box")


def refused(cli: Cli, store: Store, layout: Layout) -> str:
    """Load what must be refused; nothing of it may be visible."""
    cli("image", "load", rc=1, data=layout.archive())
    assert [value for key, value in state(store).items() if key in ("images", "staging", "index") and value] == []
    assert os.listdir(cli.storage / "layers") == os.listdir(cli.storage / "blobs/sha256") == []
    return cli.err


INDEX = "application/vnd.oci.image.index.v1+json"
SPOILED = {
    "ambiguous manifest": ({"manifest": {"manifests": []}}, "ambiguous"),
    "media type of an index": ({"manifest": {"mediaType": INDEX}}, "media type"),
    "schema 1": ({"manifest": {"schemaVersion": 1}}, "schemaVersion"),
    "digest as a path": ({"manifest": {"config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                                  "digest": "sha256:../../../etc/passwd", "size": 1}}}, "digest"),
    "digest in upper case": ({"manifest": {"config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                                      "digest": "sha256:" + "A" * 64, "size": 1}}}, "digest"),
    "sha512": ({"manifest": {"config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                        "digest": "sha512:" + "a" * 128, "size": 1}}}, "digest"),
    "config that is huge": ({"manifest": {"config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                                     "digest": "sha256:" + "a" * 64, "size": 1 << 30}}}, "larger"),
    "too many layers": ({"manifest": {"layers": [{}] * 1001}}, "more than 1000"),
    "wrong diff id": ({"diff_ids": ["sha256:" + "1" * 64]}, "unpacked it is"),
    "too few diff ids": ({"diff_ids": ["sha256:" + "1" * 64] * 2}, "2 diff_ids for 1 layers"),
    "variables that are a text": ({"config": {"config": {"Env": "PATH=/"}}}, "config.Env"),
    "a command of numbers": ({"config": {"config": {"Cmd": [1]}}}, "config.Cmd"),
    "labels that are a list": ({"config": {"config": {"Labels": ["a"]}}}, "config.Labels"),
    "a user that is a number": ({"config": {"config": {"User": 0}}}, "config.User"),
    "another system": ({"config": {"os": "windows"}}, "not for linux"),
    "foreign layer": ({"manifest": {"layers": [{"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
                                                "digest": "sha256:" + "a" * 64, "size": 1}]}}, "elsewhere"),
}


@pytest.mark.parametrize(("spoil", "word"), SPOILED.values(), ids=SPOILED)
def test_documents_that_lie_are_refused(cli: Cli, store: Store, tmp_path: Path, spoil: dict, word: str) -> None:
    layout = Layout(tmp_path / "img")
    layout.image(rootfs(), **spoil)
    assert word in refused(cli, store, layout)


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("how", ["content", "longer", "shorter", "gone", "link", "fifo"])
def test_blobs_that_lie_are_refused(cli: Cli, store: Store, tmp_path: Path, which: str, how: str) -> None:
    layout = Layout(tmp_path / "img")
    document = layout.image(rootfs())
    entry = json.loads((layout.path / "index.json").read_text())["manifests"][0]
    descriptor = {"manifest": entry, "config": document["config"], "layer": document["layers"][0]}[which]
    path = layout.path / "blobs/sha256" / descriptor["digest"][7:]
    data = path.read_bytes()
    path.unlink()
    if how == "link":
        path.symlink_to("/etc/passwd")
    elif how == "fifo":
        os.mkfifo(path)
    elif how != "gone":
        changed = {"content": data[:-1] + bytes([data[-1] ^ 1]), "longer": data + b" ", "shorter": data[:-1]}
        path.write_bytes(changed[how])
    refused(cli, store, layout)


@pytest.mark.parametrize("how", ["content", "gone"])
def test_a_layer_that_is_here_is_not_taken_from_an_archive(cli: Cli, store: Store, tmp_path: Path, how: str) -> None:
    layout = Layout(tmp_path / "img")
    document = layout.image(rootfs())
    cli("image", "load", data=layout.archive())
    digest = document["layers"][0]["digest"][7:]
    if how == "gone":
        (layout.path / "blobs/sha256" / digest).unlink()
    else:
        (layout.path / "blobs/sha256" / digest).write_bytes(b"another")
    cli("image", "load", data=layout.archive())
    assert hashlib.sha256((cli.storage / "blobs/sha256" / digest).read_bytes()).hexdigest() == digest


def test_indexes_without_end_are_refused(cli: Cli, store: Store, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "img")
    layout.image(rootfs())
    entry = json.loads((layout.path / "index.json").read_text())["manifests"][0]
    for _ in range(5):
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        entry = {"mediaType": INDEX, **layout.blob(json.dumps(body).encode())}
    layout.index([entry])
    assert "indexes within each other" in refused(cli, store, layout)
    layout.index([entry], layers=[])
    assert "ambiguous" in refused(cli, store, layout)


def test_a_hostile_layer_leaves_nothing(cli: Cli, store: Store, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "img")
    layout.image(rootfs(), tar(member("l", b"2", link="/tmp"), member("l/x", data=b"x")))
    assert "leads out of the layer" in refused(cli, store, layout)


def test_an_archive_whose_own_links_lead_out_is_refused(cli: Cli, store: Store) -> None:
    cli("image", "load", rc=1, data=tar(member("blobs", b"2", link="/etc"), member("blobs/x", data=b"x")))
    cli("image", "load", rc=1, data=tar(member("manifest.json", b"2", link="/etc/passwd")))
    cli("image", "load", rc=1, data=tar(member("manifest.json", data=b"[{}]")))
    manifest = json.dumps([{"Config": "c.json", "Layers": ["../../../../etc/passwd"], "RepoTags": ["a:1"]}]).encode()
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}}).encode()
    cli("image", "load", rc=1, data=tar(member("manifest.json", data=manifest), member("c.json", data=config)))
    assert state(store)["index"] == state(store)["staging"] == []


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_what_is_saved_is_loaded(cli: Cli, store: Store, tmp_path: Path, form: str) -> None:
    layout = Layout(tmp_path / "img")
    layout.image(rootfs(), tar(member("top", data=b"t")), ref="reg.example/a/b:7")
    cli("image", "load", data=layout.archive())
    cli("image", "tag", "reg.example/a/b:7", "short")
    before = store.find("short")
    cli("image", "save", "--format", form, "-o", tmp_path / "out.tar", before.id)
    cli("image", "save", "--format", form, "-o", tmp_path / "one.tar", "short", "short:latest")
    cli("image", "delete", "-f", before.id)
    loaded = cli("image", "load", "-i", tmp_path / "one.tar")
    assert loaded.splitlines() == [f"short:latest {before.id}"]  # what was not said was not saved
    cli("image", "load", "-i", tmp_path / "out.tar")
    after = store.find("short")
    assert (after.id, sorted(after.names)) == (before.id, ["reg.example/a/b:7", "short:latest"])
    if form == "oci-archive":
        assert after.manifest == before.manifest
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert all(entry.isfile() for entry in archive)


def ready(store: Store, name: str = "kept") -> str:
    return from_tar(store, io.BytesIO(rootfs(keep=name)), name).id


def test_killed_at_any_moment_the_store_is_whole(cli: Cli, store: Store, memory: Path) -> None:
    """Load, replace and delete, killed after ever longer; what was there before stays, and `check --fix` agrees."""
    kept = ready(store)
    archive = memory / "in.tar"
    layout = Layout(memory / "img")
    layout.image(rootfs(), tar(*(member(f"f{number}", data=b"x" * 3000) for number in range(600))))
    archive.write_bytes(layout.archive())
    started = time.monotonic()
    subprocess.run(cli.argv("image", "load", "-i", str(archive)), env=cli.env, check=True, capture_output=True)
    whole = time.monotonic() - started
    for step in range(12):
        words = ("image", "load", "-i", str(archive)) if step % 3 else ("image", "delete", "-f", "img:1")
        process = subprocess.Popen(cli.argv(*words), env=cli.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(whole * (0.3 + 0.06 * step))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert all(finding.subject.startswith("staging") for finding in check(store, fix=False, deep=True))
        assert store.find("kept").id == kept
    cli("system", "check", "--fix")
    assert check(store, fix=False, deep=True) == [] and os.listdir(cli.storage / "staging") == []
    named = {digest for image in store.images() for digest in (image.id, image.manifest)}
    assert named <= {f"sha256:{name}" for name in os.listdir(cli.storage / "blobs/sha256")}


DAMAGE = {
    "layer gone": lambda root, image: subprocess.run(["rm", "-rf", image.layers[0]], check=True),
    "layer without its record": lambda root, image: (Path(image.layers[0]).parent / "layer.json").unlink(),
    "record gone": lambda root, image: (root / "images" / f"{image.id[7:]}.json").unlink(),
    "record cut": lambda root, image: (root / "images" / f"{image.id[7:]}.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_derived_is_made_again(cli: Cli, store: Store, damage) -> None:
    ready(store)
    damage(Path(store.root), store.find("kept"))
    assert "fault" in cli("system", "check", rc=1)
    assert "made again" in cli("system", "check", "--fix")
    assert cli("system", "check", "--deep") == ""
    assert Path(store.find("kept").layers[0], "keep").read_text() == "kept"


def test_an_image_whose_blob_is_spoiled_is_given_up_alone(cli: Cli, store: Store) -> None:
    ready(store)
    ready(store, "other")
    blob = cli.storage / "blobs/sha256" / store.find("other").record["layers"][0]["digest"][7:]
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert cli("system", "check") == ""
    cli("system", "check", "--deep", rc=1)
    cli("system", "check", "--deep", "--fix")
    assert [image.names for image in store.images()] == [["kept:latest"]]


def test_an_index_that_is_damaged_is_built_again(cli: Cli, store: Store) -> None:
    id = ready(store)
    (cli.storage / "index.json").write_text('{"manifests": [{')
    cli("image", "list", rc=1)
    assert "system check" in cli.err
    cli("system", "check", "--fix")
    assert store.find(id).id == id


def test_many_at_once(cli: Cli, store: Store) -> None:
    """Loads of one image, and removals of another, all at the same time: each ends well, and the store is whole."""
    ready(store, "b")
    data = rootfs(big="x" * 200_000)
    jobs = [subprocess.Popen(cli.argv("image", "create", f"a:{number % 2}", "-"), env=cli.env, stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for number in range(5)]
    jobs += [subprocess.Popen(cli.argv("image", "delete", "-f", "b"), env=cli.env, stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)]
    for job in jobs:
        _, err = job.communicate(data)
        assert job.returncode == 0, err
    assert check(store, fix=False, deep=True) == []
    assert {row["name"] for row in rows(cli)} - {""} == {"a:0", "a:1"}


def test_a_full_disk_leaves_the_store_as_it_was(cli: Cli, memory: Path) -> None:
    archive = memory / "in.tar"
    archive.write_bytes(tar(member("big", data=os.urandom(6 << 20))))
    small = memory / "small"
    small.mkdir()
    script = ('mount -t tmpfs -o size=3m none "$0" && "$@" image create big "$IN"; echo "rc $?"; "$@" image ls -q; '
              '"$@" system check; find "$0/run/.storage" -type f')
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, str(small), *Cli(small / "run").argv()[:3], "--root",
                           str(small / "run")], env={**cli.env, "IN": str(archive)}, capture_output=True, text=True)
    assert "no space left on device" in done.stderr and len(done.stderr.strip().splitlines()) == 2
    assert sorted(line.rpartition("/")[2] for line in done.stdout.splitlines()) == ["lock", "oci-layout", "rc 1"]


@requires("userns")
def test_in_a_user_namespace_overlays_own_attributes_are_the_users(cli: Cli, memory: Path) -> None:
    """There a device cannot be made: it is left out, with a word."""
    archive = memory / "in.tar"
    archive.write_bytes(tar(member("d/", b"5"), member("d/.wh..wh..opq"), member("d/f", data=b"x"), member(".wh.gone"),
                            member("null", b"3", major=1, minor=3)))
    os.chmod(memory, 0o711)
    script = '"$@" image create a "$0" && "$@" image get a && "$@" image delete a >/dev/null'
    done = subprocess.run(["unshare", "--user", "--map-root-user", "sh", "-c", script, str(archive), *cli.argv()],
                          env=cli.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 device nodes were left out" in done.stderr


def test_an_ordinary_user_is_told_what_it_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unsupported, match="need a user namespace"):
        store.stage()
    assert not Path(store.root).exists()


def test_what_is_removed_before_publishing_is_made_again(cli: Cli, store: Store, tmp_path: Path) -> None:
    """An image that is to share a layer, whose only other owner goes in the meantime."""
    layout = Layout(tmp_path / "img")
    layout.image(rootfs(), ref="first:1")
    cli("image", "load", data=layout.archive())
    (entry,) = json.loads((layout.path / "index.json").read_text())["manifests"]
    tries = []

    def open_blob(digest: str):
        return open(layout.path / "blobs/sha256" / digest[7:], "rb")

    with store.stage() as staging:
        def make():
            made = adopt(Builder(store.root, staging), open_blob, entry)
            for digest in made.blobs():
                shutil.copy(layout.path / "blobs/sha256" / digest[7:], staging.blob_path(digest))
            if not tries:
                store.remove("first:1")
            tries.append(made)
            return made

        store.bring(staging, make, "second:1")
    assert len(tries) == 2 and check(store, fix=False, deep=True) == []
    assert store.find("second:1").names == ["second:1"]
