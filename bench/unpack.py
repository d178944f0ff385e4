"""Unpack one layer with capsule, GNU tar and umoci: `python -m bench.unpack [ROUNDS]`. Needs root, tar, gzip and umoci.

Rounds are interleaved, so that whatever else the machine does meets all three; medians are printed, wall and processor
time, and the largest memory of one process.
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
SAMPLES = ["usr/share/perl", "usr/lib/python3", "usr/share/doc"]
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from capsule.image.layers import take; "
    "take(open(sys.argv[2], 'rb', buffering=0), sys.argv[3])"
)


def layer(directory: Path) -> Path:
    """Make a layer of what every Debian has."""
    there = [name for name in SAMPLES if Path("/", name).exists()]
    subprocess.run(["tar", "-C", "/", "-czf", directory / "layer.tgz", *there], check=True, stderr=subprocess.DEVNULL)
    return directory / "layer.tgz"


def umoci_image(directory: Path, packed: Path) -> str:
    """Have umoci keep the layer as the one of an image."""
    image = f"{directory}/umoci:bench"
    subprocess.run(["umoci", "init", "--layout", f"{directory}/umoci"], check=True)
    subprocess.run(["umoci", "new", "--image", image], check=True)
    # Not through our own memory: a child's largest memory begins as its parent's.
    with open(directory / "layer.tar", "wb") as plain:
        subprocess.run(["gzip", "-dc", packed], check=True, stdout=plain)
    subprocess.run(["umoci", "raw", "add-layer", "--image", image, directory / "layer.tar"], check=True)
    (directory / "layer.tar").unlink()
    return image


def measure(words: list[str]) -> tuple[float, float, int]:
    """Run a command; return (wall seconds, processor seconds, KiB of its largest process)."""
    begin = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{words[0]}: exit status {process.returncode}")
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def main(rounds: int) -> int:
    directory = Path(tempfile.mkdtemp(prefix="capsule-bench-", dir="/dev/shm"))
    target = directory / "target"
    try:
        packed = layer(directory)
        image = umoci_image(directory, packed)
        commands = {
            "capsule": [sys.executable, "-c", START, str(TREE), str(packed), str(target)],
            "tar -xz": ["tar", "-C", str(target), "-xzpf", str(packed)],
            "umoci unpack": ["umoci", "unpack", "--image", image, str(target)],
        }
        found: dict[str, list] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, words in commands.items():
                if name != "umoci unpack":
                    target.mkdir()
                found[name].append(measure(words))
                shutil.rmtree(target)
        rows = {name: {"wall_s": round(statistics.median(run[0] for run in runs), 3),
                       "cpu_s": round(statistics.median(run[1] for run in runs), 3),
                       "max_rss_kib": max(run[2] for run in runs)} for name, runs in found.items()}
        print(json.dumps({"layer_bytes": packed.stat().st_size, "rounds": rounds, **rows}, indent=2))
    finally:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
