"""A root of overlay layers is mounted in the container's own mount namespace, and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.runtime import ENVIRONMENT

pytestmark = requires("root", "runtime")
PROGRAM = Path(__file__).resolve().parents[1] / "helpers" / "overlay.py"
HOST_ID = 100_000


class Layers:
    """Two lower layers, the lower one the bundle's own root, and an upper one."""

    def __init__(self, runtime, bundle, place: Path) -> None:
        self.runtime, self.bundle, self.place = runtime, bundle, place
        self.directory = Path(bundle.write())
        (place / "second" / "sub").mkdir(parents=True)
        (place / "second" / "only-second").write_text("second\n")
        for name in ("upper", "work"):
            (place / name).mkdir()
        self.overlay = {"lower": [str(self.directory / "rootfs"), str(place / "second")],
                        "upper": str(place / "upper"), "work": str(place / "work")}

    def run(self, script: str, rc: int = 0) -> subprocess.CompletedProcess:
        self.bundle.args("/bin/sh", "-c", script).write()
        argv = [sys.executable, "-I", "-S", str(PROGRAM), str(self.runtime.root), self.bundle.id, str(self.directory),
                json.dumps(self.overlay)]
        ended = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                               timeout=60, check=False)
        assert ended.returncode == rc, ended
        return ended


@pytest.fixture
def layers(capsule, bundle, tmp_path) -> Layers:
    return Layers(capsule, bundle(), tmp_path)


def test_layers_are_merged_and_changes_go_to_the_upper_one(layers: Layers) -> None:
    ended = layers.run("cat /only-second; echo new > /made; rm /only-second; echo more >> /etc/passwd")

    assert ended.stdout == "second\n"
    upper = layers.place / "upper"
    assert (upper / "made").read_text() == "new\n"
    assert (upper / "only-second").is_char_device() and os.stat(upper / "only-second").st_rdev == 0
    assert (layers.place / "second" / "only-second").exists()
    assert not (layers.directory / "rootfs" / "made").exists()


def test_the_host_has_no_mount_of_it(layers: Layers) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    ended = layers.run("cat /proc/self/mountinfo")

    assert " / / " in ended.stdout.splitlines()[0] and "- overlay " in ended.stdout.splitlines()[0]
    assert Path("/proc/self/mountinfo").read_text() == before


def test_an_upper_of_none_vanishes(layers: Layers) -> None:
    layers.overlay.update(upper="", work="")
    assert layers.run("echo new > /made; cat /made").stdout == "new\n"
    assert not (layers.directory / "rootfs" / "made").exists()
    assert layers.run("test -e /made", rc=1).stdout == ""


def test_the_record_tells_the_layers(layers: Layers) -> None:
    # The container is gone at the end of a run: its record is read while it runs.
    argv = ["while :; do sleep 1; done"]
    layers.bundle.args("/bin/sh", "-c", *argv).write()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROGRAM), str(layers.runtime.root), layers.bundle.id, str(layers.directory),
         json.dumps(layers.overlay)], env=ENVIRONMENT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        from helpers.wait import wait_until

        wait_until(lambda: layers.runtime.is_running(layers.bundle.id), 20, "the container runs")
        detail = layers.runtime.call("state", "--detail", layers.bundle.id).json
        assert detail["detail"]["extra"]["overlay"] == layers.overlay
    finally:
        layers.runtime.call("delete", "--force", layers.bundle.id)
        process.wait(20)


def test_a_user_namespace_has_an_overlay_too(layers: Layers) -> None:
    """Its root may search no directory on the way to the layers: R opens them."""
    layers.bundle.user_namespace(HOST_ID)
    subprocess.run(["chown", "-R", f"{HOST_ID}:{HOST_ID}", layers.place, layers.directory / "rootfs"], check=True)
    layers.place.chmod(0o700)
    ended = layers.run("cat /only-second; echo new > /made; rm -r /sub; ls -d /sub; cat /proc/self/mountinfo")

    rows = [line.split() for line in ended.stdout.splitlines()[1:]]
    assert ended.stdout.startswith("second\n") and [row[4] for row in rows].count("/") == 1
    assert os.stat(layers.place / "upper" / "made").st_uid == HOST_ID
    assert (layers.place / "upper" / "sub").is_char_device()


def test_nothing_of_the_old_root_is_above_the_new_one(layers: Layers) -> None:
    """Layers that were attached on "/" for a moment would leave the host's tree at "/.."."""
    layers.bundle.user_namespace(HOST_ID)
    subprocess.run(["chown", "-R", f"{HOST_ID}:{HOST_ID}", layers.place, layers.directory / "rootfs"], check=True)
    layers.place.chmod(0o700)
    ended = layers.run("ls -di / /.. /../..")

    assert len({line.split()[0] for line in ended.stdout.splitlines()}) == 1


@pytest.mark.parametrize(("change", "text"), [
    ({"lower": []}, "at least one directory"),
    ({"lower": ["/nonexistent-layer"]}, "no such file"),
    ({"lower": ["relative"]}, "absolute"),
    ({"work": "/tmp/elsewhere"}, "elsewhere"),
    ({"lower": ["/etc/passwd"]}, "not a directory"),
])
def test_bad_layers_are_refused_before_anything_is_made(layers: Layers, change: dict, text: str) -> None:
    layers.overlay.update(change)
    assert text in layers.run("true", rc=1).stderr
    assert not layers.runtime.exists(layers.bundle.id)


def test_an_overlay_without_a_mount_namespace_is_refused(layers: Layers) -> None:
    layers.bundle.edit(lambda config: config["linux"].update(
        namespaces=[one for one in config["linux"]["namespaces"] if one["type"] != "mount"], maskedPaths=[],
        readonlyPaths=[]))
    assert "mount namespace" in layers.run("true", rc=1).stderr
