"""The rules that docs/firewall.md shows are those that the kernel has after the page's example."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.requires import requires

from .kit_firewall import Space

PAGE = Path(__file__).resolve().parents[2] / "docs" / "firewall.md"
RECORD = {"name": "web", "id": "web", "bridge": "br-web", "subnets": [{"subnet": "10.89.0.0/24"},
                                                                      {"subnet": "fd00:89::/64"}],
          "internal": False, "icc": True, "isolate": False, "masquerade": True}
ENDPOINT = {"host_interface": "veth0", "mac": "0a:42:0a:59:00:02", "addresses": ["10.89.0.2/24", "fd00:89::2/64"],
            "ports": [{"proto": "tcp", "host_ip": "", "host_port": 8080, "container_port": 80},
                      {"proto": "udp", "host_ip": "192.0.2.1", "host_port": 5353, "container_port": 53}]}


@requires("root", "nft", "ip")
def test_the_page_shows_the_rules_of_its_example(leaks) -> None:
    host = Space("host")
    try:
        if "v1.0.6" not in host.run("nft", "--version")[1]:
            pytest.skip("another nft lists the same rules in other words")
        host.ip("link add br-web type bridge")
        for name, arguments in (("network_up", [RECORD]), ("endpoint_up", [RECORD, ENDPOINT])):
            assert host.call("capsule.network.firewall", name, *arguments) is None
        listed = host.run("nft", "list", "ruleset")[1]
    finally:
        host.close()
    shown = PAGE.read_text(encoding="utf-8").partition("```nft\n")[2].partition("```")[0]
    assert shown.strip() == listed.strip()
