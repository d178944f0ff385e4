"""podman's rootless mode on capsule: all of a test in one script, in namespaces that end with it."""

from __future__ import annotations

import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest
from helpers.ordinary import NAME, SUBIDS, UID, User
from helpers.requires import requires
from helpers.runtime import DEADLINE

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "userns", "uidmap", "podman", "overlay"),
    pytest.mark.rival(runc="not asked here", crun="not asked here", strict=False),
]

_PAUSE = 'trap "exit 0" TERM; while :; do sleep 0.1; done'


class Podman:
    """Run scripts in which `p` is podman on the runtime under test; what they leave dies with their pid namespace."""

    def __init__(self, user: User, program: str, image: Path) -> None:
        self.user = user
        self.program = program
        self.image = image

    def script(self, *lines: str) -> list[str]:
        """Return what each line printed, trailing newline dropped; fail with the first line that fails."""
        mark = "=-=-="
        head = ["set -e", "p() { podman --runtime " + shlex.quote(self.program)
                + ' --cgroup-manager cgroupfs --events-backend file --log-level error "$@"; }',
                f"p import -q {self.image} box >/dev/null", f"echo {mark}"]
        body = [f"{line}\necho {mark}" for line in lines]
        before = ("mount -t proc proc /proc", "mount -t tmpfs -o mode=1777 tmpfs /dev/shm")
        scene = self.user.scene(*before)
        scene[1:1] = ["--pid", "--fork", "--kill-child"]
        env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.user.place / "home"),
               "XDG_RUNTIME_DIR": str(self.user.runtime_dir)}
        done = subprocess.run([*scene, "sh", "-c", "\n".join([*head, *body])], capture_output=True, text=True, env=env,
                              cwd=self.user.place / "home", timeout=6 * DEADLINE, check=False)
        parts = [part.strip("\n") for part in done.stdout.split(mark + "\n")][1:]
        assert done.returncode == 0 and len(parts) == len(lines) + 1, f"{lines}: {done}"
        return parts[:-1]


@pytest.fixture
def podman(user, rootless, bundle, workdir) -> Podman:
    user.grant()
    home = workdir / "home"
    home.mkdir()
    user.own(home)
    image = workdir / "box.tar"
    with tarfile.open(image, "w") as archive:
        archive.add(bundle().rootfs, ".")
    image.chmod(0o644)
    return Podman(user, rootless.argv[0], image)


def test_a_container_runs_is_entered_stopped_and_removed(podman):
    where, entered, listed, top, *_, stopped, left = podman.script(
        "p run --rm --network none box cat /proc/self/uid_map",
        f"p run -d --network none --name x box sh -c '{_PAUSE}' >/dev/null; p exec x id -u",
        "p ps --format '{{.Names}} {{.Status}}'",
        "p top x pid",
        "p stop -t 20 x",
        "p inspect -f '{{.State.Status}} {{.State.ExitCode}}' x",
        "p rm x >/dev/null; p ps -aq",
    )
    assert where.split() == ["0", str(UID), "1", "1", str(SUBIDS[0]), str(SUBIDS[1])]
    assert entered == "0"
    assert listed.startswith("x Up")
    assert "1" in top.split()
    assert stopped == "exited 0"
    assert left == ""


def test_user_namespaces_within_podmans(podman):
    keep, auto, nomap = podman.script(
        "p run --rm --network none --userns keep-id box id",
        "p run --rm --network none --userns auto box cat /proc/self/uid_map",
        "p run --rm --network none --userns nomap box cat /proc/self/uid_map",
    )
    assert f"uid={UID}({NAME}) gid={UID}({NAME})" in keep
    assert auto.split()[:2] == ["0", "1"]
    assert nomap.split() == ["0", "1", str(SUBIDS[1])]


def test_what_podman_asks_of_a_container(podman):
    terminal, shared, sysctl, files, score, device, user, host = podman.script(
        "p run --rm --network none -t box readlink /proc/self/fd/0",
        "p run --rm --network none -v $HOME:/data box sh -c 'echo x > /data/made; stat -c %u:%g /data/made'; rm made",
        "p run --rm --network none --sysctl kernel.msgmax=4096 box cat /proc/sys/kernel/msgmax",
        "p run --rm --network none --ulimit nofile=100:200 box sh -c 'ulimit -n'",
        "p run --rm --network none --oom-score-adj 200 box cat /proc/self/oom_score_adj",
        "p run --rm --network none --device /dev/null:/dev/mine box sh -c 'echo > /dev/mine; stat -c %t:%T /dev/mine'",
        "p run --rm --network none --user 1000:1000 --cap-drop all --read-only box id -u",
        "p run --rm --network host --pid host --cgroupns host box id -u",
    )
    assert terminal.strip() == "/dev/pts/0"
    assert shared == "0:0"
    assert (sysctl, files, score, device, user, host) == ("4096", "100", "200", "1:3", "1000", "0")


def test_podman_builds(podman):
    [made] = podman.script(
        "printf 'FROM box\\nRUN id -u > /out\\n' > Dockerfile; p build -q --runtime "
        f"{shlex.quote(podman.program)} --network none --isolation oci -t localhost/made . >/dev/null; "
        "p run --rm --network none localhost/made cat /out")
    assert made == "0"
