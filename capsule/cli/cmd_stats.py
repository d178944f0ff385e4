"""stats: what containers use, from their cgroups and the interfaces that their first process sees."""

from __future__ import annotations

import os
import time
from pathlib import Path

from capsule import verbs
from capsule._ext import proc
from capsule.bundle.containers import Containers
from capsule.cli import listing, output, quantities, tables
from capsule.cli.paths import containers_root, runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, NotFound, StateError

_CLEAR = "\x1b[2J\x1b[H"
_MS_NS = 1_000_000
_UNLIMITED = 1 << 60
_ONCE_NS = 500_000_000  # processor time is a difference: even one look is two
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_HEAD = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]


def run(invocation: Invocation) -> int:
    """Print a table at intervals until nothing that was named runs; once with --no-stream. Raises CapsuleError."""
    options = invocation.options
    if options["format"] not in ("", "table", "json"):
        raise CapsuleError(f"invalid format option: {options['format']}")
    interval_ns = quantities.duration_ns("interval", options["interval"] or "1s")
    if interval_ns < _MS_NS:
        raise CapsuleError("stats", "--interval", "expected at least 1ms")
    wanted = [_find(invocation, word) for word in invocation.positionals]
    before = _look(invocation, wanted)
    while before or not wanted:
        proc.poll([], (min(_ONCE_NS, interval_ns) if options["no_stream"] else interval_ns) // _MS_NS)
        now = _look(invocation, wanted)
        rows = [_difference(before.get(id), sample) for id, sample in now.items()]
        if options["format"] == "json":
            output.print_json(rows, pretty=options["no_stream"])
        else:
            clear = _CLEAR if os.isatty(output.STDOUT) and not options["no_stream"] else ""
            output.print_out(clear + tables.layout([_HEAD, *[_cells(row) for row in rows]]))
        if options["no_stream"]:
            return 0
        before = now
    if options["no_stream"]:
        raise StateError("read statistics of container", invocation.positionals[0], "it does not run")
    return 0


def _find(invocation: Invocation, word: str) -> str:
    try:
        return Containers(containers_root(invocation)).find(word)
    except NotFound:
        verbs.state(runtime_root(invocation), word)  # says so when there is none
        return word


def _look(invocation: Invocation, wanted: list[str]) -> dict[str, dict]:
    """Return a sample of each container that runs, by id; one that ends meanwhile is left out."""
    root = runtime_root(invocation)
    found = {}
    for row in listing.collect(invocation):
        if row["State"] in ("running", "paused") and (not wanted or row["Id"] in wanted):
            try:
                found[row["Id"]] = {"row": row, "stats": verbs.stats(root, row["Id"]), "net": _network(row["Pid"]),
                                    "time": time.monotonic_ns()}
            except (CapsuleError, OSError):
                continue
    return found


def _network(pid: int) -> tuple[int, int]:
    """Return the bytes received and sent on all interfaces but `lo`, as a process sees them. man 5 proc, net/dev."""
    received = sent = 0
    for line in Path(f"/proc/{pid}/net/dev").read_text(encoding="ascii").splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() != "lo":
            words = rest.split()
            received, sent = received + int(words[0]), sent + int(words[8])
    return received, sent


def _difference(before: dict | None, now: dict) -> dict:
    row, stats = now["row"], now["stats"]
    memory = stats.get("memory", {}).get("usage", {})
    limit = memory.get("limit") or 0
    if not 0 < limit < _UNLIMITED:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    used = memory.get("usage") or 0
    cpu = _cpu(now)
    percent = 0.0
    if before is not None and now["time"] > before["time"]:
        percent = 100.0 * max(cpu - _cpu(before), 0) / (now["time"] - before["time"])
    read, written = _blocks(stats)
    return {"id": row["Id"], "name": row["Names"][0], "cpu_percent": round(percent, 2), "cpu_ns": cpu,
            "memory_usage": used, "memory_limit": limit, "memory_percent": round(100.0 * used / limit, 2),
            "net_input": now["net"][0], "net_output": now["net"][1], "block_input": read, "block_output": written,
            "pids": stats.get("pids", {}).get("current") or 0}


def _cpu(sample: dict) -> int:
    return sample["stats"].get("cpu", {}).get("usage", {}).get("total") or 0


def _blocks(stats: dict) -> tuple[int, int]:
    read = written = 0
    for entry in stats.get("blkio", {}).get("ioServiceBytesRecursive") or []:
        if entry.get("op", "").lower() == "read":
            read += entry.get("value", 0)
        elif entry.get("op", "").lower() == "write":
            written += entry.get("value", 0)
    return read, written


def _cells(row: dict) -> list[str]:
    return [row["id"][:12], row["name"], f"{row['cpu_percent']:.2f}%",
            f"{_size(row['memory_usage'])} / {_size(row['memory_limit'])}", f"{row['memory_percent']:.2f}%",
            f"{_size(row['net_input'])} / {_size(row['net_output'])}",
            f"{_size(row['block_input'])} / {_size(row['block_output'])}", str(row["pids"])]


def _size(number: int) -> str:
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"
