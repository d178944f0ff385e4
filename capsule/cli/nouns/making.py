"""build and commit beside the runtime's commands, where people look for them: the same as below `image`."""

from __future__ import annotations

from capsule.cli.nouns import image

SUMMARY = "making images"
ALIASES: dict[str, str] = {}
COMMANDS = tuple([(command[0].rpartition(" ")[2], *command[1:]) for command in image.COMMANDS
                  if command[0] in ("image build", "image commit")])
