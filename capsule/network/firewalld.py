"""firewalld beside us: it rejects what comes over an interface that no zone has, whatever our own chains say.

Where its table is in this network namespace, the bridge of a network is in its zone `trusted`: in what it runs with,
not in its permanent configuration. A reload of it forgets that; `network reload` and `network check --fix` tell it
again. man 1 firewall-cmd; docs/decisions/0011-firewalld.md.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule.errors import CapsuleError, NetworkError
from capsule.linux import program
from capsule.network import nft

_PLACES = ("/usr/bin/firewall-cmd", "/bin/firewall-cmd", "/usr/local/bin/firewall-cmd")
_ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
_TIMEOUT_MS = 30_000
_ZONE = "trusted"


def trust(record: dict) -> None:
    """Have firewalld let a network through, if it is here. What it refuses is a warning: there may be a reason."""
    try:
        if is_here():
            put(record["bridge"])
    except CapsuleError as err:
        log.warning(f"network {record['name']}: {err}")


def forget(record: dict) -> None:
    """Take back what `trust` did. Never fails: a bridge that is no more is no way in."""
    try:
        if is_here():
            _ask(f"--remove-interface={record['bridge']}")
    except CapsuleError as err:
        log.debug(f"network {record['name']}: {err}")


def is_here() -> bool:
    """Tell whether its rules are in this network namespace. Raises NetworkError, Unsupported."""
    return nft.has_table("inet", "firewalld")


def put(bridge: str) -> None:
    """Put a bridge into the zone. Raises NetworkError."""
    _ask(f"--add-interface={bridge}")


def rejected(bridges: list[str]) -> list[str]:
    """Return the bridges that it does not let through. Raises NetworkError, Unsupported."""
    if not bridges or not is_here():
        return []
    trusted = _ask("--list-interfaces").split()
    return [name for name in bridges if name not in trusted]


def _ask(word: str) -> str:
    """Ask firewalld about the zone; returns what it says. Raises NetworkError."""
    path = next((path for path in _PLACES if posix.access(path, posix.X_OK)), "")
    if not path:
        raise NetworkError("ask", "firewalld", "it filters here, and the program firewall-cmd is not installed")
    try:
        status, output = program.run(path, ["firewall-cmd", f"--zone={_ZONE}", word], _ENVIRONMENT, stdin=b"",
                                     timeout_ms=_TIMEOUT_MS)
    except program.TimedOut as err:
        raise NetworkError("ask", "firewalld", f"no answer within {_TIMEOUT_MS // 1000} s") from err
    except OSError as err:
        raise NetworkError("run", path, errno=err.errno) from err
    text = output.decode("utf-8", "replace").strip()
    if status:
        raise NetworkError("ask firewalld to", f"{word.strip('-')} in zone {_ZONE}", text.partition("\n")[0])
    return text
