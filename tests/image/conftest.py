"""A store of one's own, on a file system in memory, and the command line upon it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from capsule.image.store import Store

TREE = Path(__file__).resolve().parents[2]
_START = "import sys; from capsule.cli.front import main; sys.exit(main(['capsule', *sys.argv[1:]]))"


class Cli:
    """`capsule --root DIR image ...` through the front, which the launcher leaves these commands to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = root / ".storage"
        self.env = {**os.environ, "PYTHONPATH": str(TREE)}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-c", _START, "--root", str(self.root), *words]

    def __call__(self, *words: object, rc: int = 0, data: bytes = b"", **more) -> str:
        done = subprocess.run(self.argv(*map(str, words)), input=data, capture_output=True, env=self.env, **more)
        assert done.returncode == rc, (words, done.stdout, done.stderr)
        self.err = done.stderr.decode()
        return done.stdout.decode()


@pytest.fixture
def memory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="capsule-image-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cli(memory: Path) -> Cli:
    return Cli(memory / "run")


@pytest.fixture
def store(cli: Cli) -> Store:
    return Store(str(cli.storage))


@pytest.fixture
def kit(cli: Cli, memory: Path):
    from .builds import Kit

    return Kit(cli, memory)
