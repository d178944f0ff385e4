"""Containers of images in networks: names, links and published ports, end to end."""

from __future__ import annotations

import sys

import pytest
from helpers.images import bring, busybox_root
from helpers.requires import requires
from helpers.runtime import DEADLINE, FAILS, one_line
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "ip", "nft")
SERVE = "mkdir /www; echo hello from $0 > /www/index.html; busybox httpd -f -h /www -p 80"


@pytest.fixture
def engine(world, tmp_path):
    """A host with an image of busybox and a network of its own."""
    bring(world, busybox_root(tmp_path), "box", 'ENTRYPOINT ["/bin/sh","-c"]')
    world.network("create", "lan", "--subnet", "10.77.0.0/24")
    return world


def serve(engine, name, *flags):
    """Start a web server in a container, 10.77.0.2, and wait until it answers the host."""
    running = engine.spawn("image", "run", "--name", name, "--network", "lan", *flags, "box", SERVE, name)
    wait_until(lambda: get(engine, "10.77.0.2") or running.poll(), DEADLINE, f"{name} answering")
    return running


def get(engine, address):
    """Fetch a page as a client on the host, in the world's network namespace."""
    script = f"import urllib.request as u; print(u.urlopen('http://{address}/', timeout=5).read().decode(), end='')"
    return engine.on_host(sys.executable, "-S", "-c", script, check=False).strip()


def end(engine, *running):
    for id in engine.ids():
        engine.call("delete", "--force", id)
    for call in running:
        call.wait()


def test_a_published_port_is_reached_from_the_host(engine):
    server = serve(engine, "web", "-p", "8080:80")
    assert get(engine, "127.0.0.1:8080") == get(engine, "10.77.0.2") == "hello from web"
    end(engine, server)


def test_a_link_is_a_further_name_for_one_container_alone(engine):
    server = serve(engine, "web")
    run = ("image", "run", "--rm", "--network", "lan")
    ask = ("box", "grep ^10.77.0.2 /etc/hosts")
    assert engine.call(*run, "--link", "web:site", *ask).out == "10.77.0.2\tweb site\n"
    assert engine.call(*run, *ask).out == "10.77.0.2\tweb\n"
    engine.network("create", "other")
    for words, text in ((("--network", "other", "--link", "web"), "--network lan"),
                        (("--network", "lan", "--link", "nobody:x"), "there is none of that name"),
                        (("--network", "lan", "--link", "web:a b"), "invalid alias")):
        assert text in one_line(engine.call("image", "run", *words, "box", "true", rc=FAILS))
    end(engine, server)


def test_what_an_image_exposes_is_published_with_one_letter(engine, tmp_path):
    bring(engine, busybox_root(tmp_path / "exposing"), "exposing", 'ENTRYPOINT ["/bin/sh","-c"]', "EXPOSE 80 81/udp 82")
    flags = ("--name", "web", "--network", "lan", "-P", "-p", "8082:82")
    running = engine.spawn("image", "run", *flags, "exposing", SERVE, "web")
    wait_until(lambda: get(engine, "10.77.0.2") or running.poll(), DEADLINE, "web answering")
    lines = dict(line.split(" -> ") for line in engine.call("port", "web").lines)
    assert (set(lines), lines["82/tcp"]) == ({"80/tcp", "81/udp", "82/tcp"}, "0.0.0.0:8082")
    assert get(engine, lines["80/tcp"].replace("0.0.0.0", "127.0.0.1")) == "hello from web"
    end(engine, running)


def test_a_sandbox_joins_a_network(engine):
    server = serve(engine, "web")
    script = "busybox wget -q -O - http://web/ && ip -4 -o address show eth0 && grep nameserver /etc/resolv.conf"
    said = engine.call("sandbox", "--net", "lan", "sh", "-c", script)
    assert "hello from web" in said.out and "10.77.0.3/24" in said.out and "nameserver 10.77.0.1" in said.out
    assert set(engine.leases("lan")) == {"10.77.0.2"}
    account = engine.call("sandbox", "--json", "--net", "lan", "sh", "-c", "exit 3", rc=3)
    assert account and set(engine.leases("lan")) == {"10.77.0.2"}
    end(engine, server)


def test_ports_ask_for_the_default_network(engine):
    running = engine.spawn("image", "run", "-p", "8081:80", "box", "echo up; while :; do sleep 1; done")
    running.wait_output("up")
    assert "capsule_bridge0" in engine.network("list").out
    assert "network" in one_line(engine.call("image", "run", "--network", "none", "-p", "80", "box", "true", rc=FAILS))
    end(engine, running)


def test_a_container_joins_the_network_of_another(engine):
    server = serve(engine, "web")
    engine.call("image", "run", "--rm", "--network", "container:web", "box", "grep -q :0050 /proc/net/tcp6")
    end(engine, server)
