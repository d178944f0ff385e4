"""The host that each test of networks has to itself."""

from __future__ import annotations

import subprocess

import pytest
from helpers.requires import binary, variant

from .kit import World


def _world(workdir, argv):
    path = workdir / "net"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True)
    (workdir / "calls").mkdir(exist_ok=True)
    return World(argv, workdir / "state", workdir / "calls", path)


def _end(made, workdir):
    try:
        made.clean()
        names = made.network("list", "--quiet").out.split()
        for name in names:
            assert made.leases(name) == {}, f"leases of {name} are left"
        if names:
            made.network("delete", *names)
        assert made.links() == {}, "links are left"
    finally:
        subprocess.run(["umount", workdir / "net"], check=True)


@pytest.fixture
def world(workdir, leaks):
    """Give a host with the runtime under test; what is left on it at the end fails the test."""
    made = _world(workdir, binary())
    yield made
    _end(made, workdir)


@pytest.fixture
def stopping(workdir, leaks):
    """Give a host with the build that has stop points."""
    made = _world(workdir, [str(variant("stop"))])
    yield made
    _end(made, workdir)
