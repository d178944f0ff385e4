"""Private memory of what a runtime leaves running, from smaps_rollup."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from bench.clock import ENVIRONMENT, reap
from bench.rows import Bundles, Runtime, new_id

FIELDS = ("Pss", "Private_Clean", "Private_Dirty")


def rollup(pid: int) -> dict[str, int]:
    """Return Pss and the private memory of a process in KiB."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in FIELDS:
            values[name] = int(rest.split()[0])
    return {"pss": values["Pss"], "private": values["Private_Clean"] + values["Private_Dirty"]}


def created(runtime: Runtime, bundles: Bundles) -> dict[str, int]:
    """Measure a container that waits for start."""
    with runtime.container(bundles.waiting, start=False) as name:
        return rollup(runtime.pid(name))


def foreground(runtime: Runtime, bundles: Bundles) -> dict[str, int]:
    """Measure the process that waits for a foreground container's end."""
    name = new_id()
    argv = [*runtime.argv, "run", "--bundle", str(bundles.waiting), name]
    waiting = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        pid = _first_process(runtime, name)
        time.sleep(0.3)  # until the runtime has nothing to do but wait
        found = rollup(waiting.pid)
        os.kill(pid, 9)
        waiting.wait(10)
        return found
    finally:
        if waiting.poll() is None:
            waiting.kill()
            waiting.wait()
        runtime.remove(name)
        reap()


def _first_process(runtime: Runtime, name: str) -> int:
    deadline = time.monotonic() + 5
    while True:
        try:
            if Path(f"/proc/{(pid := runtime.pid(name))}/exe").exists():
                return pid
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)
