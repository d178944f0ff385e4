"""What options and an image say about a container's log and health."""

from __future__ import annotations

import pytest

from capsule.cli import life_options
from capsule.errors import CapsuleError

MIB = 1 << 20
NOTHING = {"log_driver": "", "log_opt": [], "health_cmd": "", "health_interval": "", "health_timeout": "",
           "health_start_period": "", "health_retries": ""}


@pytest.mark.parametrize(("words", "size", "files"), [
    ((), 20 * MIB, 5), (("max-file=2",), 20 * MIB, 2), (("max-size=1m",), MIB, 1),
    (("max-size=1m", "max-file=3"), MIB, 3),
    (("max-size=0",), 0, 1), (("max-size=-1",), 0, 1), (("path=/log",), 20 * MIB, 5),
])
def test_a_log_has_limits_unless_they_are_taken_away(words, size, files) -> None:
    found = life_options.log_of({**NOTHING, "log_opt": list(words)})
    assert (found["max_size"], found["max_file"]) == (size, files)


def test_an_image_does_not_have_the_host_look_at_it_without_pause() -> None:
    image = {"Test": ["CMD", "true"], "Interval": 1, "Timeout": 1, "StartPeriod": 1, "Retries": 1}
    found = life_options._health(NOTHING, image, [])
    assert (found["interval_ms"], found["timeout_ms"], found["start_period_ms"]) == (1000, 1000, 0)
    chosen = life_options._health({**NOTHING, "health_interval": "5ms"}, image, [])
    assert chosen["interval_ms"] == 5


def test_retries_are_the_calls_or_the_images_and_a_bad_number_is_whose_it_is() -> None:
    for given, chosen, retries in ((2, "", 2), (2, "5", 5), (None, "", 3), (-1, "", 3), (1 << 80, "", 999_999)):
        image = {"Test": ["CMD", "true"], "Retries": given}
        assert life_options._health({**NOTHING, "health_retries": chosen}, image, [])["retries"] == retries
    for text in ("x", "-1", "1000000", "²"):
        with pytest.raises(CapsuleError, match=f"--health-retries {text}: expected a number up to"):
            life_options._health({**NOTHING, "health_retries": text}, {"Test": ["CMD", "true"]}, [])


@pytest.mark.parametrize("value", [-1, "1s", None, 0, 1.5])
def test_what_is_no_time_in_an_image_is_the_usual_one(value) -> None:
    found = life_options._health(NOTHING, {"Test": ["CMD", "true"], "Interval": value}, [])
    assert found["interval_ms"] == 30_000
