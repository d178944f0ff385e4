"""Durations as Go writes them, whose words people and images use."""

from __future__ import annotations

_DIGITS = "0123456789"
_UNITS_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000,
             "m": 60_000_000_000, "h": 3_600_000_000_000}
_MOST = (1 << 63) - 1


def nanoseconds(text: str) -> int | None:
    """Read 5s, 100ms, 1m30s, 1.5h or 0; returns nanoseconds, None for what is no duration."""
    if text == "0":
        return 0
    total = 0
    rest = text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip(_DIGITS + "."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµμmsh"))]
        rest = rest[len(unit) :]
        whole, _, fraction = number.partition(".")
        digits = whole + fraction
        if unit not in _UNITS_NS or not digits or len(digits) > 20 or digits.strip(_DIGITS):
            return None
        # Cython's `**` is a float's.
        total += int(digits) * _UNITS_NS[unit] // int("1" + "0" * len(fraction))
    return None if not text or total > _MOST else total
