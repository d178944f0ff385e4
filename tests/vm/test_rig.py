"""vagrant/rig itself, and the smoke layer: a few tests of containers in a guest without and with systemd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import apart
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = requires("root", "qemu", "debootstrap", "mirror")

ROOT = Path(__file__).resolve().parents[2]
RIG = ROOT / "vagrant" / "rig"
#: Seconds for one boot and its command on a busy machine.
LONG = 300.0 * float(os.environ.get("CAPSULE_SLOW", "1"))


class Rig:
    """Calls of vagrant/rig whose console logs lie in one directory."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "console.log"
        self.directory = directory

    def start(self, *words: str) -> subprocess.Popen:
        argv = [sys.executable, RIG, "run", "--log", self.log, *words]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, cwd="/", env={**os.environ, "TMPDIR": str(self.directory)})

    def call(self, *words: str) -> tuple[int, str, str]:
        """Run to the end; return status, stdout and stderr."""
        running = self.start(*words)
        try:
            out, err = running.communicate(timeout=LONG)
        finally:
            running.kill()
        return running.returncode, out, err

    def emulators(self) -> list[int]:
        """Return the pids of emulators that write our console log, whoever started them."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if f"file:{self.log}".encode() in words and words[0].startswith(b"qemu"):
                    found.append(int(name))
        return found


@pytest.fixture(scope="session")
def image() -> None:
    """Make the guest, unless the cache has it, before deadlines run."""
    subprocess.run([*apart.outside(), sys.executable, RIG, "image"], check=True, timeout=1200, capture_output=True)


@pytest.fixture
def rig(tmp_path: Path, image: None) -> Iterator[Rig]:
    one = Rig(tmp_path)
    yield one
    wait_until(lambda: not one.emulators(), 60, "the emulator's end")
    left = {path.name for path in tmp_path.iterdir()} - {"console.log", "given", "got"}
    assert not left, f"left in the directory for temporary files: {left}"


def test_files_go_in_and_out_and_the_status_is_the_commands(rig, tmp_path):
    given, got = tmp_path / "given", tmp_path / "got"
    given.mkdir()
    (given / "word").write_text("brought\n")
    script = ("cat /srv/given/word; echo complaint >&2; mkdir -p /srv/made/deep; echo result > /srv/made/deep/file;"
              "exit 7")
    status, out, err = rig.call("--no-tree", "--put", f"{given}:/srv/given", "--get", f"/srv/made:{got}", "--",
                                "sh", "-c", script)
    assert (status, out, err) == (7, "brought\n", "complaint\n")
    assert (got / "made/deep/file").read_text() == "result\n"


def test_an_unknown_command_is_status_127(rig):
    status, out, err = rig.call("--no-tree", "--", "no-such-command")
    assert (status, out) == (127, "")
    assert "no-such-command" in err


def test_output_streams_and_an_overdue_command_is_ended(rig):
    running = rig.start("--no-tree", "--timeout", "15", "--", "sh", "-c", "echo first; exec sleep 1000")
    try:
        assert running.stdout.readline() == "first\n"
        assert running.poll() is None
        out, err = running.communicate(timeout=LONG)
    finally:
        running.kill()
    assert (running.returncode, out) == (124, "")
    assert str(rig.log) in err
    assert "Linux version" in rig.log.read_text(errors="replace")


def test_a_boot_that_does_not_start_is_tried_again(rig):
    running = rig.start("--no-tree", "--boot-timeout", "25", "--", "echo", "started")
    try:
        wait_until(rig.emulators, LONG, "an emulator")
        os.kill(rig.emulators()[0], signal.SIGSTOP)
        out, err = running.communicate(timeout=LONG)
    finally:
        running.kill()
    assert (running.returncode, out) == (0, "started\n")
    assert "boot 1 did not start" in err


def test_a_boot_that_never_starts_ends_with_the_console_named(rig, tmp_path):
    given = tmp_path / "given"
    given.write_bytes(b"no archive")
    status, out, err = rig.call("--no-tree", "--initramfs", str(given), "--", "true")
    assert (status, out) == (125, "")
    assert "last of 3 boots" in err and str(rig.log) in err


def test_the_emulator_ends_with_a_killed_rig(rig):
    running = rig.start("--no-tree", "--", "sleep", "1000")
    wait_until(rig.emulators, LONG, "an emulator")
    running.kill()
    running.communicate(timeout=60)


#: Tests that say most about a runtime in the least time.
SMOKE = ["tests/integration/test_lifecycle.py", "-k", "kill_all_reaches or delete_force or list_as_json"]


@pytest.mark.parametrize("mode", ["bare", "systemd"])
def test_containers_run_in_a_guest(rig, payload, mode):
    status, out, err = rig.call("--mode", mode, "--env", "CAPSULE_REQUIRE=root,runtime,busybox,gcc", "--",
                                ".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *SMOKE)
    assert status == 0, out[-4000:] + err[-2000:]
    assert " passed" in out and "skipped" not in out
