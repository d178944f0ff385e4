"""The library's networks. The test's process goes into a network namespace of its own for as long as a test takes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
from helpers.requires import requires

import capsule as library

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip")
CLONE_NEWNET = 0x40000000


@pytest.fixture
def root(workdir):
    """Give a root of networks, in a network namespace with nothing but `lo`."""
    # A descriptor alone holds it: it goes with this process, however that ends.
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        yield str(workdir / "state")
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


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


def test_a_container_is_made_in_networks(root, bundle):
    """What `--network` and its like are for the command line, `create` of the factory takes."""
    factory = library.Factory(root)
    for name, subnet in (("blue", "10.5.0.0/24"), ("red", "10.6.0.0/24")):
        library.Network.create(name, root=root, subnets=[subnet])
    box = bundle(["/payload", "pause"])
    box.write()
    wish = {"network": "blue", "ip": ["10.5.0.9"], "aliases": ("db",), "interface": "net0"}
    container = factory.create(box.id, bundle=box.path, networks=[wish, "red"], ports=["18090:80"], hostname="web",
                               add_hosts=["far:192.0.2.7"], dns=["192.0.2.53"])
    container.run(library.Process(detach=True))
    blue, red = container.endpoints()
    assert (blue.addresses, blue.interface, blue.aliases) == (["10.5.0.9/24"], "net0", ["db"])
    assert (red.addresses, red.ports, blue.ports[0]["host_port"]) == (["10.6.0.2/24"], [], 18090)
    files = {name: (Path(root) / box.id / name).read_text() for name in ("hosts", "hostname")}
    assert "10.5.0.9\tweb" in files["hosts"] and "192.0.2.7\tfar" in files["hosts"]
    assert files["hostname"] == "web\n"
    container.destroy(force=True)
    for name in ("blue", "red"):
        assert library.Network.load(name, root=root).endpoints() == []
        library.Network.load(name, root=root).delete()


@pytest.mark.parametrize(("given", "words"), [
    ({"ports": ["8080:80"]}, "the container joins no network"),
    ({"networks": ["none"], "ports": ["80"]}, "the container joins no network"),
    ({"networks": [{"network": "blue", "address": "10.5.0.9"}]}, "expected a mapping with the keys"),
    ({"networks": [{"ip": ["10.5.0.9"]}]}, "expected a mapping with the keys"),
    ({"networks": [{"network": "blue", "ip": "10.5.0.9"}]}, "its ip is no list of texts"),
    ({"networks": [{"network": "blue", "aliases": ["a\nb"]}]}, "invalid network alias"),
    ({"networks": [{"network": "blue"}, "host"]}, "no second network"),
    ({"networks": ["blue", "blue"]}, "it is named twice"),
    ({"hostname": "a b"}, "invalid host name"),
    ({"add_hosts": ["a"]}, "expected NAME:ADDRESS"),
    ({"dns": ["here"]}, "it is not an IP address"),
])
def test_what_cannot_be_meant_is_refused_by_the_factory(tmp_path, bundle, given, words):
    box = bundle(["/payload", "pause"])
    box.write()
    with pytest.raises(library.NetworkError, match=words):
        library.Factory(tmp_path).create(box.id, bundle=box.path, **given)
    assert not list(tmp_path.iterdir())


def test_a_driver_is_found_by_its_name():
    from capsule.network import driver

    assert [driver.find(name).name for name in driver.names()] == ["bridge", "macvlan"]
    assert all(isinstance(driver.find(name), library.NetworkDriver) for name in ("none", "host", "container", "ns"))
