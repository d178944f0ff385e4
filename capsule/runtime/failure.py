"""Keep what a failed verb knows for `capsule why`: after the failure, and never in its way."""

from __future__ import annotations

import errno

from capsule import log
from capsule._ext import seccomp
from capsule.errors import AlreadyExists, CapsuleError, ChildError, HookError, NotFound, errno_text
from capsule.spec.load import read_file
from capsule.state import failures
from capsule.state.ids import is_valid
from capsule.state.store import Store

OUTPUT_MAX = 64 << 10  # bytes of each hook's output, its end


def remember(root: str, id: str, verb: str, error: BaseException, *, bundle: str = "") -> None:
    """Record a failure of a verb on a container; `bundle` where the container may not exist.

    What says nothing about a container is left out: that there is none of that id, or already one.
    """
    if isinstance(error, (NotFound, AlreadyExists)) or not is_valid(id):
        return
    try:
        failures.save(root, id, fields_of(verb, error, *_origin(root, id, bundle)))
    except (OSError, ValueError, CapsuleError) as err:
        log.debug(f"the failure was not recorded: {err}")


def fields_of(verb: str, error: BaseException, bundle: str, config: bytes | None) -> dict:
    """Describe a failure as JSON values; keys without a value are left out."""
    number = getattr(error, "errno", 0) or 0
    fields = {
        "verb": verb,
        "bundle": bundle,
        "config_digest": "blake2b-256:" + seccomp.digest(config).hex() if config is not None else "",
        "step": _step(error),
        "class": type(error).__name__,
        "message": str(error)[:OUTPUT_MAX],  # names in it may be as long as a config
        "errno": number,
        "errno_name": errno.errorcode.get(number, ""),
        "errno_text": errno_text(number) if number else "",
    }
    for key, value in getattr(error, "details", {}).items():
        fields[key] = _bounded(value)
    return {key: value for key, value in fields.items() if value}


def _step(error: BaseException) -> str:
    if isinstance(error, HookError):
        return error.subject
    if isinstance(error, ChildError) and error.step:
        return error.step
    return error.operation if isinstance(error, CapsuleError) else ""


def _bounded(value):
    """Cut long texts to their end, wherever they lie in a value."""
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        return value[-OUTPUT_MAX:]
    if isinstance(value, dict):
        return {str(key): _bounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bounded(item) for item in value]
    return value if isinstance(value, (int, float)) else str(value)[-OUTPUT_MAX:]


def _origin(root: str, id: str, bundle: str) -> tuple[str, bytes | None]:
    """Return the bundle and the config: a container's own if it is there, else what the verb was given."""
    try:
        with Store(root).open(id) as entry:
            record = entry.load()
            return record.bundle, record.config
    except CapsuleError:
        pass
    if not bundle:
        return "", None
    try:
        return bundle, read_file(f"{bundle}/config.json")
    except (CapsuleError, OSError):
        return bundle, None

