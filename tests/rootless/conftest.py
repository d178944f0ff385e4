"""Fixtures of the tests that run the runtime as an ordinary user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import requires as requirements
from helpers.leaks import Snapshot
from helpers.ordinary import User, UserRuntime


@pytest.fixture
def user(workdir: Path) -> User:
    """Give an ordinary user without subordinate ids."""
    return User(workdir)


@pytest.fixture
def rootless(user: User, workdir: Path, leaks: Snapshot | None) -> Iterator[UserRuntime]:
    """Give the runtime under test as that user calls it; its containers are deleted after the test."""
    (workdir / "calls").mkdir()
    runtime = UserRuntime(requirements.binary(), user, workdir)
    yield runtime
    runtime.clean()
    assert not runtime.sanitizer_reports(), runtime.report()
    left = runtime.states_left()
    assert not left, f"left in the state root: {left}"
