"""network: create, list, inspect, show, delete, prune, reload and check."""

from __future__ import annotations

from capsule import log
from capsule.cli import filters, output, several, templates
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.cli.tables import layout
from capsule.errors import CapsuleError, NetworkError, StateError
from capsule.network import creating
from capsule.network.ipam import IPAM
from capsule.network.store import Networks, NoSuchNetwork
from capsule.runtime import networking


def run(invocation: Invocation) -> int:
    """Run one of the noun's commands."""
    verb = invocation.command.partition(" ")[2]
    return _VERBS[verb](invocation, Networks(runtime_root(invocation)))


def _create(invocation: Invocation, networks: Networks) -> int:
    options = invocation.options
    name = invocation.positionals[0]
    creating.create(
        networks, name, driver=options["driver"] or "bridge", subnets=options["subnet"], gateways=options["gateway"],
        ranges=options["ip_range"], reserved=options["reserve"], ipv6=options["ipv6"], internal=options["internal"],
        icc=not options["no_icc"], isolate=options["isolate"], masquerade=not options["no_masquerade"],
        mtu=options["mtu"], bridge=options["interface_name"], parent=options["parent"],
        mode=options["mode"] or "bridge", dns=not options["disable_dns"], labels=_labels(name, options["label"]),
    )
    output.print_out(name + "\n")
    return 0


def _labels(name: str, texts: list[str]) -> dict[str, str]:
    labels = {}
    for text in texts:
        key, has_value, value = text.partition("=")
        if not key or not has_value:
            raise NetworkError("create network", name, f"the label {text!r} is not of the form NAME=VALUE")
        labels[key] = value
    return labels


def _records(networks: Networks) -> list[dict]:
    """Load every network; one that cannot be read is a warning and hides no other."""
    found = []
    for name in networks.names():
        try:
            found.append(networks.load(name))
        except NoSuchNetwork:
            continue
        except CapsuleError as err:
            log.warning(str(err))
    return found


def _list(invocation: Invocation, networks: Networks) -> int:
    options = invocation.options
    kind = templates.kind("network list", options["format"])
    records = [record for record in _records(networks) if options["driver"] in ("", record["driver"])]
    records = filters.choose("network list", options["filter"], _FILTERS, records)
    if options["quiet"]:
        output.print_out("".join(record["name"] + "\n" for record in records))
    elif kind == "json":
        output.print_json(records, pretty=False)
    elif kind == "template":
        words = [{**record, "gateway_ip": _joined(record, "gateway"), "subnet": _joined(record, "subnet")}
                 for record in records]
        output.print_out(templates.lines("network list", options["format"], words))
    else:
        rows = [["NAME", "GATEWAY_IP", "SUBNET", "DRIVER"]]
        rows += [[record["name"], _joined(record, "gateway"), _joined(record, "subnet"), record["driver"]]
                 for record in records]
        output.print_out(layout(rows))
    return 0


_FILTERS: dict[str, filters.Match] = {
    "name": lambda record, text: text in record["name"],
    "driver": lambda record, text: record["driver"] == text,
    "label": lambda record, text: filters.has_label(record["labels"], text),
}


def _joined(record: dict, key: str) -> str:
    return ",".join(entry[key] for entry in record["subnets"] if entry[key])


def _inspect(invocation: Invocation, networks: Networks) -> int:
    documents = []
    for name in invocation.positionals:
        record = networks.load(name)
        state = networks.state(name)
        record["endpoints"] = sorted(state.endpoints.values(), key=lambda endpoint: endpoint["container"])
        record["free_addresses"] = IPAM(name, record["subnets"], state.leases).allocatable()
        documents.append(record)
    output.print_out(templates.documents("network inspect", invocation.options["format"], documents))
    return 0


def _show(invocation: Invocation, networks: Networks) -> int:
    record = networks.load(invocation.positionals[0])
    output.print_out(f"[{record['driver']}]{record['name']}(ip:{_joined(record, 'gateway')},"
                     f"range:{_joined(record, 'subnet')})\n")
    return 0


def _delete(invocation: Invocation, networks: Networks) -> int:
    options = invocation.options

    def remove(name: str) -> str:
        try:
            if options["driver"]:
                driver = networks.load(name)["driver"]
                if driver != options["driver"]:
                    raise NetworkError("remove network", name, f"its driver is {driver}, not {options['driver']}")
            creating.remove(networks, name, force=options["force"])
        except NoSuchNetwork:
            if not options["force"]:
                raise
            return ""
        return name

    return several.each(invocation.positionals, remove)


def _prune(invocation: Invocation, networks: Networks) -> int:
    for record in _records(networks):
        try:
            creating.remove(networks, record["name"])
        except (StateError, NoSuchNetwork):
            continue  # in use, or somebody else was quicker
        output.print_out(record["name"] + "\n")
    return 0


def _reload(invocation: Invocation, networks: Networks) -> int:
    from capsule.network import check

    for name in invocation.positionals or [record["name"] for record in _records(networks)]:
        check.reload(networks, name)
        output.print_out(name + "\n")
    return 0


def _check(invocation: Invocation, networks: Networks) -> int:
    """Tell what does not agree; the status is 1 where something is left so."""
    from capsule.network import check

    if invocation.options["format"] not in ("", "table", "json"):
        raise CapsuleError(f"invalid format option: {invocation.options['format']}")
    found = check.check(networks, is_running=lambda id: networking.is_running(networks.root, id),
                        fix=invocation.options["fix"])
    if invocation.options["format"] == "json":
        output.print_json([{"network": finding.network, "subject": finding.subject, "problem": finding.problem,
                            "fixed": finding.fixed} for finding in found], pretty=False)
    else:
        output.print_out("".join(
            f"{finding.network}: {finding.subject}: {finding.problem}{' (repaired)' if finding.fixed else ''}\n"
            for finding in found))
    return int(any(not finding.fixed for finding in found))


_VERBS = {
    "create": _create, "list": _list, "inspect": _inspect, "show": _show, "delete": _delete, "prune": _prune,
    "reload": _reload, "check": _check,
}
