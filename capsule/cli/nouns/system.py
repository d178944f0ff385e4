"""The table of `capsule system`."""

from __future__ import annotations

from capsule.cli.grammar import FLAG, TEXT

SUMMARY = "what capsule keeps on this machine"
ALIASES: dict = {}

COMMANDS = (
    (
        "system df", "cmd_system_room", (0, 0), True, "", "tell what takes room on the disk",
        (("verbose", ("verbose", "v"), FLAG, "", "name each of them"), ("json", ("json",), FLAG, "", "print JSON"),
         ("format", ("format",), TEXT, "FORMAT", "table (default) or json")),
    ),
    (
        "system prune", "cmd_system_room", (0, 0), True, "",
        "remove images without a name, the steps of builds, and what a crash has left",
        (
            ("all", ("all", "a"), FLAG, "", "also images that have names and no container"),
            ("volumes", ("volumes",), FLAG, "", "also anonymous volumes that no container has"),
            ("force", ("force", "f"), FLAG, "", "accepted; nothing is asked"),
        ),
    ),
    (
        "system check", "cmd_system_check", (0, 0), True, "", "look whether what is kept is whole",
        (
            ("fix", ("fix",), FLAG, "", "repair what can be repaired; give up what cannot"),
            ("deep", ("deep",), FLAG, "", "read every blob and compare its digest"),
            ("json", ("json",), FLAG, "", "print JSON"),
        ),
    ),
)
