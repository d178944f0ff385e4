"""Log records: a level and a message, handed to the one sink that the program configured.

Nothing here opens, formats or prints: the command line's sink is `capsule.cli.output`, the library has none
until its user sets one, and without a sink a record is dropped. And what may be shown of strangers' words.
"""

from __future__ import annotations

_sink = None
_debug = False


def is_control(char: str) -> bool:
    """Tell whether a terminal would take a character for a command: C0, DEL and C1 (ECMA-48)."""
    return char < " " or "\x7f" <= char <= "\x9f"


def plain(text: str) -> str:
    """Return an image's or a container's text as part of one line, without what could drive a terminal."""
    if text.isprintable():
        return text
    return "".join(["?" if is_control(char) else char for char in text])


def configure(sink, *, debug: bool = False) -> None:
    """Send records to `sink(level, message)`, None to drop them; `debug` lets debug records pass."""
    global _sink, _debug
    _sink = sink
    _debug = debug


def is_debug() -> bool:
    """Tell whether a debug record would be seen; ask before building an expensive one."""
    return _debug and _sink is not None


def debug(message: str) -> None:
    """Record a step."""
    if _debug and _sink is not None:
        _sink("debug", message)


def info(message: str) -> None:
    """Record something done."""
    if _sink is not None:
        _sink("info", message)


def warning(message: str) -> None:
    """Record something done less well than asked."""
    if _sink is not None:
        _sink("warning", message)


def error(message: str) -> None:
    """Record a failure; only the command line does, once."""
    if _sink is not None:
        _sink("error", message)
