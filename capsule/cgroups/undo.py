"""Taking changed limits back: the old texts of the files that were written, put back in reverse order.

Each write found the files in a state that the kernel had accepted, so going back passes through accepted
states only: no controller needs an order of its own for it.
"""

from __future__ import annotations

from capsule import log
from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError

# Files of one line a device or interface: what makes a line that was not there as if it had never been.
_UNSET = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "blkio.bfq.weight_device": "default",
    "rdma.max": "hca_handle=max hca_object=max",
}


class Undo:
    """Remembers what cgroup files said before each write; leaving by an error puts it back."""

    __slots__ = ("_old",)

    def __init__(self) -> None:
        self._old: list = []  # (directory, name, text, keys of the lines about to be written)

    def __enter__(self) -> Undo:
        cgroupfs.before_write = self._remember
        return self

    def __exit__(self, kind, _error, _trace) -> None:
        cgroupfs.before_write = None
        if kind is not None:
            self._restore()

    def _remember(self, directory: str, name: str, values) -> None:
        if name == "cpu.idle" and self._is_busy(directory):
            # Leaving the idle state resets the weight: before this entry, so that it is put back after it.
            for weight in ("cpu.weight", "cpu.shares"):
                self._remember(directory, weight, ())
        try:
            text = cgroupfs.read(directory, name)
        except CgroupError:
            return  # not there: the write will say so; or write-only
        keys = [value.split()[0] for value in values if " " in value and name != "cpu.max"]  # QUOTA PERIOD: no key
        self._old.append((directory, name, text, keys))

    def _is_busy(self, directory: str) -> bool:
        """Tell whether a cgroup is not idle by now: only then it has a weight of its own."""
        try:
            return cgroupfs.read(directory, "cpu.idle") == "0"
        except CgroupError:
            return False

    def _restore(self) -> None:
        for directory, name, text, keys in reversed(self._old):
            try:
                cgroupfs.write_all(directory, name, lines_before(name, text, keys))
            except CgroupError as err:
                log.warning(f"put the former limit back: {err}")


def lines_before(name: str, text: str, keys: list) -> list:
    """Return what to write so that a file says again what it said; `keys` begin the lines that were written."""
    lines = text.splitlines()
    if keys:
        return [_line_of(name, lines, key) for key in keys]
    if name == "memory.oom_control":
        return [lines[0].split()[1]]  # its first line is "oom_kill_disable 0"
    return lines[:1] or ["\n"]  # a write of nothing is none


def _line_of(name: str, lines: list, key: str) -> str:
    for line in lines:
        if line.split()[:1] == [key]:
            return line
    return f"{key} {_UNSET.get(name, '0')}"
