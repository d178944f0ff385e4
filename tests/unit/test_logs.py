"""Logs as they are read: times, formats, the last lines, rotation."""

from __future__ import annotations

import datetime
import json
import tracemalloc

import pytest

from capsule.errors import CapsuleError
from capsule.logs import formats, reading

STAMP = "2026-11-30T00:47:16.123456789Z"


@pytest.mark.parametrize(("text", "stamp"), [
    ("2026-11-30T00:47:16.123456789Z", STAMP), ("2026-11-30", "2026-11-30T00:00:00.000000000Z"),
    ("2026-11-30T01:02", "2026-11-30T01:02:00.000000000Z"), ("10", "1970-01-01T00:00:10.000000000Z"),
    ("2026-11-30t01:02:03+02:00", "2026-11-29T23:02:03.000000000Z"),
    ("2026-11-30 01:02:03-01:30", "2026-11-30T02:32:03.000000000Z"), ("0", "1970-01-01T00:00:00.000000000Z"),
    ("1796000000.5", "2026-11-30T00:53:20.500000000Z"),
])
def test_a_moment_is_written_as_records_have_it(text, stamp) -> None:
    assert formats.stamp_of("--since", text) == stamp


@pytest.mark.parametrize("text", ["", "x", "-5m", "1.2.3", "2026-13-01", "2026-11-30T25:00", "2026-1-1", "5m x"])
def test_what_is_no_moment_is_refused(text) -> None:
    with pytest.raises(CapsuleError, match="expected"):
        formats.stamp_of("--since", text)


def test_a_time_ago_is_before_now() -> None:
    now = datetime.datetime.now(datetime.UTC)
    found = datetime.datetime.fromisoformat(formats.stamp_of("--since", "1h30m")[:19] + "+00:00")
    assert 5395 < (now - found).total_seconds() < 5405


@pytest.mark.parametrize("day", ["1970-01-01", "2000-02-29", "2024-12-31", "2100-03-01", "2400-02-29"])
def test_days_are_those_of_the_calendar(day) -> None:
    date = datetime.date.fromisoformat(day)
    assert formats.days_since_1970(date.year, date.month, date.day) == (date - datetime.date(1970, 1, 1)).days


@pytest.mark.parametrize("line", [
    "", "x", "2026 stdout F x", f"{STAMP} stdin F x", f"{STAMP} stdout Q x", '{"log":"x"}',
])
def test_what_is_no_record_is_passed_over(line) -> None:
    assert formats.parse("k8s-file", line.encode()) is None
    assert formats.parse("json-file", line.encode()) is None


def test_both_formats_say_the_same() -> None:
    k8s = formats.parse("k8s-file", f"{STAMP} stderr P a b ".encode())
    row = {"log": "a b ", "stream": "stderr", "time": STAMP}
    other = formats.parse("json-file", json.dumps(row).encode())
    for entry in (k8s, other):
        assert (entry.time, entry.is_error, entry.data, entry.whole) == (STAMP, True, b"a b ", False)


def _fill(path, text: str) -> None:
    """Write a record a word; one in small letters does not end its line."""
    path.write_bytes(b"".join(f"{STAMP} stdout {'FP'[word.islower()]} {word}\n".encode() for word in text.split()))


def _last(path, lines: int, files: int = 1) -> str:
    log = reading.Log(str(path), "k8s-file", files)
    try:
        log.skip_to(lines)
        return " ".join(entry.data.decode() for entry in log.entries())
    finally:
        log.close()


@pytest.mark.parametrize(("lines", "kept"), [
    (0, ""), (1, "d"), (2, "b C d"), (3, "A b C d"), (9, "A b C d")])
def test_the_last_lines_are_whole(lines, kept, tmp_path) -> None:
    _fill(tmp_path / "log", "A b C d")
    assert _last(tmp_path / "log", lines) == kept


@pytest.mark.parametrize("chunk", [1, 7, 50, 64, 100])
def test_the_last_lines_are_found_wherever_a_block_begins(chunk, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    (tmp_path / "log").write_bytes(b"no record\n")
    with open(tmp_path / "log", "ab") as file:
        for number in range(10):
            file.write(f"{STAMP} stdout F {'x' * number}{number}\n\n".encode())
        file.write(b"cut sho")
    for lines in range(1, 11):
        wanted = [f"{'x' * number}{number}" for number in range(10 - lines, 10)]
        assert _last(tmp_path / "log", lines) == " ".join(wanted)


@pytest.mark.parametrize("record", [f"{STAMP} stdout P {'x' * 4000}\n", "x" * 4000])
def test_a_line_without_an_end_is_not_held_in_memory(record, tmp_path) -> None:
    _fill(tmp_path / "log", "A B")
    with open(tmp_path / "log", "ab") as file:
        for _ in range(1500):
            file.write(record.encode())
    log = reading.Log(str(tmp_path / "log"), "k8s-file", 1)
    tracemalloc.start()
    try:
        log.skip_to(2)
        count = sum(1 for _ in log.entries())
        log.skip_to(1 << 20)
        assert sum(1 for _ in log.entries()) >= count
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
        log.close()
    assert count == (1501 if record.endswith("\n") else 2)


def test_what_comes_after_a_line_that_is_no_record_is_read(tmp_path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 300_000 + f"\n{STAMP} stdout F after\n".encode())
    assert _last(tmp_path / "log", 5) == "after"


def _write(path, *words: str) -> None:
    path.write_bytes(b"".join(f"{STAMP} stdout F {word}\n".encode() for word in words))


def test_rotated_files_are_read_in_order_and_once(tmp_path) -> None:
    path = tmp_path / "log"
    _write(tmp_path / "log.1", "a", "b")
    _write(path, "c")
    log = reading.Log(str(path), "k8s-file", 3)
    try:
        assert [entry.data for entry in log.entries()] == [b"a", b"b", b"c"]
        # Rotated twice between two looks.
        (tmp_path / "log.1").rename(tmp_path / "log.2")
        path.rename(tmp_path / "log.1")
        with open(tmp_path / "log.1", "ab") as file:
            file.write(f"{STAMP} stdout F d\n".encode())
        (tmp_path / "log.1").rename(tmp_path / "log.2")
        _write(tmp_path / "log.1", "e")
        _write(path, "f")
        assert [entry.data for entry in log.entries()] == [b"d", b"e", b"f"]
        assert list(log.entries()) == []
    finally:
        log.close()


def test_the_newest_files_that_have_enough_are_read_for_the_last_lines(tmp_path) -> None:
    path = tmp_path / "log"
    for number, words in ((2, "ab"), (1, "cd"), (0, "e")):
        _write(tmp_path / (f"log.{number}" if number else "log"), *words)
    for lines, words in ((1, "e"), (2, "de"), (4, "bcde"), (0, ""), (9, "abcde")):
        log = reading.Log(str(path), "k8s-file", 3)
        log.skip_to(lines)
        assert b"".join(entry.data for entry in log.entries()).decode() == words
        log.close()
