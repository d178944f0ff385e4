"""capsule network: networks that containers join."""

from __future__ import annotations

from capsule.cli.grammar import FLAG, NUMBER, TEXT, TEXTS

SUMMARY = "networks that containers join"
ALIASES = {"ls": "list", "rm": "delete", "remove": "delete"}
_FORMAT = ("format", ("format", "f"), TEXT, "FORMAT", "table (default) or json")
_MODULE = "cmd_network"

COMMANDS = (
    (
        "network create", _MODULE, (1, 1), True, "<name>", "create a network",
        (
            ("driver", ("driver", "d"), TEXT, "NAME", "bridge (default) or macvlan"),
            ("subnet", ("subnet",), TEXTS, "CIDR", "subnet (default: a free one from 10.89.0.0/24 on)"),
            ("gateway", ("gateway",), TEXTS, "ADDRESS", "address of the host in a subnet (default: its lowest)"),
            ("ip_range", ("ip-range",), TEXTS, "CIDR", "part of a subnet from which addresses are given"),
            ("reserve", ("reserve", "aux-address"), TEXTS, "ADDRESS", "address that no container gets"),
            ("ipv6", ("ipv6",), FLAG, "", "add a subnet of IPv6"),
            ("internal", ("internal",), FLAG, "", "no way out of it and none in"),
            ("no_icc", ("no-icc",), FLAG, "", "containers of it do not reach each other"),
            ("isolate", ("isolate",), FLAG, "", "its published ports are closed to other networks, and theirs to it"),
            ("no_masquerade", ("no-masquerade",), FLAG, "", "packets leave with the container's own address"),
            ("mtu", ("mtu",), NUMBER, "BYTES", "largest packet (default: the kernel's)"),
            ("interface_name", ("interface-name",), TEXT, "NAME", "name of the bridge (default: made up)"),
            ("parent", ("parent",), TEXT, "NAME", "macvlan: the interface of this host"),
            ("mode", ("mode",), TEXT, "MODE", "macvlan: bridge (default), private, vepa or passthru"),
            ("disable_dns", ("disable-dns",), FLAG, "", "containers do not find each other by name"),
            ("label", ("label",), TEXTS, "NAME=VALUE", "note for people"),
        ),
    ),
    (
        "network list", _MODULE, (0, 0), True, "", "list networks",
        (
            ("format", ("format", "f"), TEXT, "FORMAT", "table (default), json, or text with {{.Key}} in it"),
            ("quiet", ("quiet", "q"), FLAG, "", "print names only"),
            ("filter", ("filter",), TEXTS, "KEY=VALUE", "name, driver or label"),
            ("driver", ("driver",), TEXT, "NAME", "only networks of this driver"),
        ),
    ),
    ("network inspect", _MODULE, (1, -1), True, "<name>...", "print networks and their endpoints as JSON",
     (("format", ("format", "f"), TEXT, "FORMAT", "json (default), or text with {{.Key.Key}} in it"),)),
    ("network show", _MODULE, (1, 1), True, "<name>", "print a network in a line", ()),
    (
        "network delete", _MODULE, (1, -1), True, "<name>...", "remove networks",
        (
            ("force", ("force", "f"), FLAG, "", "disconnect its containers first; succeed if it does not exist"),
            ("driver", ("driver",), TEXT, "NAME", "refuse a network of another driver"),
        ),
    ),
    (
        "network prune", _MODULE, (0, 0), True, "", "remove networks that no container uses",
        (("force", ("force", "f"), FLAG, "", "accepted; nobody is asked"),),
    ),
    (
        "network connect", "cmd_network_connect", (2, 2), True, "<name> <container-id>",
        "connect a container that runs",
        (
            ("ip", ("ip",), TEXTS, "ADDRESS", "IPv4 address"),
            ("ip6", ("ip6",), TEXTS, "ADDRESS", "IPv6 address"),
            ("mac_address", ("mac-address",), TEXT, "MAC", "hardware address"),
            ("alias", ("alias",), TEXTS, "NAME", "further name of the container in the network"),
            ("interface_name", ("interface-name",), TEXT, "NAME", "name of the interface inside (default: ethN)"),
        ),
    ),
    (
        "network disconnect", "cmd_network_connect", (2, 2), True, "<name> <container-id>", "disconnect a container",
        (("force", ("force", "f"), FLAG, "", "succeed if it is not connected"),),
    ),
    (
        "network reload", _MODULE, (0, -1), True, "[name...]",
        "make again what a reboot, a removed bridge or a flushed firewall has taken (default: of all networks)", (),
    ),
    (
        "network check", _MODULE, (0, 0), True, "", "compare records, leases, links and rules",
        (_FORMAT, ("fix", ("fix",), FLAG, "", "repair what can be repaired")),
    ),
)
