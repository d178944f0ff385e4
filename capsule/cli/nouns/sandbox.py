"""The table of `sandbox`: any command of this machine in a container over it."""

from __future__ import annotations

from capsule.cli.grammar import FLAG, TEXT, TEXTS

SUMMARY = "run a command of this machine in a container over it"
ALIASES: dict[str, str] = {}
#: What stands where a command to run would: for completion.
WORDS = ("apply", "discard", "kept")

_OF_THE_RUN = (
    ("rw", ("rw",), TEXTS, "DIR", "let it change DIR of the machine itself"),
    ("ro", ("ro",), TEXTS, "DIR", "show it DIR, which is hidden otherwise"),
    ("net", ("net",), TEXT, "NAME", "join a network of this host (default: none)"),
    ("memory", ("memory", "m"), TEXT, "SIZE", "memory limit, such as 512m"),
    ("cpus", ("cpus",), TEXT, "N", "CPU time per time, such as 1.5"),
    ("timeout", ("timeout",), TEXT, "SECONDS", "end it after so long, with exit status 124"),
    ("env", ("env", "e"), TEXTS, "NAME[=VALUE]", "set or pass an environment variable"),
)

COMMANDS = (
    (
        "sandbox", "cmd_sandbox", (1, -1), False,
        "[--] <command> [arguments...] | apply <id> | discard <id> | kept [id]",
        "run a command of this machine where it can harm nothing",
        (
            *_OF_THE_RUN,
            ("diff", ("diff",), FLAG, "", "print what it changed: A(dded), C(hanged), D(eleted)"),
            ("keep", ("keep",), FLAG, "", "keep the changes for `sandbox apply`; prints their id"),
            ("json", ("json",), FLAG, "", "end with a line of JSON on standard error: status, reason, times, memory"),
        ),
    ),
)

# What `sandbox` starts when something remains to be done at its end: the run itself, its layers in a directory.
HIDDEN = (("_sandbox", "cmd_sandbox", (2, -1), False, "<directory> <command> [arguments...]", "run it", _OF_THE_RUN),)
