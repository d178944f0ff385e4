"""podman and Docker end to end on each runtime: `python -m bench.engines [--runs N]`, as root.

The engines run in the enclosures of tests/engines. A sample is the wall time of one `run --rm IMAGE true` as its client
sees it: most of it is the engine's own, so ratios are nearer to 1 than a runtime's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
INNER = "--measure"  # how the program calls itself inside an enclosure


def measure(commands: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Run the commands in turn, in an order that changes, and return their wall times in milliseconds."""
    order = random.Random(1)
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 2):
        for name in order.sample(list(commands), len(commands)):
            begin = time.monotonic_ns()
            subprocess.run(commands[name], stdout=subprocess.DEVNULL, stderr=sys.stderr, check=True)
            if number >= 2:  # the first two warm the caches
                found[name].append((time.monotonic_ns() - begin) / 1e6)
    return found


def sample(engine, runs: int) -> dict[str, list[float]]:
    """Measure an open engine on every runtime that it has, inside its enclosure."""
    commands = {}
    for name in engine.runtimes:
        engine.runtime = name
        commands[name] = engine.argv("run", "--runtime", name, "--rm", "--network", "none", engine.IMAGE, "true")
    document = json.dumps({"commands": commands, "runs": runs})
    program = [sys.executable, str(Path(__file__).resolve()), INNER, document]
    return json.loads(engine.box.call(*program, env=engine.environment(), timeout=600).out)


def table(rows: dict[str, dict[str, list[float]]]) -> str:
    """Return markdown: medians in milliseconds and their ratios to crun's."""
    names = sorted({name for row in rows.values() for name in row})
    lines = ["| ms, wall | " + " | ".join(f"{name} | {name} : crun" for name in names) + " |",
             "|" + "---|" * (1 + 2 * len(names))]
    for row, samples in rows.items():
        middle = {name: median(values) for name, values in samples.items()}
        cells = [f"{middle[name]:.1f} | {middle[name] / middle['crun']:.2f}" if {name, "crun"} <= middle.keys()
                 else "– | –" for name in names]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.engines", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="samples of each engine and runtime (20)")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    chosen = parser.parse_args()
    if os.geteuid():
        print("the benchmark needs root", file=sys.stderr)
        return 2
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from engines.kit import archive, runtimes
    from engines.kit.docker import Docker
    from engines.kit.podman import Podman
    from helpers.payload import build_payload
    from helpers.process import become_subreaper

    become_subreaper()
    directory = Path(tempfile.mkdtemp(prefix="capsule-bench-"))
    directory.chmod(0o711)
    rows = {}
    try:
        image = archive.write(directory / "image.tar", build_payload())
        programs = runtimes.paths(directory)
        for kind in (Podman, Docker):
            (directory / kind.NAME).mkdir()
            engine = kind(directory / kind.NAME, image, programs)
            try:
                rows[f"{kind.NAME} run"] = sample(engine, chosen.runs)
            finally:
                engine.close()
    finally:
        shutil.rmtree(directory)
    text = table(rows)
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "engines.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (chosen.results / "engines.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == [INNER]:
        asked = json.loads(sys.argv[2])
        print(json.dumps(measure(asked["commands"], asked["runs"])))
        sys.exit(0)
    sys.exit(main())
