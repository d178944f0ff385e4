"""The library's networks. The test's process goes into a network namespace of its own for as long as a test takes."""

from __future__ import annotations

import os
import subprocess

import pytest
from helpers.requires import requires

import capsule as library

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip")


@pytest.fixture
def root(workdir):
    """Give a root of networks, in a network namespace with nothing but `lo`."""
    path = workdir / "net"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(there)
        yield str(workdir / "state")
    finally:
        setns(home)
        os.close(home)
        os.close(there)
        subprocess.run(["umount", path], check=True)


def setns(fd: int) -> None:
    import ctypes

    assert ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) == 0


def test_a_network_from_create_to_delete(root, capsule, bundle):
    network = library.Network.create("blue", root=root, subnets=["10.5.0.0/24"])
    assert (network.name, network.driver, list(library.Network.list(root=root))) == ("blue", "bridge", ["blue"])
    assert network.ipam().allocatable() == 253
    box = bundle(["/payload", "pause"])
    capsule.start_container(box, "--network", "none")
    endpoint = network.connect(box.id, ip=["10.5.0.9"], aliases=["db"])
    assert (endpoint.container, endpoint.addresses, endpoint.interface) == (box.id, ["10.5.0.9/24"], "eth0")
    assert [each.mac for each in network.endpoints()] == ["02:ca:0a:05:00:09"]
    with pytest.raises(library.StateError, match="it is in use"):
        network.delete()
    assert network.disconnect(box.id) and not network.disconnect(box.id)
    network.reload()
    network.delete()
    with pytest.raises(library.NotFound, match='network "blue" does not exist'):
        library.Network.load("blue", root=root)


def test_a_driver_is_found_by_its_name():
    from capsule.network import driver

    assert [driver.find(name).name for name in driver.names()] == ["bridge", "macvlan"]
    assert all(isinstance(driver.find(name), library.NetworkDriver) for name in ("none", "host", "container", "ns"))
