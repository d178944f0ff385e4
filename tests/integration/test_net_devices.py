"""linux.netDevices: links of the runtime's network namespace that become the container's.

The runtime runs in a network namespace of the test's own, with links that lead nowhere, and never in the machine's.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "ip"),
    pytest.mark.row(60),
    pytest.mark.rival(runc="1.1.5 ignores netDevices", crun="1.8.1 ignores netDevices", strict=False),
]

MAC = "02:00:00:00:00:07"


class Net:
    """A network namespace: `scene` is the argv prefix that runs a program in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scene = ["nsenter", f"--net={path}", "--"]

    def ip(self, *words: str) -> str:
        done = subprocess.run([*self.scene, "ip", *words], check=True, capture_output=True, text=True)
        return done.stdout

    def add(self, name: str, *words: str) -> None:
        """Make a link that leads nowhere, of the first kind that this kernel has."""
        for kind in ("dummy", "ifb"):
            argv = [*self.scene, "ip", "link", "add", name, *words, "type", kind]
            if subprocess.run(argv, check=False, capture_output=True).returncode == 0:
                return
        raise AssertionError("this kernel has neither dummy nor ifb links")

    def links(self) -> dict[str, dict]:
        return {link["ifname"]: link for link in json.loads(self.ip("-j", "address", "show"))}


def addresses(link: dict) -> set[str]:
    return {f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"] if entry["scope"] == "global"}


@pytest.fixture
def net(workdir) -> Iterator[Net]:
    """Give a network namespace with one dressed link, `dm0`, and a plain one, `dm1`."""
    path = workdir / "net"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    try:
        made = Net(path)
        # Otherwise an address of version 6 is tentative for a moment, and another one after it.
        quiet = "for name in all default; do echo 0 > /proc/sys/net/ipv6/conf/$name/accept_dad; done"
        subprocess.run([*made.scene, "sh", "-euc", quiet], check=True)
        made.add("dm0", "address", MAC, "mtu", "1400")
        for words in (("10.7.0.2/24",), ("10.7.1.2", "peer", "10.7.1.1/32"), ("fd07::2/64",),
                      ("169.254.9.9/16", "scope", "link")):
            made.ip("address", "add", *words, "dev", "dm0")
        made.ip("link", "set", "dm0", "up", "promisc", "on")
        made.add("dm1")
        yield made
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def inside(capsule, net) -> Callable[[object], Net]:
    """Start a bundle detached from the test's network namespace; returns the container's."""
    def start(box) -> Net:
        capsule.run(box.args("/payload", "pause"), "--detach", scene=net.scene)
        return Net(Path(f"/proc/{capsule.pid(box)}/ns/net"))
    return start


def devices(box, **wanted: dict):
    box.linux["netDevices"] = wanted
    return box


def test_a_device_moves_with_all_that_is_its_own(bundle, net, inside):
    container = inside(devices(bundle(), dm0={}))
    link = container.links()["dm0"]
    assert (link["address"], link["mtu"]) == (MAC, 1400)
    assert {"UP", "PROMISC"} <= set(link["flags"])
    assert addresses(link) == {"10.7.0.2/24", "10.7.1.2/32", "fd07::2/64"}
    assert [entry["address"] for entry in link["addr_info"] if "address" in entry] == ["10.7.1.1"]
    assert "169.254.9.9" not in {entry["local"] for entry in link["addr_info"]}
    assert "dm0" not in net.links()


def test_several_devices_move_under_new_names(bundle, net, inside):
    links = inside(devices(bundle(), dm0={"name": "dm1"}, dm1={"name": "net0"})).links()
    assert set(links) == {"lo", "dm1", "net0"}
    assert links["dm1"]["address"] == MAC
    assert "UP" in links["net0"]["flags"]
    assert set(net.links()) == {"lo"}


@requires("userns")
def test_the_network_of_a_user_namespace(bundle, net, inside):
    links = inside(devices(bundle().user_namespace(), dm0={"name": "eth0"})).links()
    assert addresses(links["eth0"]) >= {"10.7.0.2/24", "fd07::2/64"}


def test_hooks_of_the_runtime_find_the_device_in_the_container(capsule, bundle, net, workdir):
    script = f"nsenter --net=/proc/$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')/ns/net ip link show dm0 > {workdir}/seen"
    box = devices(bundle(["/payload", "exit", "0"]), dm0={}).hook("createRuntime", "/bin/sh", "-c", script,
                                                                env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    capsule.run(box, scene=net.scene)
    assert MAC in (workdir / "seen").read_text()


@pytest.fixture
def other(workdir) -> Iterator[Net]:
    """Give a network namespace for containers to join; it has a link `eth0`."""
    path = workdir / "other"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    try:
        made = Net(path)
        # Otherwise an address of version 6 is tentative for a moment, and another one after it.
        quiet = "for name in all default; do echo 0 > /proc/sys/net/ipv6/conf/$name/accept_dad; done"
        subprocess.run([*made.scene, "sh", "-euc", quiet], check=True)
        made.add("eth0")
        yield made
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize(("name", "seen"), [("eth%d", "eth1"), ("net%d", "net0"), ("dm7", "dm7")])
def test_a_joined_namespace_and_a_template_of_a_name(capsule, bundle, net, other, name, seen):
    box = devices(bundle().namespace("network", str(other.path)), dm0={"name": name})
    capsule.run(box.args("/payload", "exit", "0"), scene=net.scene)
    link = other.links()[seen]
    assert link["address"] == MAC
    assert addresses(link) >= {"10.7.0.2/24", "fd07::2/64"}


def test_a_container_that_ends_gives_nothing_back(capsule, bundle, net):
    box = devices(bundle(["/payload", "exit", "0"]), dm1={})
    capsule.run(box, scene=net.scene)
    assert set(net.links()) == {"lo", "dm0"}


# Refusals: nothing has moved and no container is left.

def refused(capsule, net, box, words: str) -> None:
    before = net.links()
    assert words in capsule.run(box, rc=1, scene=net.scene).err.replace('\\"', '"')
    assert net.links() == before
    assert not capsule.exists(box)


def test_a_name_that_the_container_has_already_is_refused(capsule, bundle, net, other):
    box = devices(bundle().namespace("network", str(other.path)), dm1={}, dm0={"name": "eth0"})
    refused(capsule, net, box, "move network device dm0: the container has a device eth0 already")
    assert set(other.links()) == {"lo", "eth0"}
    box = devices(bundle(), dm0={"name": "lo"})
    refused(capsule, net, box, "the container has a device lo already")


WRONG = {
    "missing": ({"nic9": {}}, 'linux.netDevices["nic9"]: there is no network device of that name'),
    "loopback": ({"lo": {"name": "lo1"}}, 'linux.netDevices["lo"]: a loopback device cannot leave'),
    "same name": ({"dm0": {"name": "x"}, "dm1": {"name": "x"}},
                  'linux.netDevices["dm1"].name: "x" is the name of "dm0"'),
    "name taken over": ({"dm0": {"name": "dm1"}, "dm1": {}}, '"dm1" is the name of "dm0" already'),
    "slash": ({"dm0": {"name": "a/b"}}, 'linux.netDevices["dm0"].name: expected the name of a network device'),
    "long": ({"dm0": {"name": "n" * 16}}, "expected the name of a network device, or a template"),
    "space": ({"dm0": {"name": "a b"}}, "expected the name of a network device"),
    "dots": ({"..": {}}, 'linux.netDevices[".."]: expected the name of a network device'),
    "two templates": ({"dm0": {"name": "a%db%d"}}, "or a template such as eth%d"),
    "other template": ({"dm0": {"name": "a%s"}}, "or a template such as eth%d"),
    "no object": ({"dm0": "x"}, "linux.netDevices.dm0: expected an object"),
}


@pytest.mark.parametrize(("wanted", "words"), WRONG.values(), ids=WRONG)
def test_a_device_that_cannot_be_moved_is_refused(capsule, bundle, net, wanted, words):
    refused(capsule, net, devices(bundle(), **wanted), words)


def test_the_runtimes_own_network_is_refused(capsule, bundle, net):
    box = devices(bundle().without_namespace("network").without_mount("/sys"), dm0={})
    refused(capsule, net, box, "linux.netDevices: needs a network namespace in linux.namespaces")
    box = devices(bundle().namespace("network", str(net.path)), dm0={})
    refused(capsule, net, box, "linux.netDevices: the container's network namespace is the runtime's own")


@pytest.mark.row(66)
@pytest.mark.parametrize("key", ["net/ipv4/conf/eth0.100/forwarding", "net.ipv4.conf.eth0/100.forwarding"])
def test_a_sysctl_of_a_device_with_a_dot_in_its_name(capsule, bundle, net, key):
    box = devices(bundle(), dm0={"name": "eth0.100"}, dm1={"name": "eth0"})
    box.linux["sysctl"] = {key: "1"}
    box.shell("cat /proc/sys/net/ipv4/conf/eth0.100/forwarding /proc/sys/net/ipv4/conf/eth0/forwarding")
    assert capsule.run(box, scene=net.scene).lines == ["1", "0"]


@pytest.mark.row(172)
def test_a_create_that_fails_later_gives_the_devices_back(capsule, bundle, net):
    box = devices(bundle(["/payload", "exit", "0"]), dm0={"name": "eth0"}, dm1={}).hook("createRuntime", "/bin/false")
    before = net.links()
    capsule.run(box, rc=FAILS, scene=net.scene)
    after = net.links()
    assert set(after) == set(before)
    for name in before:
        assert after[name]["flags"] == before[name]["flags"]
        assert addresses(after[name]) == addresses(before[name])
        assert (after[name]["mtu"], after[name].get("address")) == (before[name]["mtu"], before[name].get("address"))
    assert not capsule.exists(box)


def test_a_device_that_may_not_move_is_an_error_in_the_kernels_words(capsule, bundle, net):
    """A bridge is bound to its namespace; what was moved before it comes back."""
    net.ip("link", "add", "br0", "type", "bridge")
    before = net.links()
    box = devices(bundle(["/payload", "exit", "0"]), dm1={}, br0={})
    assert "move network device br0: invalid argument (" in capsule.run(box, rc=1, scene=net.scene).err
    assert set(net.links()) == set(before)
