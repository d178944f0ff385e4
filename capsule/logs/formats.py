"""The two formats of a container's log, as csrc/monitor_log.c writes them, and times as they have them."""

from __future__ import annotations

import time

from capsule._ext import json
from capsule.errors import CapsuleError
from capsule.state.record import format_time

K8S, JSON = "k8s-file", "json-file"
_STREAMS = ("stdout", "stderr")
_NS = 1_000_000_000
_STAMP = "0000-00-00T00:00:00.000000000Z"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Entry:
    """One record: its time (RFC 3339 with nine digits, UTC), the stream, its bytes, whether it ends a line."""

    __slots__ = ("time", "is_error", "data", "whole")

    def __init__(self, stamp: str, is_error: bool, data: bytes, whole: bool) -> None:
        self.time = stamp
        self.is_error = is_error
        self.data = data
        self.whole = whole


def parse(driver: str, line: bytes) -> Entry | None:
    """Read a line of a log, without its newline; None where a crash has left something else."""
    return _parse_json(line) if driver == JSON else _parse_k8s(line)


def _parse_k8s(line: bytes) -> Entry | None:
    words = line.split(b" ", 3)
    if len(words) != 4 or words[2] not in (b"F", b"P"):
        return None
    stream = words[1].decode("ascii", "replace")
    if stream not in _STREAMS or len(words[0]) != len(_STAMP):
        return None
    return Entry(words[0].decode("ascii", "replace"), stream == "stderr", words[3], words[2] == b"F")


def _parse_json(line: bytes) -> Entry | None:
    try:
        tree = json.loads(line)
    except ValueError:
        return None
    if not isinstance(tree, dict):
        return None
    text, stream, stamp = tree.get("log"), tree.get("stream"), tree.get("time")
    if not isinstance(text, str) or stream not in _STREAMS or not isinstance(stamp, str):
        return None
    whole = text.endswith("\n")
    return Entry(stamp, stream == "stderr", text.removesuffix("\n").encode("utf-8", "surrogateescape"), whole)


def stamp_of(option: str, text: str) -> str:
    """Return a moment as records have it: RFC 3339, a date, seconds since 1970, or a time ago such as 10m or 1h30m.

    Raises CapsuleError.
    """
    seconds = _ago(text)
    if seconds is not None:
        return _stamp(time.time_ns() - seconds * _NS)
    number, dot, fraction = text.partition(".")
    if number.isascii() and number.isdigit() and len(number) <= 11 and (not dot or fraction.isdigit()):
        return _stamp(int(number) * _NS + int((fraction + "000000000")[:9]))
    found = _rfc3339(text)
    if found is None:
        raise CapsuleError("logs", f"{option} {text}",
                           "expected 2026-11-30T12:00:00Z, seconds since 1970, or a time ago such as 10m")
    return _stamp(found)


def _ago(text: str) -> int | None:
    total, digits = 0, ""
    for char in text:
        if char.isascii() and char.isdigit():
            digits += char
        elif char in _UNITS and digits:
            total += int(digits) * _UNITS[char]
            digits = ""
        else:
            return None
    return None if digits or not text or total > time.time() else total


def _stamp(time_ns: int) -> str:
    text = format_time(time_ns)
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return f"{seconds}.{(fraction + '000000000')[:9]}Z"


def _rfc3339(text: str) -> int | None:
    """Return nanoseconds since 1970 of a date, perhaps with a time, perhaps with a zone (UTC without one)."""
    date, _, clock = text.replace("t", "T").replace(" ", "T").partition("T")
    numbers = _numbers(date.split("-"), (4, 2, 2))
    clock, offset = _zone(clock)
    clock, _, fraction = clock.partition(".")
    hours = _numbers(clock.split(":"), (2, 2, 2)[: clock.count(":") + 1]) if clock else [0, 0, 0]
    if numbers is None or hours is None or offset is None or (fraction and not fraction.isdigit()):
        return None
    year, month, day = numbers
    hour, minute, second = [*hours, 0, 0, 0][:3]
    if not (1970 <= year and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    seconds = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
    return max(seconds, 0) * _NS + int((fraction + "000000000")[:9])


def _zone(clock: str) -> tuple[str, int | None]:
    """Return (the time without its zone, seconds east of Greenwich); None for what is no zone."""
    if clock.endswith(("Z", "z")):
        return clock[:-1], 0
    if len(clock) > 6 and clock[-6] in "+-" and clock[-3] == ":":
        numbers = _numbers([clock[-5:-3], clock[-2:]], (2, 2))
        if numbers is None:
            return clock, None
        seconds = numbers[0] * 3600 + numbers[1] * 60
        return clock[:-6], -seconds if clock[-6] == "-" else seconds
    return clock, 0


def _numbers(words: list[str], widths: tuple) -> list[int] | None:
    if len(words) != len(widths):
        return None
    for word, width in zip(words, widths, strict=True):
        if len(word) != width or not (word.isascii() and word.isdigit()):
            return None
    return [int(word) for word in words]


def days_since_1970(year: int, month: int, day: int) -> int:
    """Count days of the Gregorian calendar."""
    year -= month <= 2
    of_era = year % 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return year // 400 * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
