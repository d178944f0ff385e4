"""Check a JSON tree against rules: types, ranges, required words; names what was expected and got.

A rule is a tuple that begins with one of the kinds below; schema.py has the rules. The result of a check is a
new tree with the specification's own key names, without unknown keys and without nulls: keys match exactly or,
as Go's decoder does, in any case; a null counts as absent.
"""

from __future__ import annotations

from capsule.errors import SpecError

STRING = 0  # (STRING,)
BOOL = 1  # (BOOL,)
INT = 2  # (INT, lowest, highest)
WORD = 3  # (WORD, words)
OBJECT = 4  # (OBJECT, {key: rule})
LIST = 5  # (LIST, rule of an element)
MAP = 6  # (MAP, rule of a value): keys are data

# The place of a value is a chain of (outer place, key or index), rendered only for an error.


def path_of(place: tuple | None) -> str:
    """Render a place as `process.rlimits[0].type`; keys that are no words are quoted."""
    parts: list[str] = []
    while place is not None:
        place, key = place
        if type(key) is int:
            parts.append(f"[{key}]")
        elif key.replace("_", "a").replace("-", "a").isalnum() and key.isascii():
            parts.append(f".{key}")
        else:
            parts.append(f"[{quote(key)}]")
    parts.reverse()
    return "".join(parts).removeprefix(".")


def quote(text: str) -> str:
    """Quote a string for a one-line message, shortened where it is long."""
    if len(text) > 64:
        text = text[:61] + "..."
    escaped = "".join([c if c >= " " and c != "\x7f" else f"\\x{ord(c):02x}" for c in text])
    return f'"{escaped}"'


def describe(value: object) -> str:
    """Say what a JSON value is."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else repr(value)


def problem(path: str, cause: str) -> SpecError:
    """Make the error for a path; load.py renames it for other documents."""
    return SpecError("config.json", path, cause)


def expected(place: tuple | None, wanted: str, value: object) -> SpecError:
    """Make the error for a value of the wrong kind."""
    return problem(path_of(place), f"expected {wanted}, got {describe(value)}")


def check(value: object, rule: tuple, place: tuple | None):  # the rule decides the type
    """Return the checked form of a value. Raises SpecError."""
    kind = rule[0]
    if kind == STRING:
        if type(value) is not str:
            raise expected(place, "a string", value)
        return value
    if kind == INT:
        # bool is an int to Python: true must not pass as uid 1. A float is never an integer here.
        if type(value) is not int or not rule[1] <= value <= rule[2]:
            raise expected(place, f"an integer from {rule[1]} to {rule[2]}", value)
        return value
    if kind == LIST:
        return _check_list(value, rule[1], place)
    if kind == OBJECT:
        return _check_object(value, rule[1], place)
    if kind == BOOL:
        if type(value) is not bool:
            raise expected(place, "true or false", value)
        return value
    if kind == WORD:
        if type(value) is not str or value not in rule[1]:
            raise expected(place, "one of " + ", ".join([word for word in rule[1] if word]), value)
        return value
    return _check_map(value, rule[1], place)


def _check_list(value: object, rule: tuple, place: tuple | None) -> list:
    if type(value) is not list:
        raise expected(place, "an array", value)
    if rule[0] == STRING:
        for index, item in enumerate(value):
            if type(item) is not str:
                raise expected((place, index), "a string", item)
        return value
    return [check(item, rule, (place, index)) for index, item in enumerate(value)]


def _check_map(value: object, rule: tuple, place: tuple | None) -> dict:
    if type(value) is not dict:
        raise expected(place, "an object", value)
    result = {}
    for key, item in value.items():
        if item is not None:
            result[key] = check(item, rule, (place, key))
    return result


def _check_object(value: object, fields: dict, place: tuple | None) -> dict:
    if type(value) is not dict:
        raise expected(place, "an object", value)
    result = {}
    for key, item in value.items():
        rule = fields.get(key)
        if rule is None:
            key = _fold(key, fields, value, place)
            if not key:
                continue
            rule = fields[key]
        if item is not None:
            item = check(item, rule, (place, key))
            if item is not None:
                result[key] = item
    return result


def _fold(key: str, fields: dict, value: dict, place: tuple | None) -> str:
    """Return the field that a key means when case is ignored, or "".

    Two spellings of one field are refused: decoders disagree about which of them counts.
    """
    lower = key.lower()
    for name in fields:
        if name.lower() == lower:
            if sum(other.lower() == lower for other in value) > 1:
                raise problem(path_of(place), f"{quote(key)} is given twice, in different case")
            return name
    return ""


def absolute(path: str, where: str) -> str:
    """Return the path if it is absolute."""
    if not path.startswith("/"):
        raise problem(where, f"expected an absolute path, got {quote(path)}")
    return path


def required(tree: dict, key: str, where: str):  # the schema has decided the type
    """Return a member that must be there and, if a string, not be empty."""
    value = tree.get(key)
    if value is None or value == "":
        raise problem(f"{where}.{key}" if where else key, "is required")
    return value
