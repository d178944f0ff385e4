"""--version: the three lines that engines parse, then what this launcher is."""

from __future__ import annotations

import sys

from capsule._version import VERSION
from capsule.cli import output
from capsule.cli.scanner import Invocation

SPEC_VERSION = "1.3.0"  # of the runtime-spec that the config reader and `features` follow


def run(invocation: Invocation) -> int:
    """Print the version."""
    output.print_out(text())
    return 0


def text() -> str:
    """Return the lines: version, commit, spec, launcher, python."""
    commit = built("commit")
    variant = built("variant")
    python = ".".join([str(part) for part in sys.version_info[:3]])
    return (
        f"capsule version {VERSION}\ncommit: {commit}\nspec: {SPEC_VERSION}\n"
        f"launcher: {variant}\npython: {python}\n"
    )


def built(name: str) -> str:
    """Return what the build recorded in the launcher, "none" where there is no such thing."""
    try:
        from capsule import _launcher
    except ImportError:
        return "none"
    return str(getattr(_launcher, name, "none"))
