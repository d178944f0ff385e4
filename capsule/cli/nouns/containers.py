"""The engine's verbs that look at containers and change what they are called; `ps` is the runtime's, without an id."""

from __future__ import annotations

from capsule.cli.grammar import FLAG, TEXT

SUMMARY = "containers, seen from outside"
ALIASES: dict[str, str] = {}

COMMANDS = (
    (
        "inspect", "cmd_inspect", (1, -1), True, "<container|image|network|volume...>",
        "print all that is known of containers, images, networks or volumes, as JSON",
        (
            ("type", ("type",), TEXT, "TYPE", "container, image, network or volume (default: whichever has the name)"),
            ("format", ("format", "f"), TEXT, "FORMAT", "json (default), or text with {{.Key.Key}} in it"),
        ),
    ),
    (
        "top", "cmd_ps", (1, -1), False, "<container> [ps options]", "list the processes of a container",
        (("format", ("format", "f"), TEXT, "FORMAT", "table (default) or json, an array of pids"),),
    ),
    (
        "stats", "cmd_stats", (0, -1), True, "[container...]", "print what containers use, again and again",
        (
            ("no_stream", ("no-stream",), FLAG, "", "once"),
            ("format", ("format",), TEXT, "FORMAT", "table (default) or json, a line each time"),
            ("interval", ("interval", "i"), TEXT, "DURATION", "time between two looks (1s)"),
        ),
    ),
    (
        "cp", "cmd_cp", (2, 2), True, "<source> <target>", "copy files: NAME:PATH is in a container, - a tar",
        (("archive", ("archive", "a"), FLAG, "", "keep owners and all modes"),),
    ),
    ("rename", "cmd_rename", (2, 2), True, "<container> <name>", "give a container of the engine another name", ()),
)
