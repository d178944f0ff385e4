"""Fixtures of the tests that run in every world of control groups: here, and in the guests of make test-vm."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import world
from helpers.bundle import Bundle
from helpers.ordinary import mapped
from helpers.runtime import Runtime

#: These ask for what the guests have and this machine need not: every controller, a manager of the user.
collect_ignore = [] if os.environ.get("CAPSULE_VM") else ["test_matrix.py", "test_podman.py"]


class Disk(NamedTuple):
    """A block device that root may read unless device rules forbid it."""

    path: str
    major: int
    minor: int


@pytest.fixture(scope="session")
def disk() -> Disk:
    """Give the guest's disk for tests (CAPSULE_TEST_DISK), or a disk of this machine: it is only read."""
    named = os.environ.get("CAPSULE_TEST_DISK", "")
    if not named:
        found = [name for name in sorted(os.listdir("/sys/block")) if Path("/dev", name).is_block_device()
                 and int(Path("/sys/block", name, "size").read_text(encoding="ascii"))]
        if not found:
            pytest.skip("no block device with anything on it")
        named = f"/dev/{found[0]}"
    number = os.stat(named).st_rdev
    return Disk(named, os.major(number), os.minor(number))


@pytest.fixture
def driven(capsule: Runtime) -> Callable[[str], Runtime]:
    """Give a maker of the runtime under test with a driver of control groups."""
    def choose(driver: str) -> Runtime:
        if driver == "systemd":
            capsule.argv.append("--systemd-cgroup")
            if world.user() != "root":
                # The user manager is found by it, and calls of the kit have no environment but PATH.
                capsule.argv[:0] = ["env", f"XDG_RUNTIME_DIR={os.environ['XDG_RUNTIME_DIR']}"]
        return capsule
    return choose


@pytest.fixture
def placed(bundle: Callable[..., Bundle]) -> Callable[[str], Bundle]:
    """Give a maker of bundles whose cgroup is where the user may have one."""
    def make(driver: str) -> Bundle:
        box = bundle(["/payload", "pause"])
        box.linux.pop("resources", None)
        root = world.user() == "root"
        if driver == "systemd":
            box.linux["cgroupsPath"] = f"{'system' if root else 'user'}.slice:capsule:{box.id}"
        elif root:
            box.linux["cgroupsPath"] = f"/{box.id}-cg/leaf"
        if not root:
            mapped(box, [(0, os.getuid(), 1)])
        return box
    return make


@pytest.fixture
def kernel_says(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Give a way to tell the report what the kernel says; pytest's record_property warns beside a junit file."""
    def say(words: str) -> None:
        request.node.user_properties.append(("kernel", words))
    return say
