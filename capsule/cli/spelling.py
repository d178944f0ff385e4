"""Go's spelling of options turned into click's, so that both readers of the grammar read the same words alike.

Go takes `-name` and `--name` for every name and `=VALUE` for flags; click does not. Not on the hot path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click

from capsule.cli import grammar, nouns

_HELP = ("h", "help")
#: What other engines call it.
_ELSEWHERE = {"images": "image list", "rmi": "image delete", "volumes": "volume list", "networks": "network list",
              "info": "doctor", "unpause": "resume", "container": "ps"}


def elsewhere(name: str) -> str:
    """Return the command that does what other engines, or a noun here, call so; "" if there is none."""
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    return next((f"{noun} {name}" for noun in nouns.NOUNS if nouns.find(f"{noun} {name}") is not None), "")


def to_click(ctx: click.Context, argv: list[str], options: tuple, *, mixed: bool) -> list[str]:
    """Rewrite each option as `--long` or `--long=VALUE`.

    Raises click.UsageError for an unknown option, a missing value and a flag's value that is no truth value.
    """
    words: list[str] = []
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--" or (not mixed and not _is_option(word)):
            return words + argv[at:]
        at += 1
        if not _is_option(word):
            words.append(word)
            continue
        name, has_value, value = (word[2:] if word.startswith("--") else word[1:]).partition("=")
        option = grammar.find_option(options, name)
        flags = grammar.find_flags(options, name) if option is None and not word.startswith("--") else []
        if flags and len(flags) == len(name) and not has_value:
            words += [f"--{flag[1][0]}" for flag in flags]
        elif option is None:
            if name not in _HELP:
                raise click.UsageError(f"flag provided but not defined: -{name}{_hint(name, options)}", ctx)
            words.append("--help")
        elif option[2] == grammar.FLAG:
            _add_flag(ctx, words, option, value=value if has_value else "true", given=name)
        else:
            if not has_value:
                if at == len(argv):
                    raise click.UsageError(f"flag needs an argument: -{name}", ctx)
                value = argv[at]
                at += 1
            words.append(f"--{option[1][0]}={value}")
    return words


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the one of `words` that a slip of the finger turns into `word`, "" if there is none."""
    return next(iter(difflib.get_close_matches(word, words, n=1)), "")


def _hint(name: str, options: tuple) -> str:
    """Tell what an unknown option may have been meant to be, "" if nothing is like it."""
    if grammar.find_option(grammar.GLOBAL_OPTIONS, name):
        return " (a global option: it stands before the command)"
    found = nearest(name, [each for option in options for each in option[1] if len(each) > 1])
    return f" (did you mean --{found}?)" if found else ""


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-")


def _add_flag(ctx: click.Context, words: list[str], option: tuple, *, value: str, given: str) -> None:
    """Add a flag that is set; take it out again where its last word says false."""
    flag = grammar.read_flag(value)
    if flag is None:
        raise click.UsageError(f'invalid boolean value "{value}" for -{given}: parse error', ctx)
    long = f"--{option[1][0]}"
    if flag:
        words.append(long)
    else:
        words[:] = [word for word in words if word != long]
