"""The engine's verbs about the life of a container, and what it says."""

from __future__ import annotations

from capsule.cli.grammar import FLAG, TEXT, TEXTS

SUMMARY = "containers of the engine"
ALIASES: dict[str, str] = {"log": "logs"}

_NAMES = "<container...>"
_EVERY = ("every", ("all", "a"), FLAG, "", "every container of the engine")
_FILTER = ("filter", ("filter",), TEXTS, "KEY=VALUE", "with --all: only those; as of ps")
_TIME = ("time", ("time", "t", "timeout"), TEXT, "SECONDS", "how long before KILL (default: the container's own)")

COMMANDS = (
    (
        "logs", "cmd_logs", (1, 1), True, "<container>", "print what a container has said",
        (
            ("follow", ("follow", "f"), FLAG, "", "go on until the container ends"),
            ("tail", ("tail", "n"), TEXT, "N", "only the last N lines"),
            ("since", ("since",), TEXT, "TIME", "only what was said at TIME or later"),
            ("until", ("until",), TEXT, "TIME", "only what was said before TIME"),
            ("timestamps", ("timestamps", "t"), FLAG, "", "put the time before each line"),
            ("exec", ("exec",), TEXT, "ID", "not built: exec keeps no log"),
        ),
    ),
    ("stop", "cmd_life", (1, -1), True, _NAMES, "end containers: their stop signal, then KILL",
     (_TIME, _EVERY, _FILTER, ("for_reboot", ("for-reboot",), FLAG, "", "they are to start again with the machine"))),
    ("restart", "cmd_life", (1, -1), True, _NAMES, "stop containers that run, and start them",
     (_TIME, _EVERY, _FILTER)),
    ("wait", "cmd_life", (1, -1), True, _NAMES, "wait for the end of containers and print their exit statuses", ()),
    (
        "rm", "cmd_life", (1, -1), True, _NAMES, "remove containers of the engine",
        (
            ("force", ("force", "f"), FLAG, "", "kill them first; fine when there is none"),
            ("volumes", ("volumes", "v"), FLAG, "", "with their volumes without a name"),
            _EVERY, _FILTER,
        ),
    ),
    (
        "attach", "cmd_attach", (1, 1), True, "<container>", "take part in a container: its output, and our input",
        (
            ("no_stdin", ("no-stdin",), FLAG, "", "give it no input"),
            ("detach_keys", ("detach-keys",), TEXT, "KEYS", "keys that detach a terminal (ctrl-p,ctrl-q)"),
        ),
    ),
)
