"""What each verb costs in units that a busy machine does not change: modules, instructions, page faults, system calls.

Instructions are those of the runtime's own process in user mode (valgrind); faults are of it and of the children that
it waits for (wait4); system calls are of every process until the payload has ended (strace), for create and start of
the runtime's own.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.clock import ENVIRONMENT, Failed, reap
from bench.rows import Bundles, Runtime, new_id

VERBS = ("--version", "list", "state", "create", "start", "exec", "kill", "delete", "run")
COLUMNS = ("modules", "million instructions", "page faults", "system calls")
_IMPORTED = re.compile(r"^ +[\d.]+ ms +\d+ faults +[\w.]+$", re.MULTILINE)
_INSTRUCTIONS = re.compile(r"^==(\d+)== I +refs: +([\d,]+)$", re.MULTILINE)


def table(runtime: Runtime, bundles: Bundles, tracer: str | None) -> str:
    """Count for each verb, and write a table; `tracer` is build/capsule-imports, or None."""
    lines = ["| verb | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for verb in VERBS:
        cells = [modules(runtime, bundles, verb, tracer), instructions(runtime, bundles, verb),
                 page_faults(runtime, bundles, verb), system_calls(runtime, bundles, verb)]
        lines.append(f"| {verb} | " + " | ".join("–" if cell is None else str(cell) for cell in cells) + " |")
    return "\n".join(lines)


@contextmanager
def prepared(runtime: Runtime, bundles: Bundles, verb: str) -> Iterator[list[str]]:
    """Bring a container to where the verb begins; give the words that follow `--root DIRECTORY`."""
    name = new_id()
    if verb in ("start", "exec", "kill", "state", "list", "delete"):
        with runtime.container(bundles.waiting, start=verb not in ("start", "delete")) as made:
            yield {"start": ["start", made], "exec": ["exec", made, "/bin/true"], "kill": ["kill", made, "KILL"],
                   "state": ["state", made], "list": ["list"], "delete": ["delete", "--force", made]}[verb]
        return
    try:
        yield {"--version": ["--version"], "run": ["run", "--bundle", str(bundles.plain), name],
               "create": ["create", "--bundle", str(bundles.waiting), name]}[verb]
    finally:
        runtime.remove(name)


def _run(command: list[str], log: str, *, may_fail: bool = False) -> tuple[int, resource.struct_rusage]:
    """Run to the end, its words in a file, as a container may keep a pipe open; return its pid and what it used."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not may_fail:
        raise Failed(f"{' '.join(command)}: {Path(log).read_text(errors='replace')[-500:]}")
    reap()
    return process.pid, usage


def modules(runtime: Runtime, bundles: Bundles, verb: str, tracer: str | None) -> int | None:
    """Count the modules that are loaded."""
    if tracer is None:
        return None
    with prepared(runtime, bundles, verb) as words:
        _run([tracer, *runtime.argv[1:], *words], runtime.log)
        return len(_IMPORTED.findall(Path(runtime.log).read_text(errors="replace")))


def instructions(runtime: Runtime, bundles: Bundles, verb: str) -> str | None:
    """Count the instructions of the runtime's own process, in millions; valgrind refuses its first clone."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return None
    with prepared(runtime, bundles, verb) as words:
        pid, _ = _run([valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", *runtime.argv, *words],
                      runtime.log, may_fail=True)
        counts = dict(_INSTRUCTIONS.findall(Path(runtime.log).read_text(errors="replace")))
    return f"{int(counts[str(pid)].replace(',', '')) / 1e6:.2f}" if str(pid) in counts else None


def page_faults(runtime: Runtime, bundles: Bundles, verb: str) -> int:
    """Count the page faults that needed no disk."""
    with prepared(runtime, bundles, verb) as words:
        _, usage = _run([*runtime.argv, *words], runtime.log)
    return usage.ru_minflt


def system_calls(runtime: Runtime, bundles: Bundles, verb: str) -> int | None:
    """Count system calls, children's included."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    summary = f"{runtime.log}.strace"
    # A payload that goes on would be waited for if it were followed.
    follow = [] if verb in ("create", "start") else ["-f"]
    with prepared(runtime, bundles, verb) as words:
        _run([strace, *follow, "-qq", "-o", summary, *runtime.argv, *words], runtime.log)
    lines = Path(summary).read_text(errors="replace").splitlines()
    return sum("resumed>" not in line and not line.partition(" ")[2].startswith(("+++", "---")) for line in lines)
