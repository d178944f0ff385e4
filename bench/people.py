"""What people wait for: a sandbox beside a bare run, and the first output of an image's container beside podman's.

    python -m bench.people [ROUNDS [PROGRAM]]    # PROGRAM: another launcher than build/capsule

podman runs the same root file system on runc, with its storage, network and runtime directories below a temporary one,
its mounts in a namespace of ours, and its cgroups below one of ours, which are removed at the end.
Neither container has a network: what one costs is bench/network.py's.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests")]

from helpers.bundle import Bundle  # noqa: E402 - the path comes first
from helpers.images import busybox_root  # noqa: E402
from helpers.payload import build_payload  # noqa: E402
from helpers.process import become_subreaper  # noqa: E402

from bench.host import private_mounts  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CAPSULE = sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "build" / "capsule")
# podman's default limits need CAP_SYS_RESOURCE, which not every root has.
CONFIGURATION = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
events_logger = "file"
"""
SCRIPT = "echo out; exec true"
GROUPS = f"capsule-bench-{os.getpid()}"  # below which podman makes its cgroups


def first_output(argv: list[str]) -> tuple[float, float]:
    """Run a command; return the milliseconds to its first output and to its end. Raises RuntimeError if it fails."""
    began = time.perf_counter()
    running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert running.stdout is not None
    heard = os.read(running.stdout.fileno(), 64)
    first = time.perf_counter()
    running.stdout.read()
    if running.wait() or not heard.startswith(b"out"):
        raise RuntimeError(f"{argv}: status {running.returncode}, {heard!r}")
    return (first - began) * 1000, (time.perf_counter() - began) * 1000


def commands(directory: Path) -> dict[str, list[str]]:
    """Make a bundle, an image of the same root here and in podman's store; return what is compared."""
    state = str(directory / "state")
    bundle = Bundle(directory / "bundle", "people", build_payload()).args("/bin/sh", "-c", SCRIPT).write()
    tar = directory / "root.tar"
    subprocess.run(["tar", "-C", busybox_root(directory), "-cf", tar, "."], check=True)
    subprocess.run([CAPSULE, "--root", state, "image", "create", "people", tar], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    found = {
        "run": [CAPSULE, "--root", state, "run", "--bundle", str(bundle), "people"],
        "sandbox": [CAPSULE, "--root", state, "sandbox", "--", "/bin/sh", "-c", SCRIPT],
        "image run --rm": [CAPSULE, "--root", state, "image", "run", "--rm", "people", "/bin/sh", "-c", SCRIPT],
    }
    if shutil.which("podman") and shutil.which("runc"):
        (directory / "containers.conf").write_text(CONFIGURATION)
        os.environ["CONTAINERS_CONF"] = str(directory / "containers.conf")
        podman = ["podman", "--root", str(directory / "podman"), "--runroot", str(directory / "run"), "--runtime",
                  "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]
        subprocess.run([*podman, "import", "--quiet", tar, "people"], check=True, stdout=subprocess.DEVNULL)
        found["podman run --rm"] = [*podman, "run", "--rm", "--network", "none", "--cgroup-parent", f"/{GROUPS}",
                                    "people", "/bin/sh", "-c", SCRIPT]
    else:
        print("podman or runc is not there: nothing to compare with (apt-get install podman runc)")
    return found


def remove_groups() -> None:
    """Remove the cgroups that podman leaves below ours."""
    for top in [*Path("/sys/fs/cgroup").glob(f"*/{GROUPS}"), Path("/sys/fs/cgroup") / GROUPS]:
        for directory, _, _ in os.walk(top, topdown=False):
            os.rmdir(directory)


def main() -> int:
    """Print the medians of rounds in which each command has its turn."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    become_subreaper()
    private_mounts()
    with tempfile.TemporaryDirectory(prefix="capsule-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        compared = commands(directory)
        times: dict[str, list[tuple[float, float]]] = {word: [] for word in compared}
        for turn in range(rounds + 1):
            for word, argv in compared.items():
                took = first_output(argv)
                if turn:  # the first one warms caches
                    times[word].append(took)
        print(f"load {os.getloadavg()[0]:.1f}")
        print(f"{'':20}{'first output, ms':>20}{'to run':>8}{'end, ms':>12}{'to run':>8}")
        medians = {word: [statistics.median(column) for column in zip(*samples, strict=True)]
                   for word, samples in times.items()}
        for word, (first, end) in medians.items():
            base = medians["run"]
            print(f"{word:20}{first:20.1f}{first / base[0]:8.2f}{end:12.1f}{end / base[1]:8.2f}")
        subprocess.run(["umount", "-q", directory / "podman" / "overlay"], check=False)
    remove_groups()
    return 0


if __name__ == "__main__":
    sys.exit(main())
