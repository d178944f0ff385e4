"""Log records reach the configured sink, debug ones only when asked for."""

import pytest

from capsule import log


@pytest.fixture
def records():
    """The records of one test; the log is without a sink afterwards."""
    seen = []
    yield seen
    log.configure(None)


def test_without_a_sink_records_are_dropped():
    log.configure(None, debug=True)
    log.debug("x")
    log.warning("x")

    assert not log.is_debug()


def test_records_carry_level_and_message(records):
    log.configure(lambda *record: records.append(record))
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")

    assert records == [("info", "b"), ("warning", "c"), ("error", "d")]


def test_debug_records_pass_when_asked_for(records):
    log.configure(lambda *record: records.append(record), debug=True)
    log.debug("a")

    assert log.is_debug()
    assert records == [("debug", "a")]
