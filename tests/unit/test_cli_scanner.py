"""The hot path's reader: what it understands, and that it understands nothing by halves."""

import shlex
from pathlib import Path

import pytest

from capsule.cli import grammar
from capsule.cli.scanner import scan

CORPUS = Path(__file__).parents[1] / "data" / "argv"


def command_lines(name):
    """Return the argument lists of one corpus file; an empty line is an empty command line."""
    lines = (CORPUS / name).read_text().splitlines()
    return [shlex.split(line) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("argv", command_lines("engines.txt") + command_lines("people.txt"), ids=shlex.join)
def test_scanner_reads_every_plain_call(argv):
    assert scan(argv) is not None


@pytest.mark.parametrize("argv", command_lines("refused.txt"), ids=shlex.join)
def test_scanner_leaves_everything_else(argv):
    assert scan(argv) is None


def test_engine_create_is_read_field_by_field():
    invocation = scan(
        shlex.split("--root /r --log /l --log-format json create --bundle /b --pid-file /p --console-socket /s cafe")
    )

    assert invocation.command == "create"
    assert invocation.positionals == ["cafe"]
    assert invocation.globals == {
        "root": "/r", "log": "/l", "log_format": "json", "debug": False, "systemd_cgroup": False, "rootless": "",
        "cgroup_manager": "", "criu": "", "version": False,
    }
    assert invocation.options == {
        "bundle": "/b", "console_socket": "/s", "pidfd_socket": "", "pid_file": "/p", "no_pivot": False,
        "no_new_keyring": False, "preserve_fds": 0, "detach": False, "network": [], "publish": [],
        "publish_all": False, "ip": [], "ip6": [],
        "mac_address": "", "network_alias": [], "hostname": "", "add_host": [], "dns": [],
    }


def test_exec_options_end_at_the_container_id():
    invocation = scan(["exec", "-t", "id", "ls", "-t", "--", "--cwd"])

    assert invocation.options["tty"] is True
    assert invocation.options["cwd"] == ""
    assert invocation.positionals == ["id", "ls", "-t", "--", "--cwd"]


def test_double_dash_before_the_id_ends_options():
    assert scan(["run", "--", "-d"]).positionals == ["-d"]


def test_single_dash_long_options_are_accepted_as_in_go():
    assert scan(["run", "-bundle=/b", "id"]).options["bundle"] == "/b"


def test_a_value_may_begin_with_a_dash():
    assert scan(["run", "--bundle", "-d", "id"]).options == scan(["run", "--bundle=-d", "id"]).options


def test_the_last_of_a_repeated_option_wins():
    assert scan(["run", "-b", "/a", "-b", "/b", "id"]).options["bundle"] == "/b"


def test_lists_do_not_leak_between_two_scans():
    scan(["exec", "-e", "A=1", "id", "env"])

    assert scan(["exec", "id", "env"]).options["env"] == []


@pytest.mark.parametrize("command", grammar.COMMANDS + grammar.HIDDEN_COMMANDS, ids=lambda command: command[0])
def test_every_command_has_distinct_option_names_and_a_module(command):
    options = command[6]
    names = [name for option in options for name in option[1]]

    assert len(names) == len(set(names))
    assert len({option[0] for option in options}) == len(options)
    assert (Path(grammar.__file__).parent / f"{command[1]}.py").is_file()
