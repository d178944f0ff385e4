"""Networks: bridges, published ports, names. All of it inside the enclosure's network namespace."""

from __future__ import annotations

import pytest
from helpers.wait import wait_until

SERVER = ("sh", "-c", "mkdir /www; echo $0 > /www/index.html; exec httpd -f -p 80 -h /www")


class Network:
    def server(self, engine, *options: str, word: str = "served") -> str:
        return engine.detached(*SERVER, word, options=options)

    @staticmethod
    def address(engine, name: str, network: str) -> str:
        return engine.inspect(name, f'(index .NetworkSettings.Networks "{network}").IPAddress')

    @pytest.mark.smoke
    def test_a_published_port(self, engine):
        self.server(engine, "--publish", "8080:80")
        wait_until(lambda: engine.inside("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/", rc=None).out
                   == "served\n")

    def test_a_published_port_is_closed_with_its_container(self, engine):
        name = self.server(engine, "--publish", "8081:80")
        get = ("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8081/")
        wait_until(lambda: engine.inside(*get, rc=None).rc == 0)
        engine.call("rm", "--force", name)
        assert engine.inside(*get, rc=None).rc != 0

    def test_a_port_of_one_address(self, engine):
        self.server(engine, "--publish", "127.0.0.1:8082:80")
        wait_until(lambda: engine.inside("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8082/", rc=None).out
                   == "served\n")

    def test_containers_reach_each_other(self, engine):
        engine.call("network", "create", "mesh")
        name = self.server(engine, "--network", "mesh", word="neighbour")
        address = self.address(engine, name, "mesh")
        wait_until(lambda: engine.sh(f"wget -q -O - http://{address}/", "--network", "mesh", rc=None)
                   == "neighbour\n", 30)

    def test_networks_are_apart(self, engine):
        engine.call("network", "create", "left")
        engine.call("network", "create", "right", "--internal")
        name = self.server(engine, "--network", "left")
        address = self.address(engine, name, "left")
        wait_until(lambda: engine.sh(f"wget -q -O - http://{address}/", "--network", "left", rc=None) == "served\n")
        assert engine.sh(f"timeout 1 wget -q -O - http://{address}/; true", "--network", "right") == ""

    def test_a_second_network_is_connected(self, engine):
        engine.call("network", "create", "more")
        name = engine.detached(options=["--network", "bridge"])
        assert "eth1" not in engine.exec(name, "ls", "/sys/class/net").out
        engine.call("network", "connect", "more", name)
        assert "eth1" in engine.exec(name, "ls", "/sys/class/net").out
        engine.call("network", "disconnect", "more", name)
        assert "eth1" not in engine.exec(name, "ls", "/sys/class/net").out

    def test_no_network_has_a_loopback_only(self, engine):
        assert engine.sh("ls /sys/class/net; cat /sys/class/net/lo/operstate; ip -o addr show lo | grep -c 127.0.0.1",
                         "--network", "none").split() == ["lo", "unknown", "1"]

    def test_the_network_of_another_container(self, engine):
        name = self.server(engine, "--network", "bridge", word="same")
        wait_until(lambda: engine.sh("wget -q -O - http://127.0.0.1/", "--network", f"container:{name}", rc=None)
                   == "same\n")

    def test_a_network_of_the_host(self, engine):
        links = engine.sh("cat /proc/net/dev", "--network", "host").splitlines()[2:]
        outer = engine.inside("cat", "/proc/net/dev").lines[2:]
        assert [line.split(":")[0] for line in links] == [line.split(":")[0] for line in outer]

    def test_name_servers(self, engine):
        text = engine.sh("cat /etc/resolv.conf", "--dns", "192.0.2.53", "--dns-search", "example.org",
                         "--network", "bridge")
        assert "nameserver 192.0.2.53" in text and "search example.org" in text
