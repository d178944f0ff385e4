"""podman of an ordinary user on this runtime, with a user manager and without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator

import pytest
from helpers import world
from helpers.requires import binary, requires
from helpers.runtime import DEADLINE

pytestmark = [
    # Not "runtime": between tests its leak check would end podman's pause process, which is the user's, not a test's.
    requires("podman", "busybox", "uidmap"),
    pytest.mark.skipif(world.user() == "root", reason="podman as root is what tests/engines run"),
    pytest.mark.skipif(world.hierarchy() == "v1", reason="podman limits nothing for ordinary users on v1"),
]

IMAGE = "localhost/box:latest"
Podman = Callable[..., str]


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Give a caller of podman whose storage has one image, of busybox."""
    place = tmp_path_factory.mktemp("podman")
    driver = "systemd" if "systemd" in world.drivers() else "cgroupfs"

    def call(*words: str, rc: int = 0) -> str:
        argv = ["podman", "--root", str(place / "root"), "--runroot", str(place / "run"), "--cgroup-manager", driver,
                "--runtime", binary()[0], *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10 * DEADLINE,
                              check=False)
        assert done.returncode == rc, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    archive = place / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(shutil.which("busybox") or "", arcname="bin/busybox")
        for name in ("sh", "cat", "sleep", "id"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    call("import", str(archive), IMAGE)
    yield call
    call("rm", "--all", "--force", "--time", "0")
    call("system", "migrate")  # ends the pause process
    # Files of subordinate ids: only root of podman's own user namespace may remove them.
    subprocess.run(["podman", "unshare", "rm", "-rf", str(place / "root"), str(place / "run")], check=False,
                   capture_output=True, timeout=10 * DEADLINE)


def test_a_container_runs_as_root_of_its_own(podman):
    assert podman("run", "--rm", "--network", "none", IMAGE, "id", "-u") == "0\n"


def test_limits_are_in_the_kernels_files(podman):
    name = podman("run", "--detach", "--network", "none", "--memory", "64m", "--pids-limit", "50", IMAGE, "sleep",
                  "1000").strip()
    (found,) = json.loads(podman("inspect", name))
    group = world.group_of(found["State"]["Pid"], "memory")
    assert (group / "memory.max").read_text(encoding="ascii").strip() == str(64 << 20)
    assert (group / "pids.max").read_text(encoding="ascii").strip() == "50"
    assert podman("exec", name, "cat", "/proc/self/cgroup") == "0::/\n"  # in the container's own
    podman("rm", "--force", "--time", "0", name)
    assert not group.exists()


def test_stop_ends_a_container(podman):
    name = podman("run", "--detach", "--network", "none", IMAGE, "sleep", "1000").strip()
    (found,) = json.loads(podman("inspect", name))
    podman("stop", "--time", "1", name)
    assert not os.path.exists(f"/proc/{found['State']['Pid']}")
    (found,) = json.loads(podman("inspect", name))
    assert (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 137)
    podman("rm", name)
