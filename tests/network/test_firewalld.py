"""firewalld beside us: a real one, with a bus of its own, whose default zone drops what it does not know."""

from __future__ import annotations

import subprocess

import pytest
from helpers import process
from helpers.requires import binary, requires
from helpers.runtime import DEADLINE, Runtime
from helpers.wait import wait_until

from .kit_firewall import Space
from .test_network_dns import ask

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip", "nft", "firewalld")

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>
"""
COVERS = "cd / && for at in run etc/firewalld; do mount -t tmpfs none $at; done && mkdir run/dbus etc/firewalld/zones"


class Firewalld:
    """A host and its firewalld, and a peer outside."""

    def __init__(self, workdir) -> None:
        self.host, self.outside = Space("host"), Space("outside")
        for space in (self.host, self.outside):
            process.own(space.pid)
        self.host.ip(f"link add out0 type veth peer name eth0 netns {self.outside.pid}",
                     "addr add 192.0.2.1/24 dev out0", "link set out0 up")
        self.outside.ip("addr add 192.0.2.2/24 dev eth0", "link set eth0 up")
        assert self.host.run("sh", "-c", COVERS)[0] == 0
        self.host.write("/etc/firewalld/firewalld.conf", "DefaultZone=drop\nFirewallBackend=nftables\n")
        bus = workdir / "bus.conf"
        bus.write_text(BUS)
        self.scene = ["nsenter", f"--target={self.host.pid}", "--net", "--mount", "--"]
        self.log = (workdir / "firewalld.log").open("wb")
        self.daemons = [self._start("dbus-daemon", f"--config-file={bus}", "--nofork", "--nopidfile")]
        wait_until(lambda: self.host.run("test", "-S", "/run/dbus/system_bus_socket")[0] == 0, DEADLINE, "the bus")
        self.daemons.append(self._start("firewalld", "--nofork", "--nopid"))
        wait_until(lambda: self.host.run("firewall-cmd", "--state")[0] == 0, DEADLINE, "firewalld")

    def _start(self, *words: str) -> subprocess.Popen:
        started = subprocess.Popen([*self.scene, *words], stdout=self.log, stderr=self.log)
        process.own(started.pid)
        return started

    def command(self, *words: str) -> str:
        status, output, errors = self.host.run("firewall-cmd", *words)
        assert status == 0, errors
        return output.strip()

    def close(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.kill()
            daemon.wait()
            process.disown(daemon.pid)
        self.log.close()
        for space in (self.host, self.outside):
            space.close()
            process.disown(space.pid)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    made = Firewalld(tmp_path_factory.mktemp("firewalld"))
    yield made
    made.close()


@pytest.fixture
def runtime(beside, workdir, leaks):
    """The runtime there."""
    (workdir / "calls").mkdir()
    made = Runtime([*beside.scene, *binary()], workdir / "state", workdir / "calls")
    yield made
    made.clean()


def test_networks_work_where_firewalld_drops_what_no_zone_has(beside, runtime, bundle):
    outside = beside.outside
    outside.listen("tcp", "0.0.0.0", 7, "outside")
    runtime.call("network", "create", "web", "--subnet", "10.89.0.0/24")
    bridge = runtime.call("network", "inspect", "web").json[0]["bridge"]
    assert beside.command("--zone=trusted", "--list-interfaces") == bridge
    box = bundle(["/payload", "pause"])
    netns = f"/proc/{runtime.start_container(box, '--network', 'web', '--publish', '8080:80')}/ns/net"
    inside = Space("container", netns)
    inside.listen("tcp", "0.0.0.0", 80, "web")

    def out() -> str:
        return inside.ask("tcp", "192.0.2.2", 7, 0.7)

    try:
        assert out() == "outside 192.0.2.1"
        assert outside.ask("tcp", "192.0.2.1", 8080) == "web 192.0.2.2"
        assert beside.host.ask("tcp", "127.0.0.1", 8080).startswith("web ")
        assert ask(netns, box.id, at="10.89.0.1").records == ["10.89.0.2"]
        assert runtime.call("network", "check").out == ""

        ours = beside.host.run("nft", "list", "table", "inet", "capsule")[1]
        beside.command("--reload")
        assert beside.host.run("nft", "list", "table", "inet", "capsule")[1] == ours
        assert outside.ask("tcp", "192.0.2.1", 8080) == "web 192.0.2.2"
        assert out() != "outside 192.0.2.1", "it has forgotten the bridge, and the test would see it"
        assert "firewalld does not let it through" in runtime.call("network", "check", "--fix", rc=None).out
        assert out() == "outside 192.0.2.1"
        beside.command("--zone=trusted", f"--remove-interface={bridge}")
        runtime.call("network", "reload", "web")
        assert out() == "outside 192.0.2.1"
    finally:
        inside.close()
    runtime.delete(box, "--force")
    runtime.call("network", "delete", "web")
    assert beside.command("--zone=trusted", "--list-interfaces") == ""


def test_a_bridge_that_its_owner_has_put_elsewhere_stays_there(beside, runtime):
    beside.command("--zone=block", "--add-interface=br-own")
    created = runtime.call("network", "create", "own", "--subnet", "10.89.1.0/24", "--interface-name", "br-own")
    assert "ZONE_CONFLICT" in created.err
    assert "does not let it through" in runtime.call("network", "check", "--fix", rc=1).out
    assert beside.command("--get-zone-of-interface=br-own") == "block"
    runtime.call("network", "delete", "own")
    assert beside.command("--get-zone-of-interface=br-own") == "block"
