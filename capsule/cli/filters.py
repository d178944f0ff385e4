"""`--filter KEY=VALUE`, repeatable: values of one key are alternatives, but for labels; all keys must fit."""

from __future__ import annotations

from capsule.bundle import life
from capsule.errors import CapsuleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Match = Callable[[dict, str], bool]


STATES = (life.CREATED, life.RUNNING, life.PAUSED, life.RESTARTING, life.EXITED, life.REMOVING, "stopped")
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")  # Go's
_BOOLEANS = ("dangling", "should-start-on-boot")
_NUMBERS = ("exited",)
#: Keys whose values are among a few words: a misspelled one would fit nothing, or what is not meant.
_WORDS = {"status": STATES, "health": ("starting", "healthy", "unhealthy", "none"),
          "restart-policy": ("no", "on-failure", "always", "unless-stopped")}


def choose(operation: str, texts: list, keys: dict, rows: list) -> list:
    """Return the rows that fit. `keys`: what can be asked for -> whether a row has a value of it.

    A value of a key that is true or false is "true" or "false". Raises CapsuleError for another key, or value.
    """
    wanted = pairs(operation, texts, list(keys))
    return [row for row in rows if all([_fits(row, key, values, keys[key]) for key, values in wanted.items()])]


def _fits(row: dict, key: str, values: list, match: Match) -> bool:
    if key == "label":
        return all([match(row, value) for value in values])
    return any([match(row, value) for value in values])


def pairs(operation: str, texts: list, keys: list) -> dict:
    """Return the values of each key that is asked for. Raises CapsuleError for another key than `keys`, or value."""
    wanted: dict = {}
    for text in texts:
        key, has_value, value = text.partition("=")
        if key not in keys or not has_value:
            raise CapsuleError(operation, f"--filter {text}", f"expected one of {'=, '.join(keys)}=")
        wanted.setdefault(key, []).append(_checked(operation, key, value))
    return wanted


def _checked(operation: str, key: str, value: str) -> str:
    expected = ""
    if key in _BOOLEANS:
        if value in _TRUE or value in _FALSE:
            return "true" if value in _TRUE else "false"
        expected = "true or false"
    elif key in _NUMBERS and not (value.isascii() and value.isdigit()):
        expected = "a number"
    elif value not in _WORDS.get(key, (value,)):
        expected = f"one of {', '.join(_WORDS[key])}"
    if expected:
        raise CapsuleError(operation, f"--filter {key}={value}", f"expected {expected}")
    return value


def has_label(labels: dict, text: str) -> bool:
    """Tell whether there is a label: `NAME`, or `NAME=VALUE`."""
    name, has_value, wanted = text.partition("=")
    return name in labels and (not has_value or labels[name] == wanted)
