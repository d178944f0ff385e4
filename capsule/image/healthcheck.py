"""HEALTHCHECK of a Dockerfile → `Healthcheck` of an image's configuration, as Docker has it: times in nanoseconds."""

from __future__ import annotations

from capsule.errors import ImageError
from capsule.image import instructions
from capsule.linux import durations

FLAGS = ("interval", "timeout", "start-period", "start-interval", "retries")
_TIMES = (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"),
          ("start-interval", "StartInterval"))
_LEAST_NS = 1_000_000  # Docker's


def parse(flags: dict[str, str], rest: str) -> dict:
    """Read the flags and what follows them. Raises ImageError."""
    word, _, command = rest.partition(" ")
    if word.upper() == "NONE":
        if command.strip() or flags:
            raise ImageError("read", "HEALTHCHECK NONE", "nothing else may stand there")
        return {"Test": ["NONE"]}
    command = command.strip()
    if word.upper() != "CMD" or not command:
        raise ImageError("read", f"HEALTHCHECK {rest[:40]}", "expected CMD and a command, or NONE")
    found: dict = {"Test": ["CMD", *instructions.json_words(command, command)] if command.startswith("[")
                   else ["CMD-SHELL", command]}
    for flag, key in _TIMES:
        if flag in flags:
            value = durations.nanoseconds(flags[flag])
            if value is None or 0 < value < _LEAST_NS:
                raise ImageError("read", f"--{flag}={flags[flag]}", "expected a duration such as 30s, of 1ms at least")
            found[key] = value
    if "retries" in flags:
        text = flags["retries"]
        if not (text.isascii() and text.isdigit()) or len(text) > 6:
            raise ImageError("read", f"--retries={text}", "expected a number")
        found["Retries"] = int(text)
    return found
