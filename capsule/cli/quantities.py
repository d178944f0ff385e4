"""Numbers with units as the command line takes them: sizes, durations, counts. runc's words for what is none."""

from __future__ import annotations

from capsule.errors import CapsuleError
from capsule.linux import durations

_DIGITS = "0123456789"
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_U64_MAX = (1 << 64) - 1
_I64_MAX = (1 << 63) - 1


def size(option: str, text: str) -> int:
    """Read bytes: a number, perhaps with a fraction, and K, M, G, T or P (of 1024), KB or KiB; -1 is no limit.

    Raises CapsuleError.
    """
    if text == "-1":
        return -1
    number = text.rstrip("kKmMgGtTpPiIbB ")
    unit = text[len(number) :].lower()
    unit = unit.removeprefix(" ")
    factor = _FACTORS.get(unit[:1], 1)
    if unit not in ("", "b") and unit[1:] not in ("", "b", "i", "ib"):
        raise _invalid_size(option, text)
    whole, dot, fraction = number.partition(".")
    if not _is_digits(whole) or (dot and not _is_digits(fraction)):
        raise _invalid_size(option, text)
    value = int(whole + fraction) * factor // _scale(fraction)
    if value > _I64_MAX:
        raise _invalid_size(option, text)
    return value


def limit(option: str, text: str) -> int:
    """Read a limit in bytes as people give it: 0, as -1, is none and reads as 0. Raises CapsuleError."""
    return max(size(option, text), 0)


def cpus(command: str, text: str) -> int:
    """Return the CFS quota of a number of processors, in microseconds of a period of 100 ms. Raises CapsuleError."""
    whole, _, fraction = text.partition(".")
    quota = int(float(text) * 100_000) if _is_digits(whole + fraction) and len(text) <= 8 else 0
    if quota < 1000:
        raise CapsuleError(command, f"--cpus {text}", "expected a number of at least 0.01, such as 1.5")
    return quota


def unsigned(option: str, text: str) -> int:
    """Read a number from 0 to 2^64-1. Raises CapsuleError."""
    if not _is_digits(text) or int(text) > _U64_MAX:
        raise CapsuleError(f"invalid value for {option}", "", f"expected a number from 0 to {_U64_MAX}, got {text!r}")
    return int(text)


def signed(option: str, text: str) -> int:
    """Read a number of 64 bits that may be negative. Raises CapsuleError."""
    digits = text.removeprefix("-")
    if not _is_digits(digits) or not -_I64_MAX - 1 <= int(text) <= _I64_MAX:
        raise CapsuleError(f"invalid value for {option}", "", f"expected a number of 64 bits, got {text!r}")
    return int(text)


def duration_ns(option: str, text: str) -> int:
    """Read a duration as Go writes it: 5s, 100ms, 1m30s, 1.5h; returns nanoseconds.

    Raises CapsuleError.
    """
    found = durations.nanoseconds(text)
    if found is None:
        raise CapsuleError(f"invalid value for {option}", "", f"expected a duration such as 5s or 100ms, got {text!r}")
    return found


def _is_digits(text: str) -> bool:
    return text != "" and len(text) <= 20 and not text.strip(_DIGITS)


def _scale(fraction: str) -> int:
    """Return what a number was multiplied by when its fraction was written behind it; Cython's `**` is a float's."""
    return int("1" + "0" * len(fraction))


def _invalid_size(option: str, text: str) -> CapsuleError:
    return CapsuleError(f"invalid value for {option}", "", f"invalid size: '{text}'")
