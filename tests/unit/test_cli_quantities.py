"""Sizes, numbers and durations of the command line."""

import pytest

from capsule.cli import quantities
from capsule.errors import CapsuleError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("-1", -1), ("1024", 1024), ("30b", 30), ("50M", 50 << 20), ("50m", 50 << 20), ("2KB", 2048),
        ("2 KiB", 2048), ("1.5g", 3 << 29), ("1T", 1 << 40), ("1P", 1 << 50), ("0.001k", 1),
        ("9223372036854775807", (1 << 63) - 1),
    ],
)
def test_sizes(text, expected):
    assert quantities.size("memory", text) == expected


@pytest.mark.parametrize(
    "text", ["", "M", "-2", "-1M", "5X", "5MM", "5BK", "1e3", "0x10", "1.", ".5", "1..5", "5  M", "9223372036854775808",
             "8192P", "٣"],
)
def test_sizes_that_are_none(text):
    with pytest.raises(CapsuleError, match="invalid value for memory: invalid size"):
        quantities.size("memory", text)


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("18446744073709551615", (1 << 64) - 1)])
def test_unsigned(text, expected):
    assert quantities.unsigned("cpu-share", text) == expected


@pytest.mark.parametrize("text", ["", "-1", "x", "18446744073709551616", "1_0", " 1", "+1", "٣"])
def test_unsigned_that_is_none(text):
    with pytest.raises(CapsuleError, match="invalid value for cpu-share"):
        quantities.unsigned("cpu-share", text)


@pytest.mark.parametrize(("text", "expected"), [("-1", -1), ("-9223372036854775808", -(1 << 63)), ("7", 7)])
def test_signed(text, expected):
    assert quantities.signed("cpu-quota", text) == expected


@pytest.mark.parametrize("text", ["", "-", "--1", "9223372036854775808", "-9223372036854775809"])
def test_signed_that_is_none(text):
    with pytest.raises(CapsuleError, match="invalid value for cpu-quota"):
        quantities.signed("cpu-quota", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("5s", 5_000_000_000), ("100ms", 100_000_000), ("1m30s", 90_000_000_000), ("1.5h", 5_400_000_000_000),
     ("7us", 7000), ("7µs", 7000), ("9ns", 9), (".5s", 500_000_000)],
)
def test_durations(text, expected):
    assert quantities.duration_ns("interval", text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", ".s", "5x", "1s2", "-1s", "1.2.3s", "99999999h", "5 s"])
def test_durations_that_are_none(text):
    with pytest.raises(CapsuleError, match="invalid value for interval"):
        quantities.duration_ns("interval", text)
