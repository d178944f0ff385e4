"""Fixtures of the whole suite: the runtime under test, bundles, and the check for leaks."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from helpers import apart, budget, combos, payload as payloads, process, requires as requirements  # noqa: E402 - the path comes first
from helpers.bundle import Bundle  # noqa: E402 - the path comes first
from helpers.leaks import NAMED_AFTER_CONTAINERS, SESSION, Snapshot  # noqa: E402 - the path comes first
from helpers.runtime import Runtime  # noqa: E402 - the path comes first

MARKERS = (
    "requires(*names): what the test needs of the machine (tests/helpers/requires.py)",
    "rival(**reasons): how another runtime differs, by its name; under it the test must fail",
    "row(*numbers): the rows of docs/conformance.md whose effect (or refusal) the test asserts",
    "combo(hierarchy, controller, driver, user): what of helpers/combos.py the test proves",
    "stress: many repetitions; run with -m stress",
)
_numbers = itertools.count(1)
_before_all = pytest.StashKey[Snapshot]()


def pytest_configure(config: pytest.Config) -> None:
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    apart.keep()
    budget.register()
    combos.register(config)
    process.become_subreaper()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note what workers share before they start."""
    if session.config.getoption("numprocesses", None) and not apart.is_worker():
        session.config.stash[_before_all] = Snapshot(NAMED_AFTER_CONTAINERS)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where workers left what no single test of theirs could be blamed for."""
    snapshot = session.config.stash.get(_before_all, None)
    left = snapshot.left() if snapshot else []
    if left:
        session.config.get_terminal_writer().line("\nleft behind by a worker:\n  " + "\n  ".join(left), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out stress unless asked for, and other worlds; expect rivals to fail where they differ."""
    chosen = [item for item in items if (config.option.markexpr or not item.get_closest_marker("stress"))
              and combos.fits(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    apart.longest_first(items)
    name = os.path.basename(requirements.binary()[0])
    for item in items:
        for mark in item.iter_markers("rival"):
            if name in mark.kwargs:
                strict = mark.kwargs.get("strict", True)
                item.add_marker(pytest.mark.xfail(reason=mark.kwargs[name], strict=strict))


def pytest_report_collectionfinish(items: list[pytest.Item]) -> list[str]:
    return requirements.header(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    requirements.check(item)


def _needs(item: pytest.Item) -> set[str]:
    return {name for mark in item.iter_markers("requires") for name in mark.args}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Show the calls of the runtime beside a failure."""
    report = yield
    runtime = getattr(item, "funcargs", {}).get("capsule")
    if report.failed and isinstance(runtime, Runtime):
        report.sections.append(("calls of the runtime", runtime.report()))
    return report


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest) -> Iterator[Snapshot | None]:
    """Compare the host by name before and after every test that needs root."""
    if not {"root", "runtime"} & _needs(request.node):
        yield None
        return
    snapshot = Snapshot()
    yield snapshot
    try:
        snapshot.check()
    finally:
        snapshot.end_strays()


@pytest.fixture(scope="session")
def payload() -> Path:
    """Return the static program that containers run."""
    return payloads.build_payload()


@pytest.fixture
def workdir(leaks: Snapshot | None) -> Iterator[Path]:
    """Give a directory with a short path (socket names end at 107 bytes), removed after the test."""
    path = Path(tempfile.mkdtemp(prefix=f"{SESSION}-", dir="/tmp"))
    path.chmod(0o711)  # root of a user namespace must reach its bundle
    yield path
    shutil.rmtree(path)


@pytest.fixture
def capsule(workdir: Path, leaks: Snapshot | None) -> Iterator[Runtime]:
    """Give the runtime under test; its containers are deleted after the test."""
    (workdir / "calls").mkdir()
    runtime = Runtime(requirements.binary(), workdir / "state", workdir / "calls")
    yield runtime
    runtime.clean()
    assert not runtime.sanitizer_reports(), runtime.report()
    left = runtime.states_left()
    assert not left, f"left in the state root: {left}"


@pytest.fixture
def bundle(workdir: Path, payload: Path,
           leaks: Snapshot | None) -> Iterator[Callable[..., Bundle]]:
    """Give a maker of bundles: bundle(args=[...]) under one directory, which is watched for leaks."""
    parent = workdir / "bundles"
    parent.mkdir()

    def make(args: list[str] | None = None) -> Bundle:
        name = f"{SESSION}-{next(_numbers)}"
        made = Bundle(parent / name, name, payload)
        if args:
            made.args(*args)
        return made

    yield make
    strangers = [name for name in os.listdir(parent) if not re.fullmatch(rf"{SESSION}-\d+", name)]
    assert not strangers, f"left beside the bundle: {strangers}"
