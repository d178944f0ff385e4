"""Options of `image run` about a container's life: its log, restarts, end and health."""

from __future__ import annotations

from capsule.bundle.containers import Record
from capsule.cli import quantities
from capsule.cli.paths import absolute
from capsule.cli.time_limits import milliseconds
from capsule.errors import CapsuleError, Unsupported
from capsule.linux.names import signal_number

_COMMAND = "image run"
_POLICIES = ("no", "on-failure", "always", "unless-stopped")
_DRIVERS = {"": "k8s-file", "k8s-file": "k8s-file", "json-file": "json-file", "none": "none"}
_FILES_MAX = 1000
_SIZE, _FILES = 20 << 20, 5  # of a log that nobody has given limits (docs/decisions/0012)
_HEALTH = ("health_interval", "health_timeout", "health_start_period", "health_retries")
# Option, key, the image's word, usual value, the least that an image may choose: each look costs an exec.
_HEALTH_KEYS = (("health_interval", "interval_ms", "Interval", 30_000, 1000),
                ("health_timeout", "timeout_ms", "Timeout", 30_000, 1000),
                ("health_start_period", "start_period_ms", "StartPeriod", 0, 0))
_MS = 1_000_000
_SHELL = ["/bin/sh", "-c"]
_TIME_MAX_MS = 1 << 31
_RETRIES, _RETRIES_MAX = 3, 999_999


def fill(record: Record, options: dict, image: dict) -> None:
    """Put what the options and the image's configuration say into a record. Raises CapsuleError, Unsupported."""
    record.detached, record.remove = options["detach"], options["rm"]
    record.tty, record.interactive = options["tty"], options["interactive"]
    record.timeout_ms = milliseconds(_COMMAND, "--timeout", options["timeout"]) if options["timeout"] else 0
    record.restart = _restart(options)
    record.log = log_of(options)
    record.stop_signal = options["stop_signal"] or image.get("StopSignal") or "TERM"
    try:
        signal_number(record.stop_signal)
    except CapsuleError as err:
        raise CapsuleError(_COMMAND, f"stop signal {record.stop_signal}", err.cause or str(err)) from err
    if options["stop_timeout"]:
        record.stop_timeout = seconds("--stop-timeout", options["stop_timeout"])
    record.health = _health(options, image.get("Healthcheck") or {}, image.get("Shell") or _SHELL)
    if not record.detached:
        for key in ("restart", "health_cmd", "log_driver", "log_opt"):
            if options[key]:
                raise Unsupported(_COMMAND, _spelled(key), "needs --detach: nobody stays to do it")
        record.health = {}


def seconds(option: str, text: str, command: str = _COMMAND) -> int:
    """Read a whole number of seconds. Raises CapsuleError."""
    if not (text.isascii() and text.isdigit()) or len(text) > 7:
        raise CapsuleError(command, f"{option} {text}", "expected a number of seconds")
    return int(text)


def _spelled(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _restart(options: dict) -> dict:
    policy, colon, most = options["restart"].partition(":")
    if not policy:
        return {}
    if policy not in _POLICIES or (colon and policy != "on-failure"):
        raise CapsuleError(_COMMAND, f"--restart {options['restart']}",
                           "expected no, on-failure[:TRIES], always or unless-stopped")
    if colon and not (most.isascii() and most.isdigit() and 0 < len(most) < 10):
        raise CapsuleError(_COMMAND, f"--restart {options['restart']}", "expected a number of tries behind the colon")
    if policy != "no" and options["rm"]:
        raise CapsuleError(_COMMAND, f"--restart {policy}", "--rm would remove what it is to run again")
    return {"policy": policy, "max": int(most or "0")}


def log_of(options: dict) -> dict:
    """Return Record.log of --log-driver and --log-opt. Raises CapsuleError, Unsupported."""
    driver = _DRIVERS.get(options["log_driver"])
    if driver is None:
        raise Unsupported(_COMMAND, f"--log-driver {options['log_driver']}", "only k8s-file, json-file and none")
    found = {"driver": driver, "path": "", "max_size": _SIZE, "max_file": 0}
    is_sized = False
    for text in options["log_opt"]:
        key, _, value = text.partition("=")
        if key == "path":
            found["path"] = absolute(value)
        elif key == "max-size":
            found["max_size"], is_sized = quantities.limit("--log-opt max-size", value), True
        elif key == "max-file":
            found["max_file"] = _files(text, value)
        else:
            raise CapsuleError(_COMMAND, f"--log-opt {text}", "only path=FILE, max-size=SIZE and max-file=NUMBER")
    if options["log_opt"] and driver == "none":
        raise CapsuleError(_COMMAND, "--log-opt", "--log-driver none keeps no log")
    found["max_file"] = found["max_file"] or (1 if is_sized else _FILES)
    return found


def _files(text: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 6 and 0 < int(value) <= _FILES_MAX):
        raise CapsuleError(_COMMAND, f"--log-opt {text}", f"expected a number from 1 to {_FILES_MAX}")
    return int(value)


def _health(options: dict, of_image: dict, shell: list[str]) -> dict:
    """Return Record.health. The image's words are those of docker's configuration; times in nanoseconds."""
    command = _health_command(options["health_cmd"], of_image.get("Test") or [], shell)
    if not command:
        for key in _HEALTH:
            if options[key]:
                raise CapsuleError(_COMMAND, _spelled(key), "there is no command: name one by --health-cmd")
        return {}
    found: dict = {"command": command}
    for key, name, word, usual, least in _HEALTH_KEYS:
        if not options[key]:
            given = of_image.get(word)
            found[name] = min(max(given // _MS, least), _TIME_MAX_MS) if type(given) is int and given > 0 else usual
            continue
        found[name] = quantities.duration_ns(_spelled(key), options[key]) // _MS
        if not 0 < found[name] < _TIME_MAX_MS:
            raise CapsuleError(_COMMAND, f"{_spelled(key)} {options[key]}", "expected from 1ms to 24 days")
    given = of_image.get("Retries") or 0
    found["retries"] = _retries(options["health_retries"]) or (min(given, _RETRIES_MAX) if given > 0 else _RETRIES)
    return found


def _retries(text: str) -> int:
    if text and (not (text.isascii() and text.isdigit()) or not 0 < len(text) < 7):
        raise CapsuleError(_COMMAND, f"--health-retries {text}", f"expected a number up to {_RETRIES_MAX}")
    return int(text or "0")


def _health_command(text: str, of_image: list[str], shell: list[str]) -> list[str]:
    if text == "none":
        return []
    if text:
        return [*_SHELL, text]
    if of_image[:1] == ["CMD-SHELL"] and len(of_image) > 1:
        return [*shell, of_image[1]]
    return of_image[1:] if of_image[:1] == ["CMD"] else []
