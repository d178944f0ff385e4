"""update: change the resource limits of a container that runs."""

from __future__ import annotations

from capsule import log, verbs
from capsule.cli import quantities
from capsule.cli.paths import absolute, runtime_root
from capsule.cli.scanner import Invocation

# (option, section of the resources, key, reader)
_FLAGS = (
    ("blkio_weight", "blockIO", "weight", quantities.unsigned),
    ("cpu_burst", "cpu", "burst", quantities.unsigned),
    ("cpu_period", "cpu", "period", quantities.unsigned),
    ("cpu_quota", "cpu", "quota", quantities.signed),
    ("cpu_rt_period", "cpu", "realtimePeriod", quantities.unsigned),
    ("cpu_rt_runtime", "cpu", "realtimeRuntime", quantities.signed),
    ("cpu_share", "cpu", "shares", quantities.unsigned),
    ("cpu_idle", "cpu", "idle", quantities.signed),
    ("memory", "memory", "limit", quantities.size),
    ("memory_reservation", "memory", "reservation", quantities.size),
    ("memory_swap", "memory", "swap", quantities.size),
    ("kernel_memory", "memory", "kernel", quantities.size),
    ("kernel_memory_tcp", "memory", "kernelTCP", quantities.size),
    ("pids_limit", "pids", "limit", quantities.signed),
)
_WORDS = (("cpuset_cpus", "cpus"), ("cpuset_mems", "mems"))
_STDIN = 0


def run(invocation: Invocation) -> int:
    """Read the limits from the document or the flags, and apply them."""
    options = invocation.options
    # As runc's help says: with a document, all other options are ignored.
    resources = _document(options["resources"]) if options["resources"] else from_flags(options)
    verbs.update(
        runtime_root(invocation),
        invocation.positionals[0],
        resources,
        l3_cache_schema=options["l3_cache_schema"],
        mem_bw_schema=options["mem_bw_schema"],
    )
    return 0


def from_flags(options: dict) -> dict:
    """Return the limits that flags ask for, in the shape of `linux.resources`.

    Raises CapsuleError for a value that cannot be read, SpecError for one out of range.
    """
    from capsule.spec.load import check_resources_tree

    tree: dict = {}
    for key, section, name, read in _FLAGS:
        text = options[key]
        if text:
            tree.setdefault(section, {})[name] = read(key.replace("_", "-"), text)
    for key, name in _WORDS:
        if options[key]:
            tree.setdefault("cpu", {})[name] = options[key]
    return check_resources_tree(tree)


def _document(path: str) -> dict:
    """Read the limits from a file, `-` being standard input."""
    from capsule.spec.load import load_resources, read_file

    resources = load_resources(read_file(_STDIN if path == "-" else absolute(path), wait=True))
    if resources.pop("devices", None):
        # Engines send the whole section of a container that they change one number of; runc leaves devices alone, too.
        log.warning("update leaves device rules as they are")
    return resources
