"""The runtimes that the scenarios run against, each behind one path with its own name."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from helpers import requires as requirements

SUBJECT = "capsule"
RIVALS = ("runc", "crun")


def asked() -> list[str]:
    """Return the runtimes of CAPSULE_ENGINES (`capsule,runc,crun`); none = the smoke subset with capsule."""
    names = [name for name in os.environ.get("CAPSULE_ENGINES", "").split(",") if name]
    strange = set(names) - {SUBJECT, *RIVALS}
    assert not strange, f"CAPSULE_ENGINES names no runtime: {strange}"
    return names


def paths(directory: Path) -> dict[str, Path]:
    """Return the program of every runtime; a link or script called "capsule" stands for the one under test."""
    found = {name: Path(where) for name in RIVALS if (where := shutil.which(name, path="/usr/sbin:/usr/bin"))}
    words = requirements.binary()
    program = directory / SUBJECT
    if len(words) == 1:
        program.symlink_to(Path(shutil.which(words[0]) or words[0]).resolve())
    else:  # engines take a path, not words
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
    return {SUBJECT: program, **found}
