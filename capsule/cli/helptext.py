"""Help and man pages, written from the grammar table in the layout that runc's users know."""

from __future__ import annotations

from collections.abc import Iterable

from capsule._version import VERSION
from capsule.cli import grammar, nouns

SUMMARY = "Open Container Initiative runtime"
_HELP_OPTION = ("help", ("help", "h"), grammar.FLAG, "", "show help")


def program_help(program: str, extra: Iterable[tuple[str, str]]) -> str:
    """Return the help of the program; `extra` are (name, summary) of commands outside the grammar."""
    runtime = _summaries(grammar.COMMANDS) + list(extra)
    engine = [row for part in nouns.ENGINE for row in _summaries(nouns.table(part).COMMANDS)]
    groups = [("COMMANDS", runtime), *([("COMMANDS OF THE ENGINE", engine)] if engine else [])]
    if nouns.NOUNS:
        groups.append(("MORE COMMANDS BY NOUN", [(noun, nouns.table(noun).SUMMARY) for noun in nouns.NOUNS]))
    return (
        f"NAME:\n   {program} - {SUMMARY}\n\n"
        f"USAGE:\n   {program} [global options] command [command options] [arguments...]\n\n"
        f"VERSION:\n   {VERSION}\n\n"
        + "".join(f"{title}:\n{_columns(rows)}\n" for title, rows in groups)
        + f"GLOBAL OPTIONS:\n{_columns(_option_rows(grammar.GLOBAL_OPTIONS))}"
    )


def noun_help(program: str, noun: str, table) -> str:
    """Return the help of a noun: its commands."""
    rows = [(", ".join([name, *[alias for alias, verb in table.ALIASES.items() if verb == name]]), summary)
            for name, summary in _summaries(table.COMMANDS)]
    return (
        f"NAME:\n   {program} {noun} - {table.SUMMARY}\n\n"
        f"USAGE:\n   {program} {noun} command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{_columns(rows)}"
    )


def every_command() -> list[tuple]:
    """List all commands that help knows."""
    tables = [grammar, *[nouns.table(part) for part in (*nouns.ENGINE, *nouns.NOUNS)]]
    return [command for table in tables for command in table.COMMANDS]


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
    title = program if command is None else f"{program}-{command[0].replace(' ', '-')}"
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
        lines += [".SH COMMANDS", *_references(program, every_command())]
    return "\n".join(lines) + "\n"


def noun_man_page(program: str, noun: str, table) -> str:
    """Return the man page of a noun: where its commands have theirs."""
    title = f"{program}-{noun}"
    lines = [
        f'.TH "{_roff(title.upper())}" 8 "" "capsule {VERSION}"',
        ".SH NAME", f"{_roff(title)} \\- {_roff(table.SUMMARY)}",
        ".SH SYNOPSIS", f".B {_roff(f'{program} {noun}')}", "command [options] [arguments...]",
        ".SH COMMANDS", *_references(program, table.COMMANDS),
    ]
    for alias, verb in table.ALIASES.items():
        lines += [".TP", f".B {_roff(alias)}", f"the same as {_roff(verb)}"]
    return "\n".join(lines) + "\n"


def _references(program: str, commands: Iterable[tuple]) -> list[str]:
    """Return the lines of a man page that name commands' own pages."""
    lines = []
    for command in commands:
        page = f"{program}-{command[0].replace(' ', '-')}"
        lines += [".TP", f".BR {_roff(page)} (8)", _roff(command[5])]
    return lines


def _summaries(commands: Iterable[tuple]) -> list[tuple[str, str]]:
    return [(command[0].rpartition(" ")[2], command[5]) for command in commands]


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
