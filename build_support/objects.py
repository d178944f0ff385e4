"""C sources to objects: recompiled when the command, the source or a header that it read has changed."""

from __future__ import annotations

import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


class Compilation(NamedTuple):
    """One object to make: source, object path and the whole compiler command but for these two."""

    source: str
    target: str
    command: tuple[str, ...]


def dependencies(depfile: str) -> list[str]:
    """Read the prerequisites that the compiler wrote (gcc -MMD)."""
    with open(depfile, encoding="utf-8") as file:
        text = file.read().replace("\\\n", " ")
    return text.partition(":")[2].split()


def is_current(job: Compilation) -> bool:
    """Tell whether the object exists, was made by this command, and is newer than all it was made from."""
    try:
        made = os.stat(job.target).st_mtime_ns
        with open(job.target + ".cmd", encoding="utf-8") as file:
            if file.read() != shlex.join(job.command):
                return False
        return all(os.stat(path).st_mtime_ns <= made for path in dependencies(job.target + ".d"))
    except FileNotFoundError:
        return False


def compile_one(job: Compilation) -> bool:
    """Compile unless current; tell whether the compiler ran. Raises SystemExit when it fails."""
    if is_current(job):
        return False
    os.makedirs(os.path.dirname(job.target), exist_ok=True)
    command = [*job.command, "-MMD", "-MF", job.target + ".d", "-c", job.source, "-o", job.target]
    if subprocess.run(command).returncode:
        raise SystemExit(f"cannot compile {job.source}: {shlex.join(command)}")
    with open(job.target + ".cmd", "w", encoding="utf-8") as file:
        file.write(shlex.join(job.command))
    return True


def compile_all(work: list[Compilation], *, jobs: int) -> int:
    """Compile what is not current, `jobs` at a time; return how many compilers ran."""
    with ThreadPoolExecutor(jobs) as pool:
        return sum(pool.map(compile_one, work))
