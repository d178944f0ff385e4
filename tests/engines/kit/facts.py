"""Readers of what the payload's probe finds."""

from __future__ import annotations

CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
                "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18,
                "SYS_ADMIN": 21, "SYS_TIME": 25, "SETFCAP": 31}


def capability_mask(*names: str) -> int:
    """Return the set of the capabilities named, as /proc/PID/status has it."""
    return sum(1 << CAPABILITIES[name] for name in names)


def field_of_mount(facts: dict, point: str, number: int) -> str:
    """Return a field of the uppermost mount of a point in the container's mountinfo (man 5 proc)."""
    return [line.split() for line in facts["mountinfo"].splitlines() if line.split()[4] == point][-1][number]
