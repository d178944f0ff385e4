"""Times on the command line that limit how long something may run."""

from __future__ import annotations

from capsule.errors import CapsuleError


def milliseconds(command: str, option: str, text: str) -> int:
    """Return the milliseconds of a number of seconds. Raises CapsuleError."""
    seconds, dot, fraction = text.partition(".")
    digits = seconds + fraction
    if not (digits.isascii() and digits.isdigit()) or len(seconds) > 7 or (dot and not fraction):
        raise CapsuleError(command, f"{option} {text}", "expected seconds, such as 30 or 2.5")
    result = int(seconds or "0") * 1000 + int((fraction + "000")[:3])
    if not 0 < result < 1 << 31:
        raise CapsuleError(command, f"{option} {text}", "expected more than 0 and less than 2147483 seconds")
    return result
