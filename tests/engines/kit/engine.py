"""What every engine offers to a scenario: commands, and the promise that nothing is left after it."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from helpers.runtime import DEADLINE
from helpers.terminal import Pty
from helpers.wait import wait_until

from .enclosure import STATES, Done, Enclosure


class Engine:
    """An engine in an enclosure of its own, open for the whole session; `runtime` changes between scenarios."""

    NAME: ClassVar[str]
    NEEDS: ClassVar[tuple[str, ...]] = ("root", "runtime", "busybox", "gcc", "cgroup1", "overlay")
    KEEPS: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")  # facts that may appear: what the engine makes once
    STATES: ClassVar[Sequence[str]] = STATES  # where runtimes keep the state of this engine's containers
    PATIENCE: ClassVar[float] = DEADLINE / 4  # seconds in which what a scenario made must be gone
    IMAGE: ClassVar[str] = "localhost/base:latest"

    def __init__(self, directory: Path, archive: Path, runtimes: dict[str, Path]) -> None:
        self.directory, self.archive, self.runtimes = directory, archive, runtimes
        self.runtime = ""
        self.box = Enclosure(self.NAME, directory)
        try:
            self.open()
        except BaseException:
            self.box.close()
            raise

    # What a new engine writes

    def open(self) -> None:
        """Configure the engine, start its daemons with `box.start`, and load the image."""
        raise NotImplementedError

    def argv(self, *words: str) -> list[str]:
        """Return the command line of one engine command."""
        raise NotImplementedError

    def clean(self) -> None:
        """Remove, by force, everything that the scenario made with the engine."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    # What scenarios use

    def start(self, *words: str, **how: object) -> subprocess.Popen:
        """Start an engine command (`how` is Popen's); end it with `finish`."""
        return self.box.start(self.argv(*words), self.environment(), **how)

    def finish(self, started: subprocess.Popen, rc: int | None = 0, data: bytes | None = None) -> Done:
        """Wait for the end of a started command; compare its exit status unless rc is None."""
        done = self.box.finish(started, started.args[-4:], data)
        assert rc is None or done.rc == rc, f"not {rc}: {done!r}"
        return done

    def call(self, *words: str, rc: int | None = 0, data: bytes | None = None, timeout: float = 3 * DEADLINE) -> Done:
        """Run an engine command to its end; compare its exit status unless rc is None."""
        return self.box.call(*self.argv(*words), rc=rc, env=self.environment(), data=data, timeout=timeout)

    def inside(self, *argv: str, rc: int | None = 0) -> Done:
        """Run any program of the machine where the engine runs: its network, its processes, its mounts."""
        return self.box.call(*argv, rc=rc)

    @contextlib.contextmanager
    def terminal(self, *words: str, rows: int = 24, columns: int = 80, rc: int | None = 0) -> Iterator[Pty]:
        """Run an engine command on a terminal; at the end of the block it must have ended with rc."""
        with Pty(rows, columns) as pty:
            started = self.start(*words, stdin=pty.slave, stdout=pty.slave, stderr=pty.slave, start_new_session=True)
            pty.release()
            try:
                yield pty
            finally:
                done = self.box.finish(started, words)
            assert rc is None or done.rc == rc, f"not {rc}: {done!r}\n{pty.seen!r}"

    def first(self) -> Path:
        """Return a directory for the start of a daemon's PATH, where `runc` is the scenario's runtime."""
        directory = self.directory / "first"
        if not directory.exists():
            directory.mkdir()
            self._select(next(iter(self.runtimes)))
        return directory

    def _select(self, runtime: str) -> None:
        self.runtime = runtime
        if (self.directory / "first").is_dir():
            link = self.directory / "first" / "next"
            link.symlink_to(self.runtimes[runtime])
            link.rename(link.with_name("runc"))

    # The fence around a scenario

    @contextlib.contextmanager
    def scenario(self, runtime: str) -> Iterator[Engine]:
        """Use a runtime for one scenario; afterwards clean up, and fail if anything is left in the enclosure."""
        self._select(runtime)
        before = self.box.facts(self.STATES)
        keep, groups = set(self.box.processes()), self.box.groups()
        try:
            yield self
        finally:
            self.clean()

            def left() -> list[str]:
                new = self.box.facts(self.STATES) - before
                return sorted(fact for fact in new if not self.KEEPS.match(fact))

            try:
                wait_until(lambda: not left(), self.PATIENCE)
            except AssertionError:
                found = left()
                self.box.end_processes(keep)
                self.box.remove_groups(groups)
                raise AssertionError("left in the enclosure:\n  " + "\n  ".join(found)) from None
            self.box.remove_groups(groups)

    def close(self) -> None:
        """End the engine and everything in its enclosure."""
        self.box.close()
