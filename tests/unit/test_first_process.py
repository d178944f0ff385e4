"""What the library changes in a config's process before it is created."""

import json

import pytest

from capsule.errors import SpecError
from capsule.spec import first_process

NOTHING = {"args": None, "env": None, "cwd": None}


def change(config, **given):
    return json.loads(first_process.change(json.dumps(config).encode(), {**NOTHING, **given}))


def test_what_is_given_replaces_and_the_rest_stays():
    config = {"hostname": "box", "process": {"args": ["sh"], "cwd": "/", "env": ["A=1"], "user": {"uid": 1}}}
    assert change(config, args=["ls"], env=[]) == {
        "hostname": "box", "process": {"args": ["ls"], "cwd": "/", "env": [], "user": {"uid": 1}}}


def test_keys_are_found_as_the_reader_finds_them():
    assert change({"Process": {"ARGS": ["sh"], "Cwd": "/"}}, args=["ls"]) == {"Process": {"Cwd": "/", "args": ["ls"]}}


@pytest.mark.parametrize("config", [{}, {"process": None}])
def test_a_config_without_a_process_is_refused(config):
    with pytest.raises(SpecError, match="^config.json process: there is none to change$"):
        change(config, args=["ls"])
