"""capsule port: what is published of a container."""

from __future__ import annotations

SUMMARY = "published ports"
ALIASES: dict[str, str] = {}
COMMANDS = (
    ("port", "cmd_port", (1, 2), True, "<container-id> [port[/protocol]]", "print a container's published ports", ()),
)
