"""systemd for the tests of its driver: the machine's own where it is PID 1, else one in namespaces, for v1 and v2."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import requires, systemd_box
from helpers.runtime import Runtime
from helpers.systemd_box import Box


@pytest.fixture(scope="session", params=["v1", "v2"])
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """Give a running systemd; a machine that has one has it in one of the layouts."""
    if "systemd" in requires.forced() or not requires.lacking("systemd"):
        if not systemd_box.is_host():
            with systemd_box.start(request.param) as started:
                yield started
            return
        layout = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
        if layout == request.param:
            yield Box(layout, [])
            return
    pytest.skip(f"no systemd with cgroups {request.param}")


@pytest.fixture
def capsule(box: Box, workdir: Path, leaks: object) -> Iterator[Runtime]:
    """Give the runtime with --systemd-cgroup, beside the units of that systemd."""
    yield from _runtime(box, workdir, requires.binary())


@pytest.fixture
def stopping(box: Box, workdir: Path, leaks: object) -> Iterator[Runtime]:
    """Give the build with stop points, on the same state root."""
    yield from _runtime(box, workdir, [str(requires.variant("stop"))])


def _runtime(box: Box, workdir: Path, binary: list[str]) -> Iterator[Runtime]:
    calls = workdir / f"calls-{Path(binary[0]).name}"
    calls.mkdir()
    program = shutil.which(binary[0]) or binary[0]
    runtime = Runtime([*box.prefix, program, *binary[1:], "--systemd-cgroup"], workdir / "state", calls)
    yield runtime
    runtime.clean()
    assert not runtime.states_left()
    ours = ("ct[0-9]*", "capsule-ct[0-9]*")
    units = box.run("systemctl", "list-units", "--all", "--plain", "--no-legend", *ours).split()
    assert not units, f"left: {units}"
