"""Volumes in containers of images: shared, filled, read-only, held, and nothing of an image on the host."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.bundle import APPLETS
from helpers.requires import requires
from helpers.runtime import FAILS, one_line

pytestmark = requires("root", "runtime", "busybox")


@pytest.fixture
def tree(tmp_path) -> Path:
    """Return a root of busybox, not yet an image."""
    root = tmp_path / "root"
    for name in ("bin", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox"), root / "bin" / "busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    return root


@pytest.fixture
def box(capsule, tree, tmp_path):
    """Return a function that makes the image and runs a line of shell in it; `changes` count the first time."""
    made = []

    def run(line: str, *flags: object, rc=0, changes: tuple[str, ...] = ()):
        if not made:
            subprocess.run(["tar", "-C", tree, "-cf", tmp_path / "root.tar", "."], check=True)
            words = [word for change in changes for word in ("--change", change)]
            made.append(capsule.call("image", "import", *words, tmp_path / "root.tar", "box"))
        return capsule.call("image", "run", "--rm", *flags, "box", "/bin/sh", "-c", line, rc=rc)

    return run


def names(capsule) -> list[str]:
    return capsule.call("volume", "list", "--quiet").lines


def test_a_volume_outlives_its_containers(box, capsule) -> None:
    box("echo kept > /data/file", "-v", "data:/data")
    assert box("cat /data/file", "--mount", "type=volume,source=data,target=/data,readonly").out == "kept\n"
    assert "Read-only" in box("touch /data/x", "-v", "data:/data:ro", rc=FAILS).err
    inspected = capsule.call("volume", "inspect", "data").json[0]
    assert inspected["containers"] == [] and Path(inspected["mountpoint"], "file").read_text() == "kept\n"
    capsule.call("volume", "delete", "data")
    assert names(capsule) == []


def test_a_container_holds_its_volume(box, capsule) -> None:
    running = capsule.spawn("image", "run", "--rm", "--name", "holder", "-v", "data:/data", "host", "sh", "-c",
                            "echo up; while :; do sleep 1; done")
    running.wait_output("up")
    assert "in use by" in one_line(capsule.call("volume", "delete", "data", rc=FAILS))
    capsule.call("kill", "holder", "KILL")
    running.wait()
    capsule.call("volume", "delete", "data")


def test_a_new_volume_begins_as_what_the_image_has_there(box, tree, capsule) -> None:
    data = tree / "srv" / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "file").write_text("of the image")
    os.link(data / "deep" / "file", data / "twin")
    os.chown(data / "deep" / "file", 1000, 1001)
    (data / "deep" / "file").chmod(0o4750)
    os.chown(data, 5, 6)
    data.chmod(0o1770)
    (tree / "link").symlink_to("/srv")  # the way there leads through a link of the image's
    look = "stat -c '%a %u %g' /x /x/deep/file; cat /x/twin; stat -c %h /x/twin"
    assert box("stat -c '%a %u %g' /x", "-v", "data:/x").lines[0] == "755 0 0"  # nothing there
    filled = box(look.replace("/x", "/link/data"), "-v", "filled:/link/data")
    assert filled.lines == ["1770 5 6", "4750 1000 1001", "of the image2"]
    assert box("rm /srv/data/twin; ls /srv/data", "-v", "filled:/srv/data").out == "deep\n"
    assert box("ls /srv/data", "-v", "filled:/srv/data").out == "deep\n"  # filled once, whatever became of it
    assert box("ls /srv/data", "-v", "empty:/srv/data:nocopy").out == ""


def test_links_of_an_image_lead_to_nothing_of_the_host(box, tree, tmp_path, capsule) -> None:
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "secret").write_text("secret")
    (tree / "out").symlink_to(f"../../../../../../../..{decoy}")
    (tree / "inside").mkdir()
    (tree / "inside" / "up").symlink_to(f"../../../../../..{decoy}/secret")
    assert box("ls -a /out/", "-v", "data:/out").lines == [".", ".."]
    assert box("ls -l /inside; cat /inside/up", "-v", "more:/inside", rc=1).lines[-1].endswith("decoy/secret")
    assert [path.name for path in decoy.iterdir()] == ["secret"]


def test_an_images_volumes_are_its_containers_own(box, tree, capsule) -> None:
    (tree / "var" / "lib").mkdir(parents=True)
    (tree / "var" / "lib" / "file").write_text("x")
    look = "grep -c ' /var/lib ' /proc/self/mountinfo; ls /var/lib; touch /var/lib/made"
    for _ in range(2):
        assert box(look, changes=("VOLUME /var/lib",)).lines == ["1", "file"]
    assert names(capsule) == []
    box("touch /var/lib/made", "-v", "mine:/var/lib")
    assert names(capsule) == ["mine"]


def test_an_image_that_wants_a_volume_in_proc_is_refused(box, capsule) -> None:
    assert "expected a directory" in one_line(box("true", rc=FAILS, changes=("VOLUME /proc/sys",)))
    assert names(capsule) == [] and capsule.ids() == []


def test_a_volume_in_memory_has_its_size(box, capsule) -> None:
    capsule.call("volume", "create", "--opt", "type=tmpfs", "--opt", "o=size=1m,mode=700", "small")
    filled = box("stat -c %a /x; dd if=/dev/zero of=/x/big bs=64k count=64", "-v", "small:/x", rc=1)
    assert filled.lines[0] == "700" and "No space left" in filled.err
    assert "no limit" in one_line(capsule.call("volume", "create", "--opt", "size=0", "none", rc=FAILS))
    assert names(capsule) == ["small"]


def test_read_only_is_so_for_what_is_mounted_below(box, tmp_path, capsule) -> None:
    (tmp_path / "host" / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "capsule-test", tmp_path / "host" / "below"], check=True)
    try:
        assert "Read-only" in box("touch /x/below/made", "-v", f"{tmp_path}/host:/x:ro", rc=FAILS).err
        box("touch /x/below/made", "-v", f"{tmp_path}/host:/x")
    finally:
        subprocess.run(["umount", tmp_path / "host" / "below"], check=True)


def test_what_cannot_be_made_leaves_nothing(box, capsule) -> None:
    box("true")
    for flags in (("-v", "/anonymous", "--cpus", "x"), ("-v", "/anonymous", "-w", "relative"),
                  ("-v", "/anonymous", "-v", "/bin/sh:/bin")):
        one_line(box("true", *flags, rc=FAILS))
    assert names(capsule) == [] and capsule.ids() == []
    capsule.call("image", "delete", "box")
