"""Waiting for a fact. The only place in the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """Return the first true answer of predicate; fail the test when none comes in time (seconds)."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            name = what or getattr(predicate, "__name__", repr(predicate))
            raise AssertionError(f"{name}: not true within {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
