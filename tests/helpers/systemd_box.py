"""A systemd of our own in namespaces, where the machine's PID 1 is another program: v1 beside v2, or v2 alone.

It has the machine's file system below an overlay, no service of the machine's, and cgroups below one of ours, which
are the roots of its cgroup namespace. v2 has the controllers that the machine's v1 leaves it, often none.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from . import leaks, process
from .payload import parse_mountinfo
from .requires import ROOT
from .wait import wait_until

UID = 61234  # of its user manager
MARK = leaks.BOX  # in the names of its cgroups

_SCRIPT = Path(__file__).with_name("systemd_box.sh")
_NAMESPACES = ("--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net")
# Joins a group of each hierarchy ("tasks" without the grace period of cgroup.procs), then the namespaces.
_JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@"'
_ENTER = 'pid=$1; shift; while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec nsenter -t "$pid" -a "$@"'


def is_host() -> bool:
    """Tell whether the machine's own PID 1 is systemd."""
    return Path("/run/systemd/system").is_dir()


class Box:
    """A running systemd; `prefix` before an argv runs a program beside its units, as root."""

    def __init__(self, layout: str, prefix: list[str]) -> None:
        self.layout = layout  # "v1" (hybrid) or "v2"
        self.prefix = prefix

    def run(self, *argv: str | Path, rc: int | None = 0) -> str:
        """Run a program to its end and return its stdout."""
        done = subprocess.run([*self.prefix, *map(str, argv)], capture_output=True, text=True, timeout=120, check=False)
        assert rc is None or done.returncode == rc, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit as `systemctl show` tells them."""
        words = [f"--property={name}" for name in names]
        lines = self.run("systemctl", "show", unit, *words).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def is_there(self, unit: str) -> bool:
        return self.show(unit, "LoadState")["LoadState"] != "not-found"

    def cgroups_of(self, pid: int) -> dict[str, str]:
        """Return {controllers: path} of a process by its number in the box."""
        lines = self.run("cat", f"/proc/{pid}/cgroup").splitlines()
        return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}

    def file(self, controller: str, cgroup: str, name: str) -> str:
        """Return the text of a cgroup's file; on v2 the controller counts for nothing."""
        root = "/sys/fs/cgroup" + ("" if self.layout == "v2" else f"/{controller or 'unified'}")
        return self.run("cat", f"{root}{cgroup}/{name}").strip()


def _hierarchies(layout: str) -> list[tuple[str, bool]]:
    """Return (mount point, whether it is v2) of the machine's hierarchies that a box needs."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    found = {entry["point"]: entry["type"] == "cgroup2" for entry in parse_mountinfo(text)
             if entry["type"] in ("cgroup", "cgroup2")}
    return [(point, unified) for point, unified in found.items() if unified or layout == "v1"]


@contextmanager
def start(layout: str) -> Iterator[Box]:
    """Give a box, and take it down with all that runs in it."""
    name = f"{MARK}-{os.getpid()}-{layout}"
    places = _hierarchies(layout)
    tops, joins = [], []
    for point, unified in places:
        top = Path(point, name)
        top.mkdir()
        tops.append(top)
        for knob in ("cpuset.cpus", "cpuset.mems"):
            if not unified and (top / knob).exists():
                (top / knob).write_text(Path(point, knob).read_text(encoding="ascii"), encoding="ascii")
        joins.append(str(top / ("cgroup.procs" if unified else "tasks")))
    with tempfile.TemporaryDirectory(prefix=f"{MARK}-") as directory, tempfile.TemporaryFile() as log:
        popen = subprocess.Popen(
            ["sh", "-c", _JOIN, "sh", *joins, "--", "setpriv", "--pdeathsig", "KILL",
             "unshare", *_NAMESPACES, "--fork", "--kill-child",
             "sh", str(_SCRIPT), layout, directory, str(UID), "/tmp", str(ROOT)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        process.own(popen.pid)
        try:
            yield _wait_for(popen, layout, tops, places, log)
        finally:
            for pid in process.children(popen.pid):
                os.kill(pid, 9)  # the first of its pid namespace: with it go all
            popen.wait(30)
            process.disown(popen.pid)
            for top in tops:
                wait_until(lambda top=top: _remove(top), 30, f"removal of {top}")


def _wait_for(popen: subprocess.Popen, layout: str, tops: list[Path], places: list[tuple[str, bool]],
              log: IO[bytes]) -> Box:
    wait_until(lambda: process.children(popen.pid) or popen.poll() is not None, 60, "systemd in its namespaces")
    pid = process.children(popen.pid)[0]
    joins = []
    for top, (_, unified) in zip(tops, places, strict=True):
        # v2, and systemd's own of v1: beside the units, as a login session is.
        group = top
        if unified or "systemd" in top.parent.name:
            group = top / "shell.scope"
            group.mkdir(exist_ok=True)
        joins.append(str(group / ("cgroup.procs" if unified else "tasks")))
    box = Box(layout, ["sh", "-c", _ENTER, "sh", str(pid), *joins, "--"])

    def is_up() -> bool:
        assert popen.poll() is None, os.pread(log.fileno(), 1 << 20, 0).decode("utf-8", "replace")
        state = subprocess.run([*box.prefix, "systemctl", "is-system-running"], stdout=subprocess.PIPE, text=True,
                               check=False)
        return state.stdout.strip() in ("running", "degraded")

    wait_until(is_up, 60, f"a running systemd ({layout})")
    return box


def _remove(top: Path) -> bool:
    """Remove a cgroup with all below it; False while something is on its way out."""
    try:
        for parent, _, _ in os.walk(top, topdown=False):
            os.rmdir(parent)
    except OSError:
        return False
    return True
