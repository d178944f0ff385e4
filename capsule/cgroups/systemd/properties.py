"""`linux.resources` as properties of a unit: what systemd must know, or it would put its own values in their place.

The cgroup files are written by the limits' own modules all the same, after systemd: systemd rounds, and it cannot
express everything. A property is (name, D-Bus signature, value); sources are systemd.resource-control(5) and
org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from capsule import log
from capsule.cgroups.systemd.units import Place
from capsule.cgroups.v2 import convert
from capsule.errors import SpecError

INFINITY = (1 << 64) - 1

_PERIOD_US = 100_000  # the kernel's default
_SECOND_US = 1_000_000
_PERCENT_US = 10_000  # systemd keeps quotas as whole percents of a processor
# Versions of systemd that have introduced a property.
_PERIOD_SINCE, _CPUSET_SINCE, _IDLE_SINCE = 242, 244, 252

Property = tuple[str, str, object]


def of_unit(place: Place, pid: int, *, v2: bool) -> list[Property]:
    """Return what every container's unit has; a scope begins with process `pid`."""
    found: list[Property] = [("Description", "s", f"capsule container {place.container}")]
    if place.is_slice():
        if place.slice:
            found.append(("Wants", "as", [place.slice]))
    else:
        found += [("Slice", "s", place.slice), ("Delegate", "b", True), ("PIDs", "au", [pid])]
    # Accounting has systemd enable the controllers; DefaultDependencies would stop containers before their engine.
    block = "IOAccounting" if v2 else "BlockIOAccounting"
    found += [(name, "b", True) for name in ("MemoryAccounting", "CPUAccounting", block, "TasksAccounting")]
    found.append(("DefaultDependencies", "b", False))
    return found


def check(resources: dict, *, v2: bool, version: int) -> None:
    """Refuse what no unit can have. Raises SpecError."""
    early(resources, v2=v2, version=version)
    late(resources, v2=v2)


def early(resources: dict, *, v2: bool, version: int) -> list[Property]:
    """Return the properties of all limits but devices, memory and pids. Raises SpecError."""
    cpu = resources.get("cpu") or {}
    found = _weight(cpu, v2=v2, version=version)
    found += _quota(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    weight = (resources.get("blockIO") or {}).get("weight") or 0
    if weight:
        found.append(("IOWeight", "t", convert.io_weight(weight)) if v2 else ("BlockIOWeight", "t", weight))
    if v2:
        found += _cpuset(cpu.get("cpus") or "", cpu.get("mems") or "", version)
        found = _overridden(found, unified_early(resources.get("unified") or {}, version))
    return found


def late(resources: dict, *, v2: bool) -> list[Property]:
    """Return the properties of memory and pids. Raises SpecError."""
    memory = resources.get("memory") or {}
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    found: list[Property] = []
    if limit:
        found.append(("MemoryMax" if v2 else "MemoryLimit", "t", _bound(limit)))
    if v2:
        if memory.get("reservation"):
            found.append(("MemoryLow", "t", _bound(memory["reservation"])))
        # The specification's number counts memory and swap together, v2 swap alone.
        if swap > 0 and limit > 0:
            found.append(("MemorySwapMax", "t", max(swap - limit, 0)))
        elif swap < 0 or (limit < 0 and swap == 0):
            found.append(("MemorySwapMax", "t", INFINITY))
    pids = (resources.get("pids") or {}).get("limit")
    if pids is not None:
        found.append(("TasksMax", "t", INFINITY if pids < 0 else max(pids, 1)))
    if v2:
        found = _overridden(found, unified_late(resources.get("unified") or {}))
    return found


def _bound(value: int) -> int:
    return INFINITY if value < 0 else value


def _overridden(typed: list[Property], unified: list[Property]) -> list[Property]:
    """Put `unified` in the place of typed limits: it wins, as in the files."""
    names = [name for name, _, _ in unified]
    return [one for one in typed if one[0] not in names] + unified


def _weight(cpu: dict, *, v2: bool, version: int) -> list[Property]:
    shares, idle = cpu.get("shares") or 0, cpu.get("idle")
    found: list[Property] = []
    if idle == 1 and v2:
        if version >= _IDLE_SINCE:
            if shares:
                raise SpecError("invalid configuration", "linux.resources.cpu",
                                "unable to apply both shares and idle: to systemd idle is a weight")
            return [("CPUWeight", "t", 0)]
        log.debug(f"systemd {version} knows no idle cgroups: only cpu.idle is written")
    if shares:
        found.append(("CPUWeight", "t", convert.cpu_weight(shares)) if v2 else ("CPUShares", "t", shares))
    elif idle == 0 and v2 and version >= _IDLE_SINCE:
        found.append(("CPUWeight", "t", INFINITY))  # unset: no longer idle
    return found


def _quota(quota: int, period: int, version: int) -> list[Property]:
    found: list[Property] = []
    if period:
        if version >= _PERIOD_SINCE:
            found.append(("CPUQuotaPeriodUSec", "t", period))
        else:
            log.debug(f"systemd {version} knows no period of cpu quotas: only the cgroup's file is written")
    if quota or period:
        per_second = INFINITY
        if quota > 0:
            # Rounded up: cgroups below could otherwise not have the quota that the container was given.
            per_second = quota * _SECOND_US // (period or _PERIOD_US)
            per_second += -per_second % _PERCENT_US
        found.append(("CPUQuotaPerSecUSec", "t", per_second))
    return found


def _cpuset(cpus: str, mems: str, version: int) -> list[Property]:
    found: list[Property] = []
    for text, name, key in ((cpus, "AllowedCPUs", "cpus"), (mems, "AllowedMemoryNodes", "mems")):
        if text:
            bits = bitmap(text, f"linux.resources.cpu.{key}")
            if version >= _CPUSET_SINCE:
                found.append((name, "ay", bits))
            else:
                log.debug(f"systemd {version} knows no {name}: only the cgroup's file is written")
    return found


def bitmap(text: str, where: str) -> bytes:
    """Return a list such as "0-3,7" as a bitmap, number 0 being the lowest bit of the first byte. Raises SpecError."""
    bits = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not dash:
            last = first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or len(last) > 5:
            raise SpecError("invalid configuration", where, f'"{text}" is no list such as 0-3,7')
        low, high = int(first), int(last)
        if low > high:
            raise SpecError("invalid configuration", where, f'"{text}": {part} ends before it begins')
        bits |= (1 << high + 1) - (1 << low)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


# linux.resources.unified: files that are properties

_SIZES = {
    "memory.min": "MemoryMin", "memory.low": "MemoryLow", "memory.high": "MemoryHigh", "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax",
}  # fmt: skip


def unified_late(unified: dict) -> list[Property]:
    """Return the properties of the memory and pids files. Raises SpecError."""
    return [(name, "t", _number(unified, key)) for key, name in _SIZES.items() if key in unified]


def unified_early(unified: dict, version: int) -> list[Property]:
    """Return the properties of the other files that are properties. Raises SpecError."""
    found: list[Property] = []
    idle = unified.get("cpu.idle", "").strip()
    if "cpu.weight" in unified:
        if idle == "1" and version >= _IDLE_SINCE:
            raise SpecError("invalid configuration", "linux.resources.unified",
                            "unable to apply both cpu.weight and cpu.idle: to systemd idle is a weight")
        found.append(("CPUWeight", "t", _number(unified, "cpu.weight")))
    elif idle == "1" and version >= _IDLE_SINCE:
        found.append(("CPUWeight", "t", 0))
    if "cpu.max" in unified:
        quota, _, period = unified["cpu.max"].strip().partition(" ")
        where = 'linux.resources.unified["cpu.max"]'
        found += _quota(-1 if quota == "max" else _digits(quota, where), _digits(period or str(_PERIOD_US), where),
                        version)
    return found + _cpuset(unified.get("cpuset.cpus", "").strip(), unified.get("cpuset.mems", "").strip(), version)


def _number(unified: dict, key: str) -> int:
    text = unified[key].strip()
    return INFINITY if text == "max" else _digits(text, f'linux.resources.unified["{key}"]')


def _digits(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:21]) > INFINITY:
        raise SpecError("invalid configuration", where, f'"{text}" is no number')
    return int(text)
