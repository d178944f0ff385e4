"""Build the static program that containers run, and read what it prints."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "payload"
BUILD = ROOT / "build" / "tests"


TARGET = BUILD / "payload"


def payload_is_fresh() -> bool:
    """Tell whether the program is there and newer than its sources."""
    newest = max(path.stat().st_mtime for path in [*SOURCE.glob("*.c"), SOURCE / "payload.h"])
    return TARGET.exists() and TARGET.stat().st_mtime > newest


def build_payload() -> Path:
    """Compile tests/payload with `gcc -static` unless it is fresh."""
    target = TARGET
    sources = sorted(SOURCE.glob("*.c"))
    if payload_is_fresh():
        return target
    BUILD.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=BUILD)
    os.close(handle)
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run(["gcc", *flags, "-o", temporary, *map(str, sources)], check=True)
    os.chmod(temporary, 0o755)
    os.rename(temporary, target)
    return target


@contextlib.contextmanager
def public_payload() -> Iterator[Path]:
    """Yield the path of a copy that every user may execute: the source tree may lie in root's home."""
    with tempfile.TemporaryDirectory(prefix="capsule-payload-") as directory:
        os.chmod(directory, 0o755)
        yield Path(shutil.copy2(build_payload(), directory))


def raw(text: str) -> bytes:
    """Return the bytes of a string that the payload printed (it writes bytes as Latin-1)."""
    return text.encode("latin-1")


def mountinfo(facts: dict) -> dict[str, dict]:
    """Index the payload's mountinfo by mount point; the uppermost mount of a point wins."""
    return {entry["point"]: entry for entry in parse_mountinfo(facts["mountinfo"])}


def parse_mountinfo(text: str) -> list[dict]:
    """Split lines of /proc/PID/mountinfo (man 5 proc) into dicts."""
    entries = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        kind, source, options = (right.split(" ") + ["", ""])[:3]
        entries.append({
            "id": int(fields[0]), "parent": int(fields[1]), "device": fields[2], "root": fields[3],
            "point": fields[4], "options": set(fields[5].split(",")), "propagation": fields[6:],
            "type": kind, "source": source, "super": set(options.split(",")),
        })
    return entries
