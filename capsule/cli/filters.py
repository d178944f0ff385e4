"""`--filter KEY=VALUE`, repeatable: values of one key are alternatives, but for labels; all keys must fit."""

from __future__ import annotations

from capsule.errors import CapsuleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Match = Callable[[dict, str], bool]


def choose(operation: str, texts: list, keys: dict, rows: list) -> list:
    """Return the rows that fit. `keys`: what can be asked for -> whether a row has a value of it.

    Raises CapsuleError for another key.
    """
    wanted = pairs(operation, texts, list(keys))
    return [row for row in rows if all([_fits(row, key, values, keys[key]) for key, values in wanted.items()])]


def _fits(row: dict, key: str, values: list, match: Match) -> bool:
    if key == "label":
        return all([match(row, value) for value in values])
    return any([match(row, value) for value in values])


def pairs(operation: str, texts: list, keys: list) -> dict:
    """Return the values of each key that is asked for. Raises CapsuleError for another key than `keys`."""
    wanted: dict = {}
    for text in texts:
        key, has_value, value = text.partition("=")
        if key not in keys or not has_value:
            raise CapsuleError(operation, f"--filter {text}", f"expected one of {'=, '.join(keys)}=")
        wanted.setdefault(key, []).append(value)
    return wanted


def has_label(labels: dict, text: str) -> bool:
    """Tell whether there is a label: `NAME`, or `NAME=VALUE`."""
    name, has_value, wanted = text.partition("=")
    return name in labels and (not has_value or labels[name] == wanted)
