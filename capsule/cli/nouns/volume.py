"""The table of `capsule volume`: docs/volumes.md."""

from __future__ import annotations

from capsule.cli.grammar import FLAG, TEXT, TEXTS

SUMMARY = "volumes: directories that outlive containers"
ALIASES = {"ls": "list", "rm": "delete", "remove": "delete"}
_MODULE = "cmd_volume"
_FORMAT = ("format", ("format", "f"), TEXT, "FORMAT", "table (default), json, or text with {{.Key}} in it")

COMMANDS = (
    (
        "volume create", _MODULE, (0, 1), True, "[name]", "make a volume; without a name it is anonymous",
        (
            ("label", ("label", "l"), TEXTS, "NAME=VALUE", "note for people"),
            ("opt", ("opt", "o"), TEXTS, "NAME=VALUE", "type=tmpfs, size=BYTES, uid=, gid=, mode=: kept in memory"),
            ("driver", ("driver", "d"), TEXT, "NAME", "local, the only one"),
            ("ignore", ("ignore",), FLAG, "", "fine when there is one of that name"),
        ),
    ),
    (
        "volume list", _MODULE, (0, 0), True, "", "list volumes",
        (_FORMAT, ("quiet", ("quiet", "q"), FLAG, "", "print names only"),
         ("filter", ("filter",), TEXTS, "KEY=VALUE", "name, label, or dangling=true|false")),
    ),
    ("volume inspect", _MODULE, (1, -1), True, "<name...>", "print all that is known of volumes, as JSON",
     (("format", ("format", "f"), TEXT, "FORMAT", "json (default), or text with {{.Key.Key}} in it"),)),
    (
        "volume delete", _MODULE, (1, -1), True, "<name...>", "remove volumes and what is in them",
        (("force", ("force", "f"), FLAG, "", "fine when there is none; one that a container has stays"),),
    ),
    (
        "volume prune", _MODULE, (0, 0), True, "", "remove anonymous volumes that no container has",
        (("all", ("all", "a"), FLAG, "", "also those that have names"),
         ("force", ("force", "f"), FLAG, "", "accepted; nothing is asked")),
    ),
)
