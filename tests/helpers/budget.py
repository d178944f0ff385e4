"""How long fuzzing and generated examples go on: CAPSULE_FUZZ=10 means ten times as long as in `make test`."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("CAPSULE_FUZZ", "1"))


def times(number: int) -> int:
    """Multiply a number of runs, examples or seconds by CAPSULE_FUZZ."""
    return number * FACTOR


def register() -> None:
    """Multiply the examples of the tests that name no number themselves."""
    if FACTOR == 1:
        return
    from hypothesis import settings

    settings.register_profile("longer", max_examples=times(100))
    settings.load_profile("longer")
