"""A small world of network namespaces: a host, peers outside, containers on bridges; nothing of the machine's own.

    outside (192.0.2.2, 2001:db8:1::2) --- host (192.0.2.1, 2001:db8:1::1) --- bridges --- containers
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from capsule.network import interface

ROOT = Path(__file__).resolve().parents[2]
AGENT = Path(__file__).resolve().with_name("agent.py")


class Space:
    """A network namespace and the agent in it: every command of agent.py is a method."""

    def __init__(self, name: str, netns: str = "") -> None:
        """A new one, or that of a path."""
        self.name = name
        # A mount namespace too: sysfs shows the devices of the namespace in which it was mounted.
        entry = ["nsenter", f"--net={netns}"] if netns else ["unshare", "--net", "--mount"]
        self.process = subprocess.Popen(
            [*entry, sys.executable, str(AGENT)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        self.pid = self._answer()["pid"]
        self.ip("link set lo up")

    def _answer(self) -> dict:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def __getattr__(self, name: str):
        def command(*arguments, **options):
            assert self.process.stdin
            self.process.stdin.write(json.dumps([name, arguments, options]) + "\n")
            self.process.stdin.flush()
            answer = self._answer()
            assert "raised" not in answer, f"{self.name}: {name}{arguments}: {answer['raised']}"
            return answer["value"]

        return command

    def ip(self, *lines: str) -> None:
        status, _, errors = self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")
        assert status == 0, f"{self.name}: {lines}: {errors}"

    def nft(self, text: str) -> str:
        status, output, errors = self.run("nft", "-f", "-", stdin=text)
        assert status == 0, errors
        return output

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


class World:
    """The host and who is around it."""

    def __init__(self) -> None:
        self.spaces: list[Space] = []
        self.host = self.space("host")
        self.outside = self.space("outside")
        self.networks: dict[str, dict] = {}
        self.endpoints: dict[str, list[dict]] = {}
        self.wire(self.outside, "out0", "192.0.2.1/24", "192.0.2.2/24", "2001:db8:1::1/64", "2001:db8:1::2/64")

    def space(self, name: str) -> Space:
        made = Space(name)
        self.spaces.append(made)
        return made

    def wire(self, peer: Space, name: str, host4: str, peer4: str, host6: str, peer6: str) -> None:
        """Lay a wire from the host to a peer, which knows the host's wire alone."""
        self.host.ip(f"link add {name} type veth peer name eth0 netns {peer.pid}", f"addr add {host4} dev {name}",
                     f"addr add {host6} dev {name} nodad", f"link set {name} up")
        peer.ip(f"addr add {peer4} dev eth0", f"addr add {peer6} dev eth0 nodad", "link set eth0 up")

    def network(self, name: str, number: int, **options) -> dict:
        """Make a bridge network 10.89.N.0/24, fd00:89:N::/64 (no IPv6 with ipv6=False) and its rules."""
        record = {"name": name, "id": name, "driver": "bridge", "bridge": f"br{number}",
                  "subnets": [{"subnet": f"10.89.{number}.0/24", "gateway": f"10.89.{number}.1"}],
                  "internal": False, "icc": True, "isolate": False, "masquerade": True} | options
        mac = interface.mac_text(interface.bridge_mac(name))
        lines = [f"link add br{number} address {mac} type bridge",
                 f"addr add 10.89.{number}.1/24 dev br{number}"]
        if record.pop("ipv6", True):
            record["subnets"].append({"subnet": f"fd00:89:{number}::/64", "gateway": f"fd00:89:{number}::1"})
            lines.append(f"addr add fd00:89:{number}::1/64 dev br{number} nodad")
        self.host.ip(*lines, f"link set br{number} up")
        self.networks[name] = record
        self.endpoints[name] = []
        self.firewall("network_up", record)
        return record

    def firewall(self, name: str, *arguments: object) -> object:
        """Call capsule.network.firewall on the host; its errors are raised."""
        value = self.host.call("capsule.network.firewall", name, *arguments)
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def everything(self) -> tuple[list, dict[str, str]]:
        """What `repair` takes: networks with their endpoints, and the links of the host."""
        return [[record, self.endpoints[name]] for name, record in self.networks.items()], self.links()

    def links(self) -> dict[str, str]:
        return {link["ifname"]: link["address"] for link in json.loads(self.host.run("ip", "-j", "link")[1])}

    def differences(self, networks: list | None = None) -> list[str]:
        found = self.firewall("differences", networks or self.everything()[0], self.links())
        assert isinstance(found, list)
        return found

    def container(self, network: str, number: int, *ports: dict) -> tuple[Space, dict]:
        """Connect a container with address .N (::N) and what it publishes; its interface is eth0."""
        record = self.networks[network]
        space = self.space(f"{network}-{number}")
        name = f"v{record['bridge']}x{number}"
        mac = f"02:42:0a:59:{record['bridge'][2:]:0>2}:{number:02x}"
        texts = [f"{entry['gateway'][:-1]}{number}/{entry['subnet'].partition('/')[2]}" for entry in record["subnets"]]
        endpoint = {"id": name, "container": space.name, "network": network, "interface": "eth0",
                    "host_interface": name, "mac": mac, "addresses": texts, "ports": list(ports), "aliases": []}
        self.host.ip(f"link add {name} type veth peer name eth0 netns {space.pid} address {mac}",
                     f"link set {name} master {record['bridge']}", f"link set {name} type bridge_slave hairpin on",
                     f"link set {name} up")
        space.ip(*[f"addr add {text} dev eth0 nodad" for text in texts], "link set eth0 up",
                 *[f"route add default via {entry['gateway']}" for entry in record["subnets"]])
        self.endpoints[network].append(endpoint)
        self.firewall("endpoint_up", record, endpoint)
        return space, endpoint

    def close(self) -> None:
        for space in reversed(self.spaces):
            space.close()


def port(host_port: int, container_port: int, proto: str = "tcp", host_ip: str = "") -> dict:
    return {"proto": proto, "host_ip": host_ip, "host_port": host_port, "container_port": container_port}
