"""The network options of create and run, read into what verbs.create takes. Loaded where one is used."""

from __future__ import annotations

from capsule.network import attachment


def read(options: dict) -> dict:
    """Return {"networks", "ports", "publish_all", "hostname", "add_hosts", "dns"}.

    Raises NetworkError for what cannot be meant.
    """
    return {
        "networks": attachment.parse(options["network"], ip=options["ip"], ip6=options["ip6"],
                                     mac=options["mac_address"], aliases=options["network_alias"]),
        "ports": read_ports(options["publish"]),
        "publish_all": options["publish_all"],
        "hostname": options["hostname"],
        "add_hosts": options["add_host"],
        "dns": options["dns"],
    }


def read_ports(texts: list[str]) -> list[dict]:
    """Return the ports that --publish names."""
    if not texts:
        return []
    from capsule.network import ports

    return ports.parse(texts)
