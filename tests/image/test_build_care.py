"""Builds whose context changes meanwhile, that are killed, whose disk is full; health checks and triggers."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from helpers import killed
from helpers.requires import requires

from capsule.bundle import build_copy
from capsule.image.check import check
from capsule.image.store import Store

from .builds import Kit
from .conftest import Cli

pytestmark = requires("root")
POINTS = ["engine-step-made", "engine-step-packed", "engine-step-kept"]


def _tar(text: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("f")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.mark.parametrize(("instruction", "path"), [
    ("COPY f /x/", "x/f"), ("COPY dir /x", "x/f"), ("ADD t.tar /x/", "x/f"), ("COPY link /x/", "x/link")])
def test_a_layer_is_kept_as_what_was_copied(instruction, path, kit: Kit, store: Store, monkeypatch) -> None:
    """The context changes when we have looked at it and before it is copied."""

    def write(text: str) -> None:
        kit.write(f=text, dir__f=text)
        (kit.context / "t.tar").write_bytes(_tar(text))
        (kit.context / "link").unlink(missing_ok=True)
        (kit.context / "link").symlink_to("f")

    copy = build_copy.copy
    monkeypatch.setattr(build_copy, "copy", lambda *args, **how: (write("new"), copy(*args, **how))[1])
    write("old")
    text = f"FROM base\n{instruction}\n"
    made = kit.build(text)
    assert kit.files(store, made)[path].read_text() == "new"
    monkeypatch.undo()
    assert kit.build(text) == made and "as before" in kit.told  # it is known as what it was made of
    write("old")
    assert kit.files(store, kit.build(text))[path].read_text() == "old"


@pytest.mark.parametrize("text", ["COPY f /x", "COPY dir /x/", "ADD t.tar /x/"])
def test_attributes_count_as_contents_do(text, kit: Kit, store: Store) -> None:
    kit.write(f="f", dir__f="f")
    (kit.context / "t.tar").write_bytes(_tar("f"))
    path = kit.context / text.split()[1] / ("f" if "dir" in text else "")
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))  # net_raw=ep
    first = kit.build(f"FROM base\n{text}\n")
    assert kit.build(f"FROM base\n{text}\n") == first and "as before" in kit.told
    os.removexattr(path, "security.capability")
    made = kit.build(f"FROM base\n{text}\n")
    assert "as before" not in kit.told
    copied = kit.files(store, made)["x" if text.startswith("COPY f") else "x/f"]
    assert "security.capability" not in os.listxattr(copied)


def test_a_hostile_ignore_file_is_read_in_time_and_told(kit: Kit, store: Store) -> None:
    kit.write(**{"a" * 200: "x", "f": "f"})
    (kit.context / ".dockerignore").write_text("*a" * 60 + "b\n")
    assert "f" in kit.files(store, kit.build("FROM base\nCOPY . /\n"))
    (kit.context / ".dockerignore").write_text("ok\n[z-a]\n")
    kit.cli("image", "build", kit.context, rc=1)
    assert kit.cli.err.count("\n") == 1 and "line 2" in kit.cli.err and "z-a runs backwards" in kit.cli.err


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_what_nobody_writes_to_is_not_waited_for(name, kit: Kit) -> None:
    (kit.context / "Dockerfile").write_text("FROM base\n")
    (kit.context / name).unlink(missing_ok=True)
    os.mkfifo(kit.context / name)
    kit.cli("image", "build", kit.context, rc=1, timeout=60)
    assert kit.cli.err.count("\n") == 1 and f"{name}: not a regular file" in kit.cli.err, kit.cli.err


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_a_link_of_the_context_shows_no_file_of_this_machine(name, kit: Kit, store: Store, memory: Path) -> None:
    (memory / "secret").write_text("[z-secret\n")
    kit.write(f="f", deep__Dockerfile="FROM base\nCOPY * /x/\n", deep__ignore="f\n")
    (kit.context / "Dockerfile").symlink_to("/deep/Dockerfile")  # links of a context begin at its own root
    (kit.context / ".dockerignore").symlink_to("deep/ignore")
    kit.cli("image", "build", "-t", "app", kit.context)
    assert "x/f" not in kit.files(store, "app")
    for target in (f"{memory}/secret", "../secret", "nothing"):
        (kit.context / name).unlink()
        (kit.context / name).symlink_to(target)
        kit.cli("image", "build", kit.context, rc=1)
        assert f"{name}: a link that leads out of the context" in kit.cli.err and "z-secret" not in kit.cli.err


def test_a_health_check_is_the_images(kit: Kit, store: Store) -> None:
    flags = "--interval=1m30s --timeout=2s --start-period=5s --retries=4"
    text = f"FROM base\nHEALTHCHECK {flags} CMD test -e /ok && true\n"
    found = store.find(kit.build(text)).config["config"]["Healthcheck"]
    assert found == {"Test": ["CMD-SHELL", "test -e /ok && true"], "Interval": 90_000_000_000,
                     "Timeout": 2_000_000_000, "StartPeriod": 5_000_000_000, "Retries": 4}
    found = store.find(kit.build(text + 'HEALTHCHECK CMD ["/ok", "a b"]\n')).config["config"]["Healthcheck"]
    assert found == {"Test": ["CMD", "/ok", "a b"]}
    found = store.find(kit.build(text + "HEALTHCHECK none\nMAINTAINER me\n"))
    assert found.config["config"]["Healthcheck"] == {"Test": ["NONE"]} and found.config["author"] == "me"


def test_what_an_image_wants_done_first_is_done_once(kit: Kit, store: Store) -> None:
    kit.write(f="f")
    base = kit.build("FROM base\nONBUILD COPY f /first\nONBUILD ENV A=b\n", "-t", "wants")
    assert store.find(base).config["config"]["OnBuild"] == ["COPY f /first", "ENV A=b"]
    assert "first" not in kit.files(store, base)
    made = kit.build("FROM wants\nCOPY f /$A\n", "-t", "made")
    assert {"first", "b"} <= set(kit.files(store, made)) and "OnBuild" not in store.find(made).config["config"]
    assert "first" not in kit.files(store, kit.build("FROM base\nCOPY f /x\n"))
    (kit.context / "f").unlink()
    kit.build("FROM wants\nENV C=d\n", rc=1)
    assert "build line 1 COPY" in kit.told


@pytest.mark.parametrize("point", POINTS)
def test_a_build_that_is_killed_leaves_nothing_that_check_does_not_remove(point, kit: Kit, store: Store) -> None:
    kit.write(f="f", g="g")
    (kit.context / "Dockerfile").write_text("FROM base\nCOPY f /\nWORKDIR /made\nCOPY g .\n")
    killed.run(point, kit.cli.root, "image", "build", "-t", "app", kit.context)
    assert [row.names for row in store.images()] == [["base:latest"]]
    assert [found.fixed for found in check(store, fix=True)] == [True]
    assert check(store, fix=False, deep=True) == [] and os.listdir(f"{store.root}/staging") == []
    found = kit.files(store, kit.build("FROM base\nCOPY f /\nWORKDIR /made\nCOPY g .\n"))
    assert {"f", "made/g"} <= set(found)
    assert ("as before" in kit.told) == (point == "engine-step-kept")


def test_a_full_disk_spoils_nothing(memory: Path) -> None:
    place = memory / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "capsule-test", place], check=True)
    try:
        kit = Kit(Cli(place / "run"), memory)
        store = Store(str(kit.cli.storage))
        for size in (1200 << 10, 4 << 20):  # its layer has no room; not even its copy has
            (kit.context / "big").write_bytes(os.urandom(size))
            kit.build("FROM base\nCOPY big /\n", "-t", "app", rc=1)
            assert "build line 2 COPY" in kit.told and "no space left on device" in kit.told, kit.told
            assert [row.names for row in store.images()] == [["base:latest"]]
            assert os.listdir(f"{store.root}/staging") == [] and check(store, fix=False, deep=True) == []
        kit.write(f="f")
        assert "f" in kit.files(store, kit.build("FROM base\nCOPY f /\n"))
    finally:
        subprocess.run(["umount", place], check=True)
