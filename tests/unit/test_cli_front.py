"""The full reader: it agrees with the scanner on every plain call and has words for the rest."""

import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from test_cli_scanner import command_lines

import capsule
from capsule.cli import front, grammar, helptext, nouns
from capsule.cli.scanner import scan

TREE = Path(capsule.__file__).parents[1]


@pytest.mark.parametrize("argv", command_lines("engines.txt") + command_lines("people.txt"), ids=shlex.join)
def test_both_readers_read_the_same(argv):
    scanned = scan(argv)
    parsed = front.parse("capsule", argv)

    assert (parsed.command, parsed.globals, parsed.options, parsed.positionals) == (
        scanned.command, scanned.globals, scanned.options, scanned.positionals,
    )


@pytest.mark.parametrize("argv", command_lines("refused.txt"), ids=shlex.join)
def test_neither_reader_performs_what_is_wrong(argv, capsys):
    try:
        parsed = front.parse("capsule", argv)
    except click.UsageError:
        return
    assert parsed == 0
    assert capsys.readouterr().out.startswith("NAME:\n")


@pytest.mark.parametrize("command", [command[0] for command in grammar.COMMANDS])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_a_command_begins_as_scripts_expect(command, flag, capsys):
    assert front.main(["/usr/bin/runc", command, flag]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NAME:"
    assert lines[1].startswith(f"   runc {command} - ")


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["help"], ["h"]], ids=shlex.join)
def test_help_of_the_program_names_every_command(argv, capsys):
    assert front.main(["capsule", *argv]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == ["NAME:", "   capsule - Open Container Initiative runtime"]
    for command in grammar.COMMANDS:
        assert f"\n   {command[0]} " in out
    assert "_serve" not in out


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["foo"], 3, "No help topic for 'foo'"),
        (["foo", "-h"], 3, "No help topic for 'foo'"),
        (["help", "foo"], 3, "No help topic for 'foo'"),
        (["pull", "box"], 3, "No help topic for 'pull' (did you mean image pull?)"),
        (["images"], 3, "No help topic for 'images' (did you mean image list?)"),
        (["creat", "id"], 3, "No help topic for 'creat' (did you mean create?)"),
        (["create", "--bundel", ".", "id"], 1, "flag provided but not defined: -bundel (did you mean --bundle?)"),
        (["--rot", "/r", "list"], 1, "flag provided but not defined: -rot (did you mean --root?)"),
        (["list", "--root", "/r"], 1, "not defined: -root (a global option: it stands before the command)"),
        (["state"], 1, 'capsule: \\"state\\" requires exactly 1 argument(s)'),
        (["kill"], 1, 'capsule: \\"kill\\" requires a minimum of 1 argument(s)'),
        (["kill", "id", "TERM", "more"], 1, 'capsule: \\"kill\\" requires a maximum of 2 argument(s)'),
        (["create", "--nosuch", "id"], 1, "flag provided but not defined: -nosuch"),
        (["--log"], 1, "flag needs an argument: -log"),
        (["kill", "--all=maybe", "id"], 1, 'invalid boolean value \\"maybe\\" for -all: parse error'),
        (["create", "--preserve-fds", "x", "id"], 1, "'x' is not a number"),
    ],
)
def test_wrong_usage_is_explained_and_recorded(argv, status, message, capfd):
    assert front.main(["capsule", *argv]) == status
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(("argv", "status", "message"), [
    (["help"], 1, "write standard output: no space left on device"),
    (["list", "--bogus"], 1, "flag provided but not defined: -bogus"),
    (["list", "--format=json"], 1, "write standard output: no space left on device"),
])
def test_output_that_cannot_be_written_is_one_line(argv, status, message):
    program = "import sys; from capsule.cli.front import main; sys.exit(main(sys.argv))"
    words = [sys.executable, "-c", program, *argv]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(words, cwd=TREE, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert (done.returncode, done.stderr.count("\n")) == (status, 1)
    assert message in done.stderr


def test_wrong_usage_reaches_the_log_file(tmp_path, capfd):
    path = tmp_path / "log"

    assert front.main(["capsule", "--log", str(path), "--log-format", "json", "state"]) == 1
    assert '"level":"error","msg":"capsule: \\"state\\" requires exactly 1 argument(s)"' in path.read_text()
    assert capfd.readouterr().err == 'capsule: "state" requires exactly 1 argument(s)\n'


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell, capsys):
    assert front.main(["capsule", "completion", shell]) == 0
    assert front.COMPLETION_VARIABLE in capsys.readouterr().out


def test_completion_of_a_word_offers_commands(capsys, monkeypatch):
    monkeypatch.setenv("COMP_WORDS", "capsule st")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv(front.COMPLETION_VARIABLE, "bash_complete")
    with pytest.raises(SystemExit):
        front.main(["capsule"])

    assert capsys.readouterr().out.split() == ["plain,start", "plain,state", "plain,stats", "plain,stop"]


def test_completion_of_an_option_offers_the_commands_options(capsys, monkeypatch):
    monkeypatch.setenv("COMP_WORDS", "capsule run --no-p")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv(front.COMPLETION_VARIABLE, "bash_complete")
    with pytest.raises(SystemExit):
        front.main(["capsule"])

    assert capsys.readouterr().out.split() == ["plain,--no-pivot"]


@pytest.mark.parametrize("argv", [["man"], ["man", "exec"]], ids=shlex.join)
def test_man_prints_roff(argv, capsys):
    assert front.main(["capsule", *argv]) == 0
    assert capsys.readouterr().out.startswith('.TH "CAPSULE')


def test_a_python_without_click_hands_over_to_one_that_has_it():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from capsule.cli.main import main; main([b'capsule', b'-h'])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(TREE)], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("NAME:\n   capsule - ")


def test_the_hot_path_imports_no_click_and_none_of_the_slow_modules():
    program = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "from capsule.cli import main, cmd_version\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('capsule')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(TREE)], capture_output=True, text=True, check=True
    )

    assert set(done.stdout.split()) <= {"__future__", "posix", "errno", "time", "_cython_3_3_1", "cython_runtime"}


def test_the_page_names_every_command_and_every_option_of_the_built_ones():
    page = (TREE / "docs" / "cli.md").read_text()
    for command in helptext.every_command():
        assert f"`{command[0]}`" in page or f"### {command[0]}\n" in page
    built = [command for command in helptext.every_command() if command[1] != "cmd_unbuilt"]
    for option in [*grammar.GLOBAL_OPTIONS, *[option for command in built for option in command[6]]]:
        assert f"`--{option[1][0]}" in page


def test_the_page_groups_commands_as_the_help_does():
    groups: dict[str, str] = {}
    at = ""
    for line in (TREE / "docs" / "cli.md").read_text().splitlines():
        if line.startswith("## "):
            at = line[3:]
        elif line.startswith("### "):
            groups[line[4:]] = at
    for title, tables in (("Commands", [grammar]), ("Commands of the engine", map(nouns.table, nouns.ENGINE)),
                          ("More commands by noun", map(nouns.table, nouns.NOUNS))):
        assert f"\n{title.upper()}:\n" in helptext.program_help("capsule", [])
        for command in [command for table in tables for command in table.COMMANDS]:
            assert groups.get(command[0], title) == title
