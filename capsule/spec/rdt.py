"""`linux.intelRdt`: what schema.py cannot say. runtime-spec config-linux.md#intel-rdt."""

from __future__ import annotations

from capsule.spec.check import problem, quote

_RESERVED = ("info", "mon_data", "mon_groups")  # the kernel's own directories


def check_rdt(tree: dict) -> dict:
    """Refuse names and schemata that are none; closID becomes the name of a directory."""
    name = tree.get("closID")
    if name and name != "/" and ("/" in name or "\n" in name or name in (".", "..") or name in _RESERVED):
        cause = f'expected "/" or a name without slashes that is not "." or "..", got {quote(name)}'
        if name in _RESERVED:
            cause = f"{quote(name)} is a directory of the kernel's own"
        raise problem("linux.intelRdt.closID", cause)
    for key in ("l3CacheSchema", "memBwSchema"):
        for line in tree.get(key, "").split("\n"):
            _check_line(line, f"linux.intelRdt.{key}")
    if "\n" in tree.get("memBwSchema", "").strip():
        raise problem("linux.intelRdt.memBwSchema", "expected one line")
    for index, line in enumerate(tree.get("schemata", [])):
        where = f"linux.intelRdt.schemata[{index}]"
        if not line.strip() or "\n" in line:
            raise problem(where, "expected one line such as L3:0=ff;1=ff")
        _check_line(line, where)
    return tree


def _check_line(line: str, where: str) -> None:
    resource, colon, rest = line.strip().partition(":")
    if line.strip() and not (resource and colon and "=" in rest):
        raise problem(where, f"expected a line such as L3:0=ff;1=ff, got {quote(line)}")
