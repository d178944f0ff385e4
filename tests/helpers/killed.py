"""Commands that an ordinary Python runs, killed at a stop point: there the launcher's test build has none."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
_START = """
import os, sys
sys.path.insert(0, sys.argv[1])
from capsule._ext import proc
proc.stop_point = lambda name: os.kill(os.getpid(), int(sys.argv[3])) if name == sys.argv[2] else None
from capsule.cli.front import main
sys.exit(main(["capsule", *sys.argv[4:]]))
"""


def start(point: str, root: Path, *words: object, number: int = signal.SIGKILL) -> subprocess.Popen:
    """Start a command that sends itself a signal where it comes to the point."""
    argv = [sys.executable, "-c", _START, str(TREE), point, str(int(number)), "--root", str(root), *map(str, words)]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(point: str, root: Path, *words: object) -> None:
    """Run a command until it is killed at the point; fails where it ends otherwise."""
    started = start(point, root, *words)
    said = started.communicate(timeout=60)
    assert started.returncode == -signal.SIGKILL, (point, started.returncode, said)
