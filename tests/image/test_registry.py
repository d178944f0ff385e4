"""Debian's docker-registry on the loopback of a network namespace of its own, with and without authentication; images
that umoci and buildah made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

from capsule.image.check import check
from capsule.image.store import Store

from .conftest import Cli
from .tars import Layout, member, rootfs, tar

pytestmark = requires("root", "registry", "skopeo", "ip")

HOST = "127.0.0.1:5000"
PLAIN = "--tls-verify=false"


class Registry:
    """A registry that runs; `inside` runs a command where it can be reached."""

    def __init__(self, directory: Path, auth: str) -> None:
        (directory / "data").mkdir(parents=True)
        config = {"version": 0.1, "http": {"addr": HOST}, "log": {"level": "error"},
                  "storage": {"filesystem": {"rootdirectory": str(directory / "data")}}}
        if auth:
            config["auth"] = {"htpasswd": {"realm": "test", "path": auth}}
        (directory / "config.yml").write_text(json.dumps(config))
        script = 'ip link set lo up && exec docker-registry serve "$0"'
        self.data = directory / "data"
        self.process = subprocess.Popen(["unshare", "-n", "sh", "-c", script, str(directory / "config.yml")],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        knock = f"import socket; socket.create_connection(('127.0.0.1', {HOST.rpartition(':')[2]})).close()"
        wait_until(lambda: self.inside(["python3", "-c", knock]).returncode == 0, 30)

    def inside(self, words: list[str], **more) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["nsenter", "-t", str(self.process.pid), "-n", *words], capture_output=True, **more)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


@pytest.fixture
def start(memory: Path) -> Iterator[Callable[..., Registry]]:
    running: list[Registry] = []

    def begin(auth: str = "") -> Registry:
        running.append(Registry(memory / f"registry{len(running)}", auth))
        return running[-1]

    yield begin
    for registry in running:
        registry.stop()


def call(registry: Registry, cli: Cli, *words: str, rc: int = 0, data: bytes = b"") -> str:
    done = registry.inside(cli.argv(*words), input=data, env=cli.env)
    assert done.returncode == rc, (words, done.stdout, done.stderr)
    cli.err = done.stderr.decode()
    return done.stdout.decode()


def fill(cli: Cli, memory: Path, name: str = "img:1") -> None:
    layout = Layout(memory / "img")
    layout.image(rootfs(), tar(member("top", data=os.urandom(100_000)), member("etc/.wh.hostname")), ref=name)
    cli("image", "load", data=layout.archive())


def test_what_is_pushed_is_pulled(start, cli: Cli, memory: Path) -> None:
    registry, other = start(), Cli(memory / "other")
    fill(cli, memory)
    pushed = call(registry, cli, "image", "push", PLAIN, "img:1", f"{HOST}/lib/img:2").strip()
    id = call(registry, other, "image", "pull", PLAIN, f"{HOST}/lib/img:2").strip()
    mine, its = Store(str(cli.storage)).find("img:1"), Store(str(other.storage)).find(f"{HOST}/lib/img:2")
    assert (its.id, its.manifest, its.config) == (mine.id, mine.manifest, mine.config) and id == mine.id
    assert pushed == mine.manifest
    assert check(Store(str(other.storage)), fix=False, deep=True) == []
    # By digest, and where nothing is new.
    call(registry, other, "image", "pull", PLAIN, f"{HOST}/lib/img@{pushed}")
    assert Store(str(other.storage)).find(f"{HOST}/lib/img@{pushed}").id == id


def test_a_digest_that_the_registry_does_not_keep_is_refused(start, cli: Cli, memory: Path) -> None:
    registry, other = start(), Cli(memory / "other")
    fill(cli, memory)
    digest = call(registry, cli, "image", "push", PLAIN, "img:1", f"{HOST}/img:1").strip()
    path = registry.data / "docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"
    path.write_bytes(path.read_bytes().replace(b'"schemaVersion":', b'"schemaVersion": '))
    call(registry, other, "image", "pull", PLAIN, f"{HOST}/img@{digest}", rc=1)
    assert json.loads(other("image", "list", "--format", "json")) == []


def test_a_layer_that_was_changed_in_the_registry_is_refused(start, cli: Cli, memory: Path) -> None:
    registry, other = start(), Cli(memory / "other")
    fill(cli, memory)
    call(registry, cli, "image", "push", PLAIN, "img:1", f"{HOST}/img:1")
    layer = Store(str(cli.storage)).find("img:1").record["layers"][1]["digest"]
    path = registry.data / "docker/registry/v2/blobs/sha256" / layer[7:9] / layer[7:] / "data"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    call(registry, other, "image", "pull", PLAIN, f"{HOST}/img:1", rc=1)
    assert json.loads(other("image", "list", "--format", "json")) == []
    # What came whole is kept for the next try.
    (staging,) = (other.storage / "staging").iterdir()
    assert len(list((staging / "blobs/sha256").iterdir())) >= 1
    path.write_bytes(good)
    call(registry, other, "image", "pull", PLAIN, f"{HOST}/img:1")
    assert list((other.storage / "staging").iterdir()) == []


def test_a_registry_that_asks_who_we_are(start, cli: Cli, memory: Path) -> None:
    users = memory / "users"
    subprocess.run(["htpasswd", "-Bbc", users, "me", "secret"], check=True, capture_output=True)
    registry = start(str(users))
    authfile = f"--authfile={memory}/auth.json"
    fill(cli, memory)
    push = ("image", "push", PLAIN, "-q")
    call(registry, cli, *push, "img:1", f"{HOST}/img:1", rc=1)
    call(registry, cli, *push, "--creds", "me:wrong", "img:1", f"{HOST}/img:1", rc=1)
    call(registry, cli, *push, "--creds", "me:secret", "img:1", f"{HOST}/img:1")
    call(registry, cli, "image", "login", PLAIN, authfile, "-u", "me", "--password-stdin", HOST, data=b"wrong", rc=1)
    call(registry, cli, "image", "login", PLAIN, authfile, "-u", "me", "--password-stdin", HOST, data=b"secret")
    call(registry, cli, "image", "pull", PLAIN, authfile, f"{HOST}/img:1")
    call(registry, cli, "image", "logout", authfile, HOST)
    call(registry, cli, "image", "pull", PLAIN, authfile, f"{HOST}/img:1", rc=1)


def test_what_skopeo_says_is_told_as_our_own_and_no_password_in_its_words(cli: Cli, memory: Path) -> None:
    stand_in = memory / "bin" / "skopeo"
    stand_in.parent.mkdir()
    stand_in.write_text(f"""#!/bin/sh
echo "$@" >> {memory}/words
for word; do case $word in --authfile=*) cat "${{word#--authfile=}}" >> {memory}/auth;; esac; done
echo 'time="2026-01-01T00:00:00Z" level=fatal msg="he said \\"no\\""' >&2
exit 1
""")
    stand_in.chmod(0o755)
    cli.env["PATH"] = f"{stand_in.parent}:{cli.env['PATH']}"
    for words in (("pull", "--creds", "me:secret", "localhost:1/img"), ("login", "localhost:1")):
        cli("image", *words, rc=1)
        assert cli.err.count("\n") == 1 and "level=fatal" not in cli.err and 'he said' in cli.err
    assert "secret" not in (memory / "words").read_text()
    assert json.loads((memory / "auth").read_text()) == {"auths": {"localhost:1": {"auth": "bWU6c2VjcmV0"}}}


def test_the_platform_is_chosen_from_an_index(start, cli: Cli, memory: Path) -> None:
    registry, other = start(), Cli(memory / "other")
    layout = Layout(memory / "multi")
    entries = []
    for arch in ("arm64", "amd64"):
        layout.image(rootfs(**{f"etc/{arch}": arch}), config={"architecture": arch})
        (entry,) = json.loads((layout.path / "index.json").read_text())["manifests"]
        entries.append({key: entry[key] for key in ("mediaType", "digest", "size")} | {
            "platform": {"os": "linux", "architecture": arch}})
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    layout.index([{"mediaType": index["mediaType"], **layout.blob(json.dumps(index).encode())}])
    done = registry.inside(["skopeo", "copy", "--insecure-policy", "--all", "--dest-tls-verify=false",
                            f"oci:{layout.path}", f"docker://{HOST}/multi:1"])
    assert done.returncode == 0, done.stderr
    for platform, arch in (("linux/arm64", "arm64"), ("linux/amd64", "amd64")):
        call(registry, other, "image", "pull", PLAIN, "--platform", platform, f"{HOST}/multi:1")
        assert Store(str(other.storage)).find(f"{HOST}/multi:1").config["architecture"] == arch
    call(registry, other, "image", "pull", PLAIN, "--platform", "linux/s390x", f"{HOST}/multi:1", rc=1)
    assert "nothing in it is for linux/s390x" in other.err


@requires("umoci")
def test_an_image_of_umoci_unpacks_as_umoci_unpacks_it(cli: Cli, store: Store, memory: Path) -> None:
    def umoci(*words: object) -> None:
        subprocess.run(["umoci", *map(str, words)], check=True, capture_output=True)

    layout, bundle = memory / "u", memory / "bundle"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:one")
    umoci("unpack", "--image", f"{layout}:one", bundle)
    root = bundle / "rootfs"
    (root / "etc").mkdir()
    (root / "etc/a").write_text("a")
    (root / "gone").write_text("g")
    os.link(root / "etc/a", root / "etc/b")
    umoci("repack", "--refresh-bundle", "--image", f"{layout}:one", bundle)
    (root / "gone").unlink()
    (root / "etc/c").symlink_to("a")
    umoci("repack", "--image", f"{layout}:two", bundle)
    subprocess.run(["tar", "-C", layout, "-cf", memory / "u.tar", "."], check=True)
    cli("image", "load", "-i", memory / "u.tar")
    lower = ":".join(reversed(store.find("two").layers))
    done = subprocess.run(["unshare", "-m", "sh", "-c", f"mount -t overlay none -o lowerdir={lower} /mnt && diff -r "
                           f"--no-dereference /mnt {root} && stat -c %h /mnt/etc/a"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr + done.stdout


@requires("buildah")
def test_an_image_of_buildah(cli: Cli, store: Store, memory: Path) -> None:
    """Built without a base and without running anything; its configuration is what buildah was told."""
    state = ["--root", str(memory / "b"), "--runroot", str(memory / "br"), "--storage-driver", "vfs"]

    def buildah(*words: str) -> str:
        return subprocess.run(["buildah", *state, *words], check=True, capture_output=True, text=True).stdout.strip()

    (memory / "file").write_text("from buildah")
    box = buildah("from", "scratch")
    buildah("copy", box, str(memory / "file"), "/srv/file")
    buildah("config", "--entrypoint", '["/app"]', "--env", "A=b", "--port", "80", box)
    buildah("commit", "--rm", box, f"oci-archive:{memory}/b.tar:built:1")
    cli("image", "load", "-i", memory / "b.tar")
    image = store.find("built:1")
    assert Path(image.layers[-1], "srv/file").read_text() == "from buildah"
    assert image.config["config"]["Entrypoint"] == ["/app"] and "A=b" in image.config["config"]["Env"]
