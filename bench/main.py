"""Interleave the runtimes over the rows, A B C A B C ..., and report medians, ratios and memory."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from helpers.bundle import CAPABILITIES, Bundle
from helpers.payload import build_payload
from helpers.process import become_subreaper
from helpers.seccomp import PROFILE, engine_profile

from bench import count, host, memory, report
from bench.clock import Failed, reap
from bench.rows import ROWS, Bundles, Runtime

ROOT = Path(__file__).resolve().parents[1]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="samples of each row and runtime (60)")
    parser.add_argument("--only", action="append", default=[], metavar="ROW",
                        help="rows whose name begins so; may be repeated")
    parser.add_argument("--python", default="", metavar="LABEL",
                        help="the Python that the launcher was built with; part of the report's name")
    parser.add_argument("--capsule", default=str(ROOT / "build" / "capsule"), help="the program to measure")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory rows out")
    parser.add_argument("--count", action="store_true",
                        help="time nothing: print what each verb of capsule loads, executes, touches and asks for")
    return parser.parse_args()


def counted(chosen: argparse.Namespace, directory: Path) -> str:
    """Return the table of bench/count.py."""
    tracer = Path(chosen.capsule).with_name("capsule-imports")
    if not tracer.exists():
        print(f"{tracer} is not there (setup.py build_launcher --flavours=capsule-imports): no modules are counted")
    return count.table(Runtime("capsule", [chosen.capsule], directory), bundles(directory),
                       str(tracer) if tracer.exists() else None)


def runtimes(chosen: argparse.Namespace, directory: Path) -> list[Runtime]:
    """Return those of capsule, crun and runc that are there."""
    programs = {"capsule": chosen.capsule if os.access(chosen.capsule, os.X_OK) else None,
                "crun": host.find("crun"), "runc": host.find("runc")}
    for name, path in programs.items():
        if not path:
            print(f"{name} is not there and is left out" + (f" (apt-get install {name})" * (name != "capsule")))
    return [Runtime(name, [path], directory) for name, path in programs.items() if path]


def bundles(directory: Path) -> Bundles:
    """Make the three bundles: busybox true, a program that waits, and what an engine would write."""
    payload = build_payload()
    plain = Bundle(directory / "plain", "plain", payload).args("/bin/true")
    waiting = Bundle(directory / "waiting", "waiting", payload).args("/payload", "pause")
    engine = Bundle(directory / "engine", "engine", payload).args("/bin/true")
    if PROFILE.exists():
        engine.linux["seccomp"] = engine_profile(CAPABILITIES)
    else:
        print(f"{PROFILE} is not there (apt-get install containers-common): no filter in the engine-like rows")
    for number in range(20 - len(engine.config["mounts"])):
        (directory / f"volume-{number}").mkdir()
        engine.bind(directory / f"volume-{number}", f"/data/volume-{number}", "rbind", "nosuid", "nodev")
    engine.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 2048},
                                 "memory": {"limit": 512 << 20}, "cpu": {"shares": 1024}}
    return Bundles(plain.write(), waiting.write(), engine.write())


def sample(chosen: argparse.Namespace, programs: list[Runtime], made: Bundles) -> dict:
    """Measure each row: one sample of each runtime in turn, in an order that changes."""
    wanted = {row: measure for row, measure in ROWS.items()
              if not chosen.only or any(row.startswith(word) for word in chosen.only)}
    order = random.Random(1)
    samples: dict = {}
    for row, measure in wanted.items():
        samples[row] = {runtime.name: [] for runtime in programs}
        alive = list(programs)
        for number in range(chosen.runs + 2):
            for runtime in order.sample(alive, len(alive)):
                try:
                    found = measure(runtime, made)
                except Failed as error:
                    print(f"{row}: {runtime.name} is left out: {error}", file=sys.stderr)
                    alive.remove(runtime)
                    continue
                if number >= 2:  # the first two warm the caches
                    samples[row][runtime.name].append(found)
                reap()
        print(f"  {row}: " + ", ".join(_short(name, values) for name, values in samples[row].items()), flush=True)
    return samples


def _short(name: str, values: list) -> str:
    walls = sorted(value[0] for value in values)
    return f"{name} {walls[len(walls) // 2]:.2f} ms" if walls else f"{name} –"


def weigh(programs: list[Runtime], made: Bundles) -> dict:
    """Measure the memory rows."""
    found: dict = {"created": {}, "foreground run": {}}
    for runtime in programs:
        try:
            found["created"][runtime.name] = memory.created(runtime, made)
            found["foreground run"][runtime.name] = memory.foreground(runtime, made)
        except Exception as error:
            print(f"memory: {runtime.name} is left out: {error}", file=sys.stderr)
    return found


def main() -> int:
    chosen = options()
    if os.geteuid():
        print("the benchmark needs root", file=sys.stderr)
        return 2
    host.private_mounts()
    become_subreaper()
    mounted = host.hide_hybrid()
    directory = Path(tempfile.mkdtemp(prefix="capsule-bench-"))
    try:
        if chosen.count:
            print(counted(chosen, directory))
            return 0
        programs = runtimes(chosen, directory)
        versions = {runtime.name: host.version(runtime.argv[0]) for runtime in programs}
        for name, text in versions.items():
            print(f"{name}: {text}")
        made = bundles(directory)
        samples = sample(chosen, programs, made)
        weights = {} if chosen.no_memory else weigh(programs, made)
    finally:
        reap()
        shutil.rmtree(directory)
        if mounted:
            host.show_hybrid()
    rows = report.summary(samples)
    names = [runtime.name for runtime in programs]
    text = report.table(rows, weights, names)
    facts = host.facts()
    label = "bench" + (f"-{chosen.python}" if chosen.python else "")
    title = f"wall time against {report.BASE}, medians of {chosen.runs} ({chosen.python or 'default Python'})"
    document = {"machine": facts, "versions": versions, "runs": chosen.runs, "python": chosen.python,
                "rows": rows, "memory": weights, "samples": samples}
    paths = report.write(chosen.results, label, document, text, report.plot(rows, names, title))
    print(f"\n{facts}\n\n{text}\n" + "\n".join(map(str, paths)))
    return 0
