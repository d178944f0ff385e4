"""What a caller changes in a config's process: args, env and cwd of the first process, as the library gives them."""

from __future__ import annotations

from capsule._ext import json
from capsule.errors import SpecError


def change(raw: bytes, given: dict[str, object]) -> bytes:
    """Return the text of a config whose process has the given args, env and cwd; None keeps the config's own.

    Raises SpecError for a config without a process.
    """
    config = json.loads(raw)
    assert isinstance(config, dict)  # load_config has read it
    changes = {name: given[name] for name in ("args", "env", "cwd") if given[name] is not None}
    # Keys are matched as the reader of config.json matches them, regardless of case.
    keys = [key for key in config if key.lower() == "process"]
    if not keys or not isinstance(config[keys[0]], dict):
        raise SpecError("config.json", "process", "there is none to change")
    process = {name: value for name, value in config[keys[0]].items() if name.lower() not in changes}
    process.update(changes)
    config[keys[0]] = process
    return json.dumps(config)
