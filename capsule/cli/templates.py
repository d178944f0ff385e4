"""`--format` as people write it for Docker and podman: `{{.Key.Key}}`, `{{json .Key}}`, in lines or below a title.

It is no template language: a place is a key, or a key as JSON, and everything else is text or an error.
"""

from __future__ import annotations

from capsule import log
from capsule._ext import json
from capsule.cli import output
from capsule.cli.tables import layout
from capsule.errors import CapsuleError

_OPEN, _CLOSE = "{{", "}}"
_TABLE = "table "
_JSON = "json "


def kind(operation: str, text: str) -> str:
    """Return "table", "json" or "template". Raises CapsuleError for what is none of them."""
    if text in ("", "table"):
        return "table"
    if text == "json" or text.replace(" ", "") == "{{json.}}":
        return "json"
    if _OPEN in text:
        _parts(operation, text)
        return "template"
    raise CapsuleError(operation, f"--format {text}", "expected table, json, or text with {{.Key}} in it")


def lines(operation: str, text: str, rows: list, *, exact: bool = False) -> str:
    """Return a line for each row: a dict of str keys. `table {{.A}}\\t{{.B}}` has a line of titles first.

    Unless they are to be exact, values make no lines and drive no terminal: many are a stranger's. JSON is exact.
    Raises CapsuleError for a key that a row has not.
    """
    titled = text.startswith(_TABLE)
    text = text.removeprefix(_TABLE) if titled else text
    text = text.replace("\\t", "\t").replace("\\n", "\n")
    filled = [_fill(operation, text, row, exact) for row in rows]
    if not titled:
        return "".join([line + "\n" for line in filled])
    title = "".join([word.lstrip(".").upper() if is_place else word for is_place, _, word in _parts(operation, text)])
    return layout([line.split("\t") for line in (title, *filled)])


def documents(operation: str, text: str, found: list) -> str:
    """Return documents as a JSON array, or a line for each. Raises CapsuleError."""
    if text in ("", "json"):
        return output.to_json(found, pretty=True).decode("utf-8", "surrogateescape")
    if kind(operation, text) != "template":
        raise CapsuleError(operation, f"--format {text}", "expected json, or text with {{.Key.Key}} in it")
    return lines(operation, text, found, exact=True)


def _fill(operation: str, text: str, document: dict, exact: bool) -> str:
    """Put values in the place of their keys. Raises CapsuleError for a key that is not there."""
    found = []
    for is_place, as_json, word in _parts(operation, text):
        found.append(_value(operation, document, word, as_json, exact) if is_place else word)
    return "".join(found)


def _parts(operation: str, text: str) -> list:
    """Return [(is a place, is wanted as JSON, text or key)]. Raises CapsuleError."""
    found = []
    while _OPEN in text:
        before, _, text = text.partition(_OPEN)
        inside, closed, text = text.partition(_CLOSE)
        word = inside.strip()
        as_json = word.startswith(_JSON)
        if as_json:
            word = word[len(_JSON):].strip()
        if not closed or word != "." and not _is_key(word):
            raise CapsuleError(operation, "--format " + _OPEN + inside + closed,
                               "expected a key such as {{.Name}}, or {{json .Name}}")
        found.append((False, False, before))
        found.append((True, as_json, word))
    found.append((False, False, text))
    return found


def _is_key(word: str) -> bool:
    return word.startswith(".") and word.replace(".", "").replace("_", "").replace("-", "").isalnum()


def _value(operation: str, document: dict, word: str, as_json: bool, exact: bool) -> str:
    at: object = document
    for key in [key for key in word.split(".") if key]:
        at = _look(operation, at, key)
    if as_json or isinstance(at, (dict, list)):
        return json.dumps(at).decode("utf-8", "surrogateescape")
    found = "" if at is None else str(at).lower() if isinstance(at, bool) else str(at)
    return found if exact else log.plain(found)


def _look(operation: str, at: object, key: str) -> object:
    """Return what is under a key; letters of another case will do where there is no such key."""
    if isinstance(at, dict):
        if key in at:
            return at[key]
        for name in at:
            if name.lower() == key.lower():
                return at[name]
        known = ", ".join([name for name in at if isinstance(name, str)])
        raise CapsuleError(operation, "{{." + key + "}}", f"there is no {key}; there is {known}")
    raise CapsuleError(operation, "{{." + key + "}}", f"there is no {key}")
