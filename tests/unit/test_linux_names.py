"""Signals, capabilities and resource limits by name, against the host's own tables."""

from __future__ import annotations

import resource
import signal

import pytest

from capsule.errors import CapsuleError
from capsule.linux import names


@pytest.mark.parametrize(("text", "number"), [
    ("TERM", 15), ("SIGTERM", 15), ("sigterm", 15), ("15", 15), ("0", 0), ("64", 64), ("RTMIN", 34), ("RTMIN+3", 37),
    ("SIGRTMIN+30", 64), ("sigrtmax", 64), ("RTMAX-2", 62), ("IOT", 6), ("SIGCLD", 17), ("POLL", 29), ("09", 9),
])
def test_signals_are_read_in_every_spelling(text: str, number: int) -> None:
    assert names.signal_number(text) == number


@pytest.mark.parametrize("text", [
    "", "SIG", "FOO", "65", "-1", "+9", " 9", "9 ", "٣", "0x9", "1e1", "RTMIN+31", "RTMIN+", "RTMIN-1", "RTMAX-31",
    "RTMAX+1", "99999999999999999999", "SIGSIGTERM", "TERM\n",
])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(CapsuleError) as caught:
        names.signal_number(text)
    assert str(caught.value) == f'unknown signal "{text}"'


def test_signal_numbers_are_the_hosts() -> None:
    for member in signal.Signals:
        assert names.signal_number(member.name) == member.value
    for number in range(1, 32):
        assert names.signal_name(number) == signal.Signals(number).name
    assert [names.signal_name(n) for n in (34, 37, 64, 0, 33)] == ["SIGRTMIN", "SIGRTMIN+3", "SIGRTMIN+30", "0", "33"]


def test_rlimit_numbers_are_the_hosts() -> None:
    for name in names.RLIMITS:
        if hasattr(resource, name):
            assert names.rlimit_number(name) == getattr(resource, name)
    assert names.rlimit_number("RLIMIT_LOCKS") == 10
    assert names.rlimit_number("NOFILE") == -1


def test_capability_numbers_are_the_hosts() -> None:
    with open("/usr/include/linux/capability.h") as header:
        rows = [line.split() for line in header if line.startswith("#define CAP_")]
    numbers = {row[1]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}
    assert numbers
    for name, number in numbers.items():
        assert names.capability_number(name) == number
    assert len(names.CAPABILITIES) == names.CAP_LAST + 1
    assert [names.capability_number(name) for name in ("CAP_NEW", "cap_chown", "CHOWN", "")] == [-1] * 4
