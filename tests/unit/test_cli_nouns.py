"""Nouns with commands of their own, and the engine's verbs beside the runtime's: both readers, help, wrong usage."""

import sys
import types

import click
import pytest

from capsule.cli import front, grammar, nouns
from capsule.cli.scanner import scan

OPTIONS = (("driver", ("driver", "d"), grammar.TEXT, "NAME", "how it is built"),)


@pytest.fixture(autouse=True)
def sample(monkeypatch):
    """A noun `net` with a linked and an unlinked command, and an engine verb `box` with an alias."""
    tables = {
        "net": ({"ls": "list"}, (
            ("net create", "cmd_net", (1, 1), True, "<name>", "make one", OPTIONS),
            ("net list", "cmd_net", (0, 0), True, "", "list them", ()),
        )),
        "boxes": ({"crate": "box"}, (("box", "cmd_box", (1, -1), False, "<command>", "run it", OPTIONS),)),
    }
    for name, (aliases, commands) in tables.items():
        module = types.ModuleType(name)
        module.SUMMARY, module.ALIASES, module.COMMANDS = f"all about {name}", aliases, commands
        monkeypatch.setitem(sys.modules, f"capsule.cli.nouns.{name}", module)
        monkeypatch.setattr(nouns, name, module, raising=False)
    monkeypatch.setattr(nouns, "NOUNS", ("net",))
    monkeypatch.setattr(nouns, "ENGINE", ("boxes",))
    monkeypatch.setattr(nouns, "LINKED", frozenset({"net create", "box"}))


@pytest.mark.parametrize(("argv", "command", "positionals"), [
    (["net", "create", "-d", "x", "blue"], "net create", ["blue"]),
    (["net", "create", "blue", "--driver=x"], "net create", ["blue"]),
    (["box", "-d", "x", "ls", "-d"], "box", ["ls", "-d"]),
    (["crate", "--driver", "x", "ls", "-d"], "box", ["ls", "-d"]),
])
def test_both_readers_read_a_linked_command_alike(argv, command, positionals):
    for read in (scan(["--root", "/r", *argv]), front.parse("capsule", ["--root", "/r", *argv])):
        assert (read.command, read.positionals, read.options) == (command, positionals, {"driver": "x"})
        assert read.globals["root"] == "/r"


@pytest.mark.parametrize("verb", ["list", "ls"])
def test_what_is_not_linked_is_the_fronts(verb):
    assert scan(["net", verb]) is None
    assert front.parse("capsule", ["net", verb]).command == "net list"


@pytest.mark.parametrize(("argv", "message"), [
    (["net", "creat", "x"], "No help topic for 'net creat' (did you mean net create?)"),
    (["nett", "create", "x"], "No help topic for 'nett' (did you mean net?)"),
    (["boxx"], "No help topic for 'boxx' (did you mean box?)"),
])
def test_a_slip_is_understood(argv, message, capfd):
    assert front.main(["capsule", *argv]) == 3
    assert message in capfd.readouterr().err


def test_too_few_arguments_name_the_whole_command():
    with pytest.raises(click.UsageError, match='"net create" requires exactly 1 argument'):
        front.parse("capsule", ["net", "create"])


@pytest.mark.parametrize("argv", [["net"], ["net", "-h"], ["net", "--help"], ["help", "net"]])
def test_a_noun_alone_tells_its_commands(argv, capsys):
    assert front.main(["capsule", *argv]) == 0
    out = capsys.readouterr().out
    assert out.startswith("NAME:\n   capsule net - all about net\n")
    assert "\n   list, ls  list them\n" in out


@pytest.mark.parametrize("argv", [["net", "create", "-h"], ["help", "net", "create"]])
def test_help_of_a_nouns_command(argv, capsys):
    assert front.main(["capsule", *argv]) == 0
    assert capsys.readouterr().out.startswith("NAME:\n   capsule net create - make one\n")


def test_help_of_the_program_groups_commands(capsys):
    assert front.main(["capsule", "help"]) == 0
    out = capsys.readouterr().out
    assert "\nCOMMANDS OF THE ENGINE:\n   box  run it\n" in out
    assert "\nMORE COMMANDS BY NOUN:\n   net  all about net\n" in out


def test_man_page_of_a_nouns_command(capsys):
    assert front.main(["capsule", "man", "net", "create"]) == 0
    assert capsys.readouterr().out.startswith('.TH "CAPSULE\\-NET\\-CREATE"')


def test_man_page_of_a_noun_names_the_pages_of_its_commands(capsys):
    assert front.main(["capsule", "man", "net"]) == 0
    out = capsys.readouterr().out
    assert out.startswith('.TH "CAPSULE\\-NET"')
    assert ".BR capsule\\-net\\-create (8)\nmake one" in out and ".B ls\nthe same as list" in out
