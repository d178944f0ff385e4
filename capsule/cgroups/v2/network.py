"""Traffic class and priorities: cgroup v2 has neither."""

from __future__ import annotations

from capsule.cgroups.v2 import controllers

CONTROLLER = ""
FILES: tuple = ()
REFUSED = ("classID", "priorities")


def is_given(network: dict) -> bool:
    """Tell whether there is anything to limit: check() lets nothing through."""
    return False


def check(paths: dict[str, str], network: dict, *, update: bool) -> None:
    """Refuse both. Raises Unsupported."""
    for key in REFUSED:
        if network.get(key):
            raise controllers.no_counterpart(f"network.{key}")


def apply(paths: dict[str, str], network: dict) -> None:
    """Do nothing: check() has refused what there is."""
