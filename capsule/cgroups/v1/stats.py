"""Statistics of cgroup v1 (admin-guide/cgroup-v1/cpuacct, cpusets, memory, pids, blkio-controller, hugetlb)."""

from __future__ import annotations

import posix

from capsule.cgroups import cgroupfs
from capsule.cgroups.stats import block_entries, number, page_sizes, read, table, without_zeros

_SECOND_NS = 1_000_000_000
_CPUSET_FLAGS = ("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
                 "memory_spread_slab", "memory_pressure", "sched_load_balance")
_MEMORY = (("usage", "memory"), ("swap", "memory.memsw"), ("kernel", "memory.kmem"), ("kernelTCP", "memory.kmem.tcp"))

# runc's key, then the file's last part as BFQ and CFQ name it.
_BLKIO = (
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("sectorsRecursive", "sectors_recursive"),
)
# Without a scheduler that counts, the throttling layer does.
_THROTTLE = (
    ("ioServiceBytesRecursive", "blkio.throttle.io_service_bytes_recursive"),
    ("ioServicedRecursive", "blkio.throttle.io_serviced_recursive"),
)


def collect(paths: dict[str, str]) -> dict:
    """Return the statistics of every controller that is mounted. Raises CgroupError."""
    return {
        "cpu": _cpu(paths),
        "cpuset": _cpuset(paths.get("cpuset")),
        "memory": _memory(paths.get("memory")),
        "pids": _pids(paths.get("pids")),
        "blkio": _blkio(paths.get("blkio")),
        "hugetlb": _hugetlb(paths.get("hugetlb")),
    }


def _cpu(paths: dict[str, str]) -> dict:
    usage: dict = {"kernel": 0, "user": 0}
    throttling: dict = {}
    if "cpuacct" in paths:
        usage = _usage(paths["cpuacct"])
    if "cpu" in paths:
        found = table(paths["cpu"], "cpu.stat")
        throttling = without_zeros({
            "periods": found.get("nr_periods"),
            "throttledPeriods": found.get("nr_throttled"),
            "throttledTime": found.get("throttled_time"),
        })
    return {"usage": usage, "throttling": throttling}


def _usage(directory: str) -> dict:
    ticks = table(directory, "cpuacct.stat")
    second = posix.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in read(directory, "cpuacct.usage_all").splitlines()[1:]]  # cpu, user, system
    return without_zeros({
        "total": number(directory, "cpuacct.usage"),
        "percpu": [int(word) for word in read(directory, "cpuacct.usage_percpu").split()],
        "percpu_kernel": [int(row[2]) for row in rows],
        "percpu_user": [int(row[1]) for row in rows],
        "kernel": ticks.get("system", 0) * _SECOND_NS // second,
        "user": ticks.get("user", 0) * _SECOND_NS // second,
    }, ("kernel", "user"))


def _cpuset(directory: str | None) -> dict:
    found: dict = {}
    if directory is not None:
        found = without_zeros({"cpus": _list(read(directory, "cpuset.cpus")),
                               "mems": _list(read(directory, "cpuset.mems"))})
    for name in _CPUSET_FLAGS:
        found[name] = 0 if directory is None else number(directory, f"cpuset.{name}")
    level = "0" if directory is None else read(directory, "cpuset.sched_relax_domain_level")
    found["sched_relax_domain_level"] = int(level or "0")
    return found


def _list(text: str) -> list[int]:
    """Return the numbers of a list such as 0-2,5."""
    found: list[int] = []
    for part in text.split(","):
        if part:
            first, _, last = part.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
    return found


def _memory(directory: str | None) -> dict:
    if directory is None:
        return {name: {"limit": 0, "failcnt": 0} for name, _ in _MEMORY}
    raw = table(directory, "memory.stat")
    found: dict = {"cache": raw.get("cache", 0)}
    for name, prefix in _MEMORY:
        found[name] = without_zeros({
            "limit": number(directory, f"{prefix}.limit_in_bytes"),
            "usage": number(directory, f"{prefix}.usage_in_bytes"),
            "max": number(directory, f"{prefix}.max_usage_in_bytes"),
            "failcnt": number(directory, f"{prefix}.failcnt"),
        }, ("limit", "failcnt"))
    found["raw"] = raw
    return without_zeros(found)


def _pids(directory: str | None) -> dict:
    if directory is None:
        return {}
    return without_zeros({"current": number(directory, "pids.current"),
                          "limit": number(directory, "pids.max", unlimited=0)})


def _blkio(directory: str | None) -> dict:
    if directory is None:
        return {}
    for prefix in ("blkio.bfq.", "blkio."):
        if cgroupfs.has(directory, f"{prefix}io_serviced_recursive"):
            files = [(key, prefix + name) for key, name in _BLKIO]
            found = {key: block_entries(read(directory, name)) for key, name in files}
            if found["ioServicedRecursive"]:
                return without_zeros(found)
    return without_zeros({key: block_entries(read(directory, name)) for key, name in _THROTTLE})


def _hugetlb(directory: str | None) -> dict:
    if directory is None:
        return {}
    return {
        size: without_zeros({
            "usage": number(directory, f"hugetlb.{size}.usage_in_bytes"),
            "max": number(directory, f"hugetlb.{size}.max_usage_in_bytes"),
            "failcnt": number(directory, f"hugetlb.{size}.failcnt"),
        }, ("failcnt",))
        for size in page_sizes(directory, ".usage_in_bytes")
    }
