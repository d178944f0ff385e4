"""Times of records as people read them. RFC 3339, UTC."""

from __future__ import annotations

_SECOND = 1_000_000_000
_STEPS = (("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400), ("week", 604800), ("month", 2592000),
          ("year", 31536000))
_MONTH_DAYS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


def parse(text: str) -> int | None:
    """Return nanoseconds since 1970 of `2026-11-30T01:02:03.5Z`; None for what is no such time."""
    day, has_time, rest = text.partition("T")
    clock, _, fraction = rest.removesuffix("Z").partition(".")
    words = day.split("-") + clock.split(":")
    if not has_time or len(words) != 6 or not all([word.isascii() and word.isdigit() for word in words]):
        return None
    year, month, date, hours, minutes, seconds = [int(word) for word in words]
    if year < 1970 or not 1 <= month <= 12:
        return None
    leaps = (year - (month <= 2)) // 4 - (year - (month <= 2)) // 100 + (year - (month <= 2)) // 400 - 477
    days = (year - 1970) * 365 + leaps + _MONTH_DAYS[month - 1] + date - 1
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    part = (fraction + "000000000")[:9]
    return whole * _SECOND + (int(part) if part.isdigit() else 0)


def span(nanoseconds: int) -> str:
    """Return a span in its largest unit: `5 seconds`, `1 hour`."""
    seconds = max(nanoseconds // _SECOND, 0)
    name, size = _STEPS[0]
    for step in _STEPS:
        if seconds >= step[1]:
            name, size = step
    count = seconds // size
    return f"{count} {name}{'' if count == 1 else 's'}"
