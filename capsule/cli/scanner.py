"""The hot path's reader of the grammar: exact, silent, and quick to say "not mine".

Whatever it does not understand completely (help, wrong usage, other commands) it leaves to `front`,
which reads the same table through click and has the words for it.
"""

from __future__ import annotations

from capsule.cli import grammar


class Invocation:
    """One understood command line. Every option of the command is present, absent ones with their default."""

    __slots__ = ("command", "globals", "options", "positionals")

    def __init__(self, command: str, global_values: dict, options: dict, positionals: list) -> None:
        self.command = command
        self.globals = global_values
        self.options = options
        self.positionals = positionals


def scan(argv: list) -> Invocation | None:
    """Read a command line without its program name; None where anything about it is not plain."""
    global_values = grammar.defaults(grammar.GLOBAL_OPTIONS)
    words: list = []
    at = _read(argv, 0, grammar.GLOBAL_OPTIONS, global_values, False, words)
    if at < 0:
        return None
    if global_values["version"]:
        return Invocation("version", global_values, {}, [])
    if not words:
        return None
    command, at = grammar.find_verb(words[0]), 1
    if command is None:
        command, at = _find_linked(words)
    if command is None:
        return None
    name, _module, (least, most), mixed, _arguments, _summary, options = command
    values = grammar.defaults(options)
    positionals: list = []
    if _read(words, at, options, values, mixed, positionals) < 0:
        return None
    if not grammar.is_enough(len(positionals), least, values) or (most >= 0 and len(positionals) > most):
        return None
    return Invocation(name, global_values, values, positionals)


def _find_linked(words: list) -> tuple:
    """Return (command, index behind its words) of a command for people, None where the launcher does not have it."""
    from capsule.cli import nouns

    command, at = nouns.find(words[0]), 1
    if command is None and len(words) > 1:
        command, at = nouns.find(f"{words[0]} {words[1]}"), 2
    return (command if command is not None and command[0] in nouns.LINKED else None), at


def _read(argv: list, at: int, options: tuple, values: dict, mixed: bool, positionals: list) -> int:
    """Read options into `values` and the rest into `positionals`; -1 at the first word that is not known."""
    while at < len(argv):
        word = argv[at]
        if word == "--":
            positionals.extend(argv[at + 1 :])
            return len(argv)
        if len(word) < 2 or word[0] != "-":
            if not mixed:
                positionals.extend(argv[at:])
                return len(argv)
            positionals.append(word)
            at += 1
            continue
        at = _read_option(argv, at, options, values)
        if at < 0:
            return -1
    return at


def _read_option(argv: list, at: int, options: tuple, values: dict) -> int:
    """Read the option at `at`; return the index behind it, -1 if it is unknown or its value is wrong."""
    word = argv[at][2:] if argv[at].startswith("--") else argv[at][1:]
    name, has_value, value = word.partition("=")
    option = grammar.find_option(options, name)
    if option is None:
        flags = grammar.find_flags(options, word) if argv[at][1] != "-" else []
        if len(flags) < len(word):
            return -1
        for each in flags:
            values[each[0]] = True
        return at + 1
    key, _names, kind, _metavar, _help = option
    if kind == grammar.FLAG:
        flag = grammar.read_flag(value) if has_value else True
        if flag is None:
            return -1
        values[key] = flag
        return at + 1
    if not has_value:
        at += 1
        if at == len(argv):
            return -1
        value = argv[at]
    return at + 1 if _store(values, key, kind, value) else -1


def _store(values: dict, key: str, kind: str, value: str) -> bool:
    """Put one value where its kind wants it."""
    if kind == grammar.TEXT:
        values[key] = value
    elif kind == grammar.TEXTS:
        values[key].append(value)
    else:
        number = grammar.read_number(value)
        if number is None:
            return False
        if kind == grammar.NUMBER:
            values[key] = number
        else:
            values[key].append(number)
    return True
