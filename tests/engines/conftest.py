"""Engines: each scenario runs once for every runtime asked for, and the table of results ends the session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import requires as requirements
from helpers.leaks import SESSION

from .kit import archive, report, runtimes
from .kit.engine import Engine

pytest.register_assert_rewrite("engines.shared")

TABLE = report.Table()
WRITTEN = requirements.ROOT / "build" / "engines.md"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: the scenario runs in every test run, with the runtime under test only")
    config.addinivalue_line("markers", "known(**reasons): runtimes that fail this scenario for a reason of their own "
                                       "or of the machine; it is data in the report, not a failure")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("runtime", runtimes.asked() or [runtimes.SUBJECT])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep only the smoke subset unless CAPSULE_ENGINES asks for more."""
    full = bool(runtimes.asked())
    chosen = [item for item in items
              if full or not report.position(item) or item.get_closest_marker("smoke")]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Record every result; what a rival or the machine cannot do is data, not a failure."""
    result = yield
    place = report.position(item)
    if place:
        _excuse(item, result, place[2])
        TABLE.note(item, result)
    return result


def _excuse(item: pytest.Item, result: pytest.TestReport, runtime: str) -> None:
    mark = item.get_closest_marker("known")
    known = mark.kwargs.get(runtime) if mark else None
    if result.failed and (known or runtime != runtimes.SUBJECT):
        result.outcome = "skipped"
        result.wasxfail = f"known: {known}" if known else f"{runtime} fails"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not TABLE.rows:
        return
    TABLE.write(WRITTEN)
    terminalreporter.section("engines")
    lines = TABLE.lines()
    wanted = [line for line in lines if line.startswith("## ") or line.startswith("- ")]
    terminalreporter.write("\n".join(lines if runtimes.asked() else wanted) + "\n")
    for name in TABLE.regressions():
        terminalreporter.write(f"works with runc, not with {runtimes.SUBJECT}: {name}\n", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where runc passes and the runtime under test does not, even where that was called known."""
    if TABLE.regressions() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


class Hosts:
    """The engines of this session, each opened when its first scenario comes."""

    def __init__(self, payload: Path) -> None:
        self._payload = payload
        self._open: dict[type[Engine], Engine] = {}
        self._directory: Path | None = None

    def get(self, kind: type[Engine]) -> Engine:
        if kind not in self._open:
            self._open[kind] = self._make(kind)
        return self._open[kind]

    def _make(self, kind: type[Engine]) -> Engine:
        if not self._directory:
            self._directory = Path(tempfile.mkdtemp(prefix=f"{SESSION}-engines-", dir="/tmp"))
            self._directory.chmod(0o711)
            self._archive = archive.write(self._directory / "image.tar", self._payload)
            self._runtimes = runtimes.paths(self._directory)
        directory = self._directory / kind.NAME
        directory.mkdir()
        return kind(directory, self._archive, self._runtimes)

    def close(self) -> None:
        """End every engine, also when the end of one fails."""
        try:
            while self._open:
                self._open.popitem()[1].close()
        finally:
            if self._directory:
                shutil.rmtree(self._directory)


@pytest.fixture(scope="session")
def hosts(payload: Path) -> Iterator[Hosts]:
    made = Hosts(payload)
    yield made
    made.close()


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest, hosts: Hosts) -> Engine:
    """Give the module's ENGINE, opened before the first check for leaks."""
    return hosts.get(request.module.ENGINE)


@pytest.fixture
def engine(host: Engine, runtime: str) -> Iterator[Engine]:
    """Give the engine on one runtime; what the scenario makes is removed after it, and nothing may be left."""
    lack = runtime not in host.runtimes
    if lack:
        pytest.skip(f"{runtime} is not installed")
    with host.scenario(runtime) as using:
        yield using
