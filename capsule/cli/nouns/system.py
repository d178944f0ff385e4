"""The table of `capsule system`."""

from __future__ import annotations

from capsule.cli.grammar import FLAG

SUMMARY = "what capsule keeps on this machine"
ALIASES: dict = {}

COMMANDS = (
    (
        "system check", "cmd_system_check", (0, 0), True, "", "look whether what is kept is whole",
        (
            ("fix", ("fix",), FLAG, "", "repair what can be repaired; give up what cannot"),
            ("deep", ("deep",), FLAG, "", "read every blob and compare its digest"),
            ("json", ("json",), FLAG, "", "print JSON"),
        ),
    ),
)
