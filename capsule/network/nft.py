"""The one caller of nft: a transaction of JSON commands, or a listing. man 8 nft, libnftables-json(5)."""

from __future__ import annotations

import posix

from capsule._ext import json
from capsule.errors import NetworkError, Unsupported
from capsule.linux import program

_PLACES = ("/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft")
_ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
_TIMEOUT_MS = 30_000
_LISTING_MAX = 64 << 20  # bytes of rules that are read back


class Refused(NetworkError):
    """nft said no; nothing has changed. `cause` has its first words."""


def find() -> str:
    """Return the path of nft. Raises Unsupported: to be asked before anything is made."""
    for path in _PLACES:
        if posix.access(path, posix.X_OK):
            return path
    raise Unsupported("network driver", "bridge", "the program nft is not installed (package nftables)")


def apply(operation: str, subject: str, commands: list[dict]) -> None:
    """Carry out commands, all or none. Raises Refused, NetworkError, Unsupported."""
    if not commands:
        return
    status, output = _run(["-j", "-f", "-"], json.dumps({"nftables": commands}))
    if status:
        raise Refused(operation, subject, f"nft: {_first_words(output)}")


def ruleset() -> list[dict]:
    """Return every object of every table, as nft lists them. Raises NetworkError, Unsupported."""
    return _list("ruleset")


def has_table(family: str, name: str) -> bool:
    """Tell whether this network namespace has a table. Raises NetworkError, Unsupported."""
    return any([entry.get("table", {}).get("family") == family and entry["table"]["name"] == name
                for entry in _list("tables")])


def _list(what: str) -> list[dict]:
    status, output = _run(["-j", "list", what], b"")
    if status:
        raise NetworkError("list", "firewall rules", _first_words(output))
    try:
        listed = json.loads(output)["nftables"]  # type: ignore[index]
    except (ValueError, KeyError, TypeError) as err:
        raise NetworkError("list", "firewall rules", "nft's answer is not the JSON that it should be") from err
    return [entry for entry in listed if "metainfo" not in entry]


def _run(args: list[str], stdin: bytes) -> tuple[int, bytes]:
    path = find()
    try:
        return program.run(path, ["nft", *args], _ENVIRONMENT, stdin=stdin, timeout_ms=_TIMEOUT_MS, keep=_LISTING_MAX)
    except program.TimedOut as err:
        raise NetworkError("run", "nft", f"no answer within {_TIMEOUT_MS // 1000} s") from err
    except OSError as err:
        raise NetworkError("run", path, errno=err.errno) from err


def _first_words(output: bytes) -> str:
    for line in output.decode("utf-8", "replace").split("\n"):
        if "Error: " in line:
            return line.partition("Error: ")[2].strip().lower()
    return output.decode("utf-8", "replace").strip().partition("\n")[0] or "it failed without a word"
