"""What an endpoint costs: `python -m bench.network [rounds]` (root).

Creates containers with --network none and in a bridge network by turns, in a network namespace of its own, and prints
the wall time of create, delete and a foreground run, and their differences. With iperf3 installed also the throughput
between two containers and between two namespaces on a bridge of veth links made by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
LAUNCHER = str(TREE / "build" / "capsule")
NETWORKS = ("none", "bench")
TURNS = 24  # of the throughput, which varies by a fifth from one to the next


def call(*words: str | Path) -> float:
    """Run the launcher; return the wall time in milliseconds."""
    before = time.perf_counter()
    subprocess.run([LAUNCHER, *map(str, words)], check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - before) * 1000


def bundle(directory: Path, *argv: str) -> Path:
    (directory / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", directory / "rootfs" / "bin" / "busybox")
    subprocess.run([LAUNCHER, "spec", "--bundle", directory], check=True)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["process"].update(args=["/bin/busybox", *argv], terminal=False)
    path.write_text(json.dumps(config))
    return directory


def times(root: Path, box: Path, rounds: int) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {(verb, name): [] for verb in ("create", "delete", "run")
                                                 for name in NETWORKS}
    for turn in range(rounds):
        for name in NETWORKS if turn % 2 else reversed(NETWORKS):
            where = ("--root", root)
            found["create", name].append(call(*where, "create", "--bundle", box, "--network", name, "one"))
            found["delete", name].append(call(*where, "delete", "--force", "one"))
            found["run", name].append(call(*where, "run", "--bundle", box, "--network", name, "two"))
    return found


def report(found: dict[tuple[str, str], list[float]]) -> None:
    print(f"{'ms, median (p10)':20}{'none':>16}{'bridge':>16}{'difference':>12}")
    for verb in ("create", "delete", "run"):
        cells = []
        for name in NETWORKS:
            values = sorted(found[verb, name])
            cells.append((statistics.median(values), values[len(values) // 10]))
        (none, none_10), (bridge, bridge_10) = cells
        print(f"{verb:20}{f'{none:.1f} ({none_10:.1f})':>16}{f'{bridge:.1f} ({bridge_10:.1f})':>16}"
              f"{f'{bridge - none:.1f} ({bridge_10 - none_10:.1f})':>12}")


def iperf(server: list[str], client: list[str], address: str, seconds: int = 1) -> float:
    """Return gigabits a second."""
    argv = [*server, "iperf3", "--server", "--one-off", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as listener:
        deadline = time.monotonic() + 10
        while True:
            done = subprocess.run([*client, "iperf3", "--json", "--client", address, "--time", str(seconds)],
                                  capture_output=True, text=True, check=False)
            answer = json.loads(done.stdout)
            if "error" not in answer:
                return answer["end"]["sum_received"]["bits_per_second"] / 1e9
            if time.monotonic() > deadline:
                listener.kill()
                raise SystemExit(answer["error"])


def by_hand() -> list[list[str]]:
    """Two namespaces on a bridge, 10.99.0.1 and .2; returns how to run a program in each."""
    places = []
    subprocess.run(["ip", "link", "add", "hand", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "hand", "up"], check=True)
    for number in (1, 2):
        holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        os.sched_yield()
        inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            os.sched_yield()
        for line in (f"link add hand{number} master hand type veth peer name eth0 netns {holder.pid}",
                     f"link set hand{number} up"):
            subprocess.run(["ip", *line.split()], check=True)
        for line in (f"address add 10.99.0.{number}/24 dev eth0", "link set eth0 up"):
            subprocess.run([*inside, "ip", *line.split()], check=True)
        places.append(inside)
    return places


def throughput(root: Path, box: Path) -> None:
    if not shutil.which("iperf3"):
        print("no iperf3: throughput not measured")
        return
    places = []
    for name in ("server", "client"):
        call("--root", root, "run", "--detach", "--bundle", box, "--network", "bench", name)
        state = subprocess.run([LAUNCHER, "--root", root, "state", name], check=True, capture_output=True, text=True)
        places.append(["nsenter", f"--net=/proc/{json.loads(state.stdout)['pid']}/ns/net", "--"])
    server = json.loads(subprocess.run([LAUNCHER, "--root", root, "state", "server"], check=True, capture_output=True,
                                       text=True).stdout)["ip"]
    hand = by_hand()
    ours, theirs = [], []
    for _ in range(TURNS):
        ours.append(iperf(places[0], places[1], server))
        theirs.append(iperf(hand[0], hand[1], "10.99.0.1"))
    for name in ("server", "client"):
        call("--root", root, "delete", "--force", name)
    pairs = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    print(f"iperf3, Gbit/s, medians of {TURNS} turns of a second: containers {statistics.median(ours):.1f}, "
          f"by hand {statistics.median(theirs):.1f}; median of the pairs' ratios {pairs:.1%}")


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[2] != "inside":
        rounds = sys.argv[1] if len(sys.argv) > 1 else "40"
        argv = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m",
                "bench.network", rounds, "inside"]
        return subprocess.run(argv, check=False, cwd=TREE).returncode
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="capsule-bench-", dir="/tmp") as directory:
        root = Path(directory) / "state"
        quick, slow = bundle(Path(directory) / "quick", "true"), bundle(Path(directory) / "slow", "sleep", "600")
        subprocess.run([LAUNCHER, "--root", root, "network", "create", "bench"], check=True, stdout=subprocess.DEVNULL)
        report(times(root, quick, int(sys.argv[1])))
        throughput(root, slow)
    return 0


if __name__ == "__main__":
    sys.exit(main())
