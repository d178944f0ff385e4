"""The forms of a log record, against what the parsers of engines accept."""

import json
from datetime import datetime

import pytest

from capsule.cli import output

NOW_NS = 1_700_000_000_123_456_789


def test_text_record_is_logfmt_to_the_second():
    assert output.text_record("info", "two words", NOW_NS) == (
        'time="2023-11-14T22:13:20Z" level=info msg="two words"\n'
    )


def test_text_record_leaves_a_single_word_bare():
    assert output.text_record("info", "word", NOW_NS).endswith(" msg=word\n")


def test_json_record_carries_rfc3339_time_in_utc():
    record = json.loads(output.json_record("error", "m", NOW_NS))

    assert record["time"] == "2023-11-14T22:13:20.123456789Z"
    assert datetime.fromisoformat(record["time"]).utcoffset().total_seconds() == 0


@pytest.mark.parametrize("text", ["", 'quote " backslash \\', "line\nbreak\ttab\r", "nul \0 del \x7f", "größe 容器"])
def test_quote_survives_a_json_parser(text):
    assert json.loads(output.quote(text)) == text


def test_a_record_with_an_undecodable_name_is_still_valid_utf8(tmp_path, monkeypatch):
    path = tmp_path / "log"
    with path.open("wb") as file:
        monkeypatch.setattr(output, "_log_fd", file.fileno())
        output._record("error", "open /x\udcff")

    assert "/x?" in path.read_text("utf-8")
