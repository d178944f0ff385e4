"""Statistics of cgroup v2 (admin-guide/cgroup-v2, accounting/psi) in the words of v1, as runc's readers expect."""

from __future__ import annotations

from capsule.cgroups.stats import UNLIMITED, block_entry, number, page_sizes, read, table, without_zeros

_USEC_NS = 1000
_AVERAGES = ("avg10", "avg60", "avg300")

# word of io.stat -> (runc's key, operation)
_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}
_CPUSET_FLAGS = ("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
                 "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level")


def collect(directory: str) -> dict:
    """Return the statistics of a cgroup. Raises CgroupError."""
    return {
        "cpu": _cpu(directory),
        "cpuset": dict.fromkeys(_CPUSET_FLAGS, 0),  # v2 counts none of these
        "memory": _memory(directory),
        "pids": without_zeros({"current": number(directory, "pids.current"),
                               "limit": number(directory, "pids.max", unlimited=0)}),
        "blkio": _io(directory),
        "hugetlb": _hugetlb(directory),
    }


def _cpu(directory: str) -> dict:
    found = table(directory, "cpu.stat")
    usage = without_zeros({
        "total": found.get("usage_usec", 0) * _USEC_NS,
        "kernel": found.get("system_usec", 0) * _USEC_NS,
        "user": found.get("user_usec", 0) * _USEC_NS,
    }, ("kernel", "user"))
    throttling = without_zeros({
        "periods": found.get("nr_periods"),
        "throttledPeriods": found.get("nr_throttled"),
        "throttledTime": found.get("throttled_usec", 0) * _USEC_NS,
    })
    return without_zeros({"usage": usage, "throttling": throttling, "psi": _pressure(directory, "cpu.pressure")},
                         ("throttling",))


def _memory(directory: str) -> dict:
    raw = table(directory, "memory.stat")
    events = table(directory, "memory.events")
    usage = {
        "limit": number(directory, "memory.max"),
        "usage": number(directory, "memory.current"),
        "max": number(directory, "memory.peak"),
        "failcnt": events.get("max", 0),
    }
    # v1 counts memory and swap together.
    swap = {
        "limit": min(number(directory, "memory.swap.max") + usage["limit"], UNLIMITED),
        "usage": number(directory, "memory.swap.current") + usage["usage"],
        "max": number(directory, "memory.swap.peak") + usage["max"],
        "failcnt": table(directory, "memory.swap.events").get("max", 0),
    }
    keep = ("limit", "failcnt")
    return without_zeros({
        "cache": raw.get("file", 0),
        "usage": without_zeros(usage, keep),
        "swap": without_zeros(swap, keep),
        "kernel": without_zeros({"limit": 0, "usage": raw.get("kernel", 0), "failcnt": 0}, keep),
        "kernelTCP": without_zeros({"limit": 0, "usage": raw.get("sock", 0), "failcnt": 0}, keep),
        "raw": raw,
        "psi": _pressure(directory, "memory.pressure"),
    })


def _io(directory: str) -> dict:
    found: dict = {}
    for line in read(directory, "io.stat").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        for pair in pairs:
            word, _, value = pair.partition("=")
            if word in _IO:
                key, op = _IO[word]
                found.setdefault(key, []).append(block_entry(major, minor, op, int(value)))
    psi = _pressure(directory, "io.pressure")
    if psi:
        found["psi"] = psi
    return found


def _hugetlb(directory: str) -> dict:
    return {
        size: without_zeros({
            "usage": number(directory, f"hugetlb.{size}.current"),
            "failcnt": table(directory, f"hugetlb.{size}.events").get("max", 0),
        }, ("failcnt",))
        for size in page_sizes(directory, ".current")
    }


def _pressure(directory: str, name: str) -> dict:
    """Return {some, full} of a pressure file, {} where the kernel keeps none."""
    found = {}
    for line in read(directory, name).splitlines():
        kind, *pairs = line.split()
        values: dict = {}
        for pair in pairs:
            word, _, value = pair.partition("=")
            if word in _AVERAGES:
                values[word] = float(value)
            elif word == "total":
                values[word] = int(value)
        found[kind] = values
    return found
