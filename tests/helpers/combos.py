"""The matrix of control groups: hierarchy x controller x driver x user; each is proven, or why the kernel forbids it.

A test says with @combo(...) what it proves. In a world that it is not about it is deselected. Results go to the file
that CAPSULE_COMBOS names; vagrant/test-vm merges those of all worlds.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from . import world

combo = pytest.mark.combo

CONTROLLERS = {
    "v1": ("cpu", "cpuset", "memory", "blkio", "pids", "hugetlb", "devices", "freezer", "net_cls", "net_prio", "rdma"),
    "v2": ("cpu", "cpuset", "memory", "io", "pids", "hugetlb", "devices", "freezer", "rdma"),
}
DRIVERS = ("cgroupfs", "systemd")
USERS = ("root", "rootless")
KEYS = ("hierarchy", "controller", "driver", "user")


def matrix() -> list[tuple[str, str, str, str]]:
    """Return every combination that the report must name, in its order."""
    return [(version, *row) for version, names in CONTROLLERS.items()
            for row in itertools.product(names, DRIVERS, USERS)]


def _about(mark: pytest.Mark) -> dict[str, str]:
    unknown = set(mark.kwargs) - set(KEYS)
    assert not unknown and not mark.args, f"combo takes {KEYS}"
    return {"hierarchy": world.hierarchy(), "user": world.user(), **mark.kwargs}


def fits(item: pytest.Item) -> bool:
    """Tell whether what a test is about can be found on this machine."""
    return all(about["hierarchy"] == world.hierarchy() and about["user"] == world.user()
               and about["driver"] in world.drivers() for about in map(_about, item.iter_markers("combo")))


class Collector:
    """The plugin that writes results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[dict[str, Any]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Any:
        report = yield
        if report.when == "call" or report.outcome != "passed":
            words = dict(item.user_properties)
            for mark in item.iter_markers("combo"):
                self._rows.append({**_about(mark), "outcome": report.outcome, "test": item.nodeid,
                                   "kernel": words.get("kernel", "")})
        return report

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self._rows, indent=1), encoding="utf-8")


def register(config: pytest.Config) -> None:
    """Start collecting where CAPSULE_COMBOS names a file."""
    if os.environ.get("CAPSULE_COMBOS"):
        config.pluginmanager.register(Collector(Path(os.environ["CAPSULE_COMBOS"])))
