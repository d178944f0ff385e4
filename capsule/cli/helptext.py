"""Help and man pages, written from the grammar table in the layout that runc's users know."""

from __future__ import annotations

from collections.abc import Iterable

from capsule._version import VERSION
from capsule.cli import grammar

SUMMARY = "Open Container Initiative runtime"
_HELP_OPTION = ("help", ("help", "h"), grammar.FLAG, "", "show help")


def program_help(program: str, extra: Iterable[tuple[str, str]]) -> str:
    """Return the help of the program; `extra` are (name, summary) of commands outside the grammar."""
    commands = [(command[0], command[5]) for command in grammar.COMMANDS] + list(extra)
    return (
        f"NAME:\n   {program} - {SUMMARY}\n\n"
        f"USAGE:\n   {program} [global options] command [command options] [arguments...]\n\n"
        f"VERSION:\n   {VERSION}\n\n"
        f"COMMANDS:\n{_columns(commands)}\n"
        f"GLOBAL OPTIONS:\n{_columns(_option_rows(grammar.GLOBAL_OPTIONS))}"
    )


def command_help(program: str, command: tuple) -> str:
    """Return the help of one command."""
    name, _module, _arity, _mixed, arguments, summary, options = command
    return (
        f"NAME:\n   {program} {name} - {summary}\n\n"
        f"USAGE:\n   {program} {name} [command options] {arguments}".rstrip()
        + f"\n\nOPTIONS:\n{_columns(_option_rows(options))}"
    )


def man_page(program: str, command: tuple | None) -> str:
    """Return a man page as roff (man 7 man): of one command, or of the program."""
    title = program if command is None else f"{program}-{command[0]}"
    summary = SUMMARY if command is None else command[5]
    usage = "[global options] command [arguments...]" if command is None else f"[options] {command[4]}"
    name = program if command is None else f"{program} {command[0]}"
    lines = [
        f'.TH "{_roff(title.upper())}" 8 "" "capsule {VERSION}"',
        ".SH NAME", f"{_roff(title)} \\- {_roff(summary)}",
        ".SH SYNOPSIS", f".B {_roff(name)}", _roff(usage),
        ".SH OPTIONS",
    ]
    for names, text in _option_rows(grammar.GLOBAL_OPTIONS if command is None else command[6]):
        lines += [".TP", f".B {_roff(names)}", _roff(text)]
    if command is None:
        lines.append(".SH COMMANDS")
        for each in grammar.COMMANDS:
            lines += [".TP", f".BR {_roff(program)}\\-{each[0]} (8)", _roff(each[5])]
    return "\n".join(lines) + "\n"


def _option_rows(options: tuple) -> list[tuple[str, str]]:
    rows = []
    for _key, names, _kind, metavar, text in (*options, _HELP_OPTION):
        words = [("--" if len(name) > 1 else "-") + name + (f" {metavar}" if metavar else "") for name in names]
        rows.append((", ".join(words), text))
    return rows


def _columns(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _right in rows)
    return "".join(f"   {left:<{width}}  {right}\n" for left, right in rows)


def _roff(text: str) -> str:
    """Protect what roff would read as its own: the escape character, hyphens, a leading dot or quote."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
