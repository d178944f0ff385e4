"""The commands for people, beyond an OCI runtime's: nouns with commands of their own, and the engine's verbs.

A noun's table is the module of its name here: `SUMMARY`, `ALIASES` (further name to command) and `COMMANDS`, tuples
as in grammar.py whose name is the full one ("network create"); `HIDDEN`, if there are any, those that are not for
people. `ENGINE` lists modules of the same form whose commands stand beside the runtime's. Nothing of this is loaded for
a command of the runtime.

The scanner runs only the commands of `LINKED`, whose modules the launcher has; the others it leaves to the front.
"""

from __future__ import annotations

NOUNS: tuple[str, ...] = ("image", "network", "volume", "system")
ENGINE: tuple[str, ...] = ("sandbox", "life", "containers", "making", "port")
LINKED: frozenset[str] = frozenset({
    "image run", "network connect", "network disconnect", "sandbox", "_sandbox",
    "logs", "stop", "restart", "wait", "rm", "port",
})


def table(noun: str):
    """Import the table of a noun, or of a part of the engine."""
    return __import__("capsule.cli.nouns." + noun, None, None, ("COMMANDS",))


def find(name: str) -> tuple | None:
    """Return the command tuple of a full name or of an alias of it, None if there is none."""
    noun, has_verb, verb = name.partition(" ")
    if has_verb:
        return _find_in(noun, f"{noun} ", verb) if noun in NOUNS else None
    for part in ENGINE:
        command = _find_in(part, "", name)
        if command is not None:
            return command
    return None


def names(part: str) -> list[str]:
    """List the words that reach the commands of a table, aliases last."""
    return [command[0].rpartition(" ")[2] for command in table(part).COMMANDS] + list(table(part).ALIASES)


def _find_in(part: str, prefix: str, verb: str) -> tuple | None:
    tables = table(part)
    full = prefix + tables.ALIASES.get(verb, verb)
    for command in (*tables.COMMANDS, *getattr(tables, "HIDDEN", ())):
        if command[0] == full:
            return command
    return None
