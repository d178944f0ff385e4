"""What is measured: each row brings a container to where its verb begins, measures it, and cleans up."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import capsule
from bench.clock import Failed, Sample, measure, reap
from capsule.client.launcher import LAUNCHER_VARIABLE

PAUSE = 0.06  # seconds: long enough for the kernel to leave its busy regime (docs/performance.md)

_numbers = itertools.count(1)


class Runtime:
    """One of the programs compared, with a state root of its own."""

    def __init__(self, name: str, argv: list[str], directory: Path) -> None:
        self.name = name
        self.argv = [*argv, "--root", str(directory / f"state-{name}")]
        self.log = str(directory / f"log-{name}")

    def call(self, *words: str, status: int = 0) -> Sample:
        return measure([*self.argv, *words], self.log, status=status)

    @contextmanager
    def container(self, bundle: Path, *, start: bool) -> Iterator[str]:
        """Give the id of a container that waits or runs; it is gone afterwards."""
        name = new_id()
        self.call("create", "--bundle", str(bundle), name)
        try:
            if start:
                self.call("start", name)
            yield name
        finally:
            self.remove(name)

    def remove(self, name: str) -> None:
        reap()
        self.call("delete", "--force", name)
        reap()

    def pid(self, name: str) -> int:
        """Return the pid of a container's first process as its state says."""
        self.call("state", name)
        text = Path(self.log).read_text(encoding="utf-8")
        return int(text.partition('"pid":')[2].split(",")[0].strip())


def new_id() -> str:
    return f"bench{os.getpid()}-{next(_numbers)}"


class Bundles:
    """The bundles that rows use."""

    def __init__(self, plain: Path, waiting: Path, engine: Path) -> None:
        self.plain, self.waiting, self.engine = plain, waiting, engine


Row = Callable[[Runtime, Bundles], Sample]


def run(runtime: Runtime, bundles: Bundles) -> Sample:
    return runtime.call("run", "--bundle", str(bundles.plain), new_id())


def run_paused(runtime: Runtime, bundles: Bundles) -> Sample:
    time.sleep(PAUSE)
    return run(runtime, bundles)


def engine(runtime: Runtime, bundles: Bundles) -> Sample:
    return runtime.call("run", "--bundle", str(bundles.engine), new_id())


def engine_paused(runtime: Runtime, bundles: Bundles) -> Sample:
    time.sleep(PAUSE)
    return engine(runtime, bundles)


def library(runtime: Runtime, bundles: Bundles) -> Sample:
    """capsule by its library, in this warm program; the others as a program would start them."""
    if runtime.name != "capsule":
        return run(runtime, bundles)
    os.environ[LAUNCHER_VARIABLE] = runtime.argv[0]
    container = capsule.Factory(runtime.argv[2]).create(new_id(), bundle=bundles.plain)
    before = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic_ns()
    container.run()
    status = container.wait()
    container.destroy()
    wall = time.monotonic_ns() - begin
    after = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        raise Failed(f"the payload ended with {status}")
    cpu = sum(new.ru_utime + new.ru_stime - old.ru_utime - old.ru_stime for new, old in zip(after, before, strict=True))
    return Sample((wall / 1e6, cpu * 1e3))


def create(runtime: Runtime, bundles: Bundles) -> Sample:
    name = new_id()
    try:
        return runtime.call("create", "--bundle", str(bundles.waiting), name)
    finally:
        runtime.remove(name)


def create_paused(runtime: Runtime, bundles: Bundles) -> Sample:
    time.sleep(PAUSE)
    return create(runtime, bundles)


def start(runtime: Runtime, bundles: Bundles) -> Sample:
    with runtime.container(bundles.waiting, start=False) as name:
        return runtime.call("start", name)


def exec_(runtime: Runtime, bundles: Bundles) -> Sample:
    with runtime.container(bundles.waiting, start=True) as name:
        runtime.call("exec", name, "/bin/true")
        return runtime.call("exec", name, "/bin/true")


def exec_paused(runtime: Runtime, bundles: Bundles) -> Sample:
    with runtime.container(bundles.waiting, start=True) as name:
        time.sleep(PAUSE)
        return runtime.call("exec", name, "/bin/true")


def kill(runtime: Runtime, bundles: Bundles) -> Sample:
    with runtime.container(bundles.waiting, start=True) as name:
        return runtime.call("kill", name, "KILL")


def delete(runtime: Runtime, bundles: Bundles) -> Sample:
    with runtime.container(bundles.waiting, start=True) as name:
        pid = runtime.pid(name)
        runtime.call("kill", name, "KILL")
        _wait_end(pid)
        return runtime.call("delete", name)


def state(runtime: Runtime, bundles: Bundles) -> Sample:
    with runtime.container(bundles.waiting, start=True) as name:
        return runtime.call("state", name)


def list_(runtime: Runtime, bundles: Bundles) -> Sample:
    with runtime.container(bundles.waiting, start=True):
        return runtime.call("list")


def _wait_end(pid: int) -> None:
    """Wait for the end of a first process and collect it, as an engine's monitor does."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        while True:
            try:
                os.kill(pid, signal.SIG_DFL)
            except ProcessLookupError:
                return
            time.sleep(0.001)


ROWS: dict[str, Row] = {
    "run, pauses": run_paused,
    "run, back to back": run,
    "library: run to exit, destroy": library,
    "create, pauses": create_paused,
    "create, back to back": create,
    "start": start,
    "exec, pauses": exec_paused,
    "exec, back to back": exec_,
    "kill": kill,
    "delete": delete,
    "state": state,
    "list": list_,
    "engine-like run, pauses": engine_paused,
    "engine-like run, back to back": engine,
}
