"""What people name (networks, volumes): what a name may be, and the JSON object that is the record of one."""

from __future__ import annotations

from capsule._ext import json
from capsule.errors import CapsuleError, CorruptRecord

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def is_valid(name: str, longest: int) -> bool:
    """Tell whether a name is letters, digits and, after the first, _ . - (at most `longest`)."""
    return 0 < len(name) <= longest and name[0] in _LETTERS and not name.strip(_LETTERS + "_.-")


def check_name(what: str, name: str, longest: int, error: type[CapsuleError]) -> None:
    """Refuse what is no name of a `what`. Raises `error`."""
    if not is_valid(name, longest):
        raise error(f"invalid {what} name", repr(name),
                    f"expected at most {longest} letters, digits, _ . and -, the first a letter or digit")


def parse(operation: str, name: str, data: bytes, *, version: int, keys: tuple = ()) -> dict:
    """Read a record of at most this schema version; `keys` are (name, type) each of what must be in it.

    A "name" in `keys` must be the record's own: a file that was copied is no record. Raises CorruptRecord.
    """
    try:
        record = json.loads(data)
    except ValueError as err:
        raise CorruptRecord(operation, name, str(err)) from err
    if not isinstance(record, dict):
        raise CorruptRecord(operation, name, "it is not an object")
    found = record.get("schema_version")
    if type(found) is not int or found > version:
        raise CorruptRecord(operation, name, f"its schema version is {found}, this capsule knows {version}")
    for key, kind in keys:
        if type(record.get(key)) is not kind:
            raise CorruptRecord(operation, name, f"its {key} is missing or no {kind.__name__}")
        if key == "name" and record["name"] != name:
            raise CorruptRecord(operation, name, f"it is the record of {record['name']!r}")
    return record
