"""What the tests of single verbs share beyond tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.engine import Engine
from helpers.requires import variant
from helpers.runtime import Runtime


@pytest.fixture
def stopping(workdir: Path, leaks: object) -> Iterator[Runtime]:
    """Give the build with stop points, on the state root that the ordinary build has."""
    (workdir / "stops").mkdir()
    runtime = Runtime([str(variant("stop"))], workdir / "state", workdir / "stops")
    yield runtime
    runtime.clean()


@pytest.fixture
def engine(capsule: Runtime) -> Iterator[Engine]:
    """Give the engine on the state root of the runtime; its containers are removed after the test."""
    found = Engine(capsule)
    yield found
    found.clean()
