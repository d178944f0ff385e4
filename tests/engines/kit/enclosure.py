"""A machine within the machine: namespaces and cgroups in which an engine can harm and leave nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from helpers import process
from helpers.leaks import SESSION
from helpers.payload import parse_mountinfo
from helpers.runtime import DEADLINE
from helpers.wait import wait_until

INSIDE = Path(__file__).with_name("inside.py")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian's packages, never what stands in /usr/local
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'
STATES = ("/run/capsule", "/run/runc", "/run/crun")


def _hierarchies() -> list[tuple[str, str, str]]:
    """Return (type, mount options, mount point) of every cgroup hierarchy of the machine."""
    found = []
    for entry in parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")):
        if entry["type"] not in ("cgroup", "cgroup2") or entry["root"] != "/":
            continue
        words = sorted(word for word in entry["super"] if word not in ("rw", "xattr", "nsdelegate")
                       and not word.startswith("release_agent="))
        if any(word.startswith("name=") for word in words):
            words.insert(0, "none")
        found.append((entry["type"], ",".join(words) if entry["type"] == "cgroup" else "", entry["point"]))
    return found


class Done:
    """A command that has ended."""

    def __init__(self, argv: Sequence[str], rc: int, out: bytes, err: bytes) -> None:
        self.argv, self.rc, self.raw = list(argv), rc, out
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def word(self) -> str:
        """The output without its line end, for commands that print one name or number."""
        return self.out.strip()

    def __repr__(self) -> str:
        words = " ".join(self.argv)
        return f"$ {words}\n  status {self.rc}\n  stdout: {self.out[-3000:]!r}\n  stderr: {self.err[-3000:]!r}"


class Enclosure:
    """Mount, network, pid and cgroup namespaces, held by a process 1; everything inside ends with it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.directory = directory
        self._daemons: list[subprocess.Popen] = []
        self._hierarchies = _hierarchies()
        self._groups = [Path(point) / f"{SESSION}-{name}" for _, _, point in self._hierarchies]
        self.make_groups("")
        try:
            self._hold()
        except BaseException:
            self._remove_groups()
            raise

    def make_groups(self, path: str) -> None:
        """Make a cgroup, named from the enclosure's root, in every hierarchy, as usable as its parent."""
        for top in self._groups:
            group = top / path
            group.mkdir()
            for knob in ("cpuset.cpus", "cpuset.mems"):
                if (group / knob).exists():
                    (group / knob).write_text((group.parent / knob).read_text())

    def _hold(self) -> None:
        words = [word for hierarchy in self._hierarchies for word in hierarchy]
        argv = ["sh", "-c", JOIN, "sh", *map(str, self._groups), "--", "setpriv", "--pdeathsig", "KILL", "unshare",
                "--mount", "--net", "--pid", "--cgroup", "--fork", "--kill-child", "--propagation", "private",
                "--mount-proc", sys.executable, "-I", "-S", str(INSIDE), *words]
        errors = self.directory / "enclosure.log"
        with open(errors, "wb") as log:
            self._holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            env={"PATH": PATH}, start_new_session=True)
        process.own(self._holder.pid)
        answer = self._holder.stdout.readline()
        if answer != b"ready\n":
            self._end()
            raise AssertionError(f"the enclosure did not start: {errors.read_text(errors='replace')}")
        (self.init,) = process.children(self._holder.pid)

    # Commands

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None, **how: object) -> subprocess.Popen:
        """Start a command inside; its output is piped unless `how` (of Popen) says otherwise."""
        points = [point for _, _, point in self._hierarchies]
        outer = ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--cgroup", "--",
                 "sh", "-c", JOIN, "sh", *points, "--", *argv]
        usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        whole = {"PATH": PATH, "HOME": str(self.directory), "TMPDIR": str(self.directory), **(env or {})}
        started = subprocess.Popen(outer, env=whole, **{**usual, **how})  # type: ignore[call-overload]
        process.own(started.pid)
        return started

    def daemon(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen:
        """Start a program that lives until the enclosure ends; its output goes to a file."""
        with open(log, "wb") as file:
            started = self.start(argv, env, stdout=file, stderr=file)
        self._daemons.append(started)
        return started

    def finish(self, started: subprocess.Popen, argv: Sequence[str], data: bytes | None = None,
               timeout: float = 3 * DEADLINE) -> Done:
        """Wait for the end of a command; kill it and fail when it hangs."""
        try:
            out, err = started.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            for pid in [*process.descendants(started.pid), started.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            out, err = started.communicate(timeout=DEADLINE)
            raise AssertionError(f"hangs: {Done(argv, -1, out or b'', err or b'')!r}") from None
        finally:
            process.disown(started.pid)
        return Done(argv, started.returncode, out or b"", err or b"")

    def call(self, *argv: str, rc: int | None = 0, env: Mapping[str, str] | None = None, data: bytes | None = None,
             timeout: float = 3 * DEADLINE) -> Done:
        """Run a command inside to its end; compare its exit status unless rc is None."""
        stdin = subprocess.PIPE if data is not None else subprocess.DEVNULL
        done = self.finish(self.start(argv, env, stdin=stdin), argv, data, timeout)
        assert rc is None or done.rc == rc, f"not {rc}: {done!r}"
        return done

    # Facts

    def path(self, inside: str) -> Path:
        """Return where the host finds a path of the enclosure."""
        return Path(f"/proc/{self.init}/root") / inside.lstrip("/")

    def processes(self) -> dict[int, str]:
        """Return the command lines of all processes inside but the first, by their pids inside."""
        process.reap_orphans()  # the child of a killed nsenter becomes ours, not the enclosure's
        found = {}
        for name in os.listdir(self.path("/proc")):
            if name.isdigit() and name != "1":
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found[int(name)] = self.path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def groups(self) -> set[str]:
        """Return the cgroups below the enclosure's own, as `HIERARCHY: PATH`."""
        return {f"{top.parent.name}: /{Path(path).relative_to(top)}" for top in self._groups
                for path, _, _ in os.walk(top) if path != str(top)}

    def mount_point(self, controller: str) -> Path:
        """Return where the host mounts the hierarchy of a version 1 controller."""
        return next(Path(point) for _, options, point in self._hierarchies if controller in options.split(","))

    def group_of(self, pid: int, controller: str) -> str:
        """Return the cgroup of a process (as the enclosure counts), relative to its controller's mount point."""
        for line in self.path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                return path.lstrip("/")
        raise AssertionError(f"no cgroup of {controller}")

    def _mounts(self) -> set[str]:
        text = Path(f"/proc/{self.init}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        return {f"{entry['type']} on {entry['point']}" for entry in parse_mountinfo(text)}

    def _links(self) -> set[str]:
        lines = Path(f"/proc/{self.init}/net/dev").read_text(encoding="ascii").splitlines()[2:]
        return {line.partition(":")[0].strip() for line in lines}

    def facts(self, states: Sequence[str] = STATES) -> set[str]:
        """Return everything that a container could leave inside, as "kind: name"."""
        sources: dict[str, Callable[[], set[str]]] = {
            "process": lambda: {f"{pid} {line}" for pid, line in self.processes().items()},
            "cgroup": self.groups,
            "mount": self._mounts,
            "network link": self._links,
            "state": lambda: {f"{top}/{name}" for top in states if self.path(top).is_dir()
                              for name in os.listdir(self.path(top)) if name[0] != "."},
        }
        return {f"{kind}: {name}" for kind, names in sources.items() for name in names()}

    # The end

    def end_processes(self, keep: set[int]) -> None:
        """Kill, by pid, every process inside but the first and those to keep."""
        for pid in set(self.processes()) - keep:
            self.call("kill", "-KILL", str(pid), rc=None)

    def remove_groups(self, keep: set[str]) -> None:
        """Remove the cgroups below the enclosure's own that are not in `keep` (of `groups`) and not in use."""
        for top in self._groups:
            for path, _, _ in os.walk(top, topdown=False):
                if path != str(top) and f"{top.parent.name}: /{Path(path).relative_to(top)}" not in keep:
                    with contextlib.suppress(OSError):
                        os.rmdir(path)

    def close(self) -> None:
        """End every process inside (the pid namespace dies with its first) and remove the cgroups."""
        self._end()
        self._remove_groups()

    def _end(self) -> None:
        for pid in process.children(self._holder.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for started in (*self._daemons, self._holder):
            started.wait(DEADLINE)
            process.disown(started.pid)
        self._holder.stdout.close()

    def _remove_groups(self) -> None:
        def gone() -> bool:
            for top in self._groups:
                for path, _, _ in os.walk(top, topdown=False):
                    with contextlib.suppress(OSError):  # a process that is about to end may still be in it
                        os.rmdir(path)
            return not any(top.exists() for top in self._groups)

        wait_until(gone, DEADLINE, "the removal of the enclosure's cgroups")
