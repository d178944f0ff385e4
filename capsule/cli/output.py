"""Standard output, standard error and the log file: the only place that writes them.

A record is one line: logfmt as logrus writes it (`time="..." level=error msg="..."`) or one JSON object,
because engines parse both. An error goes to the log; with `--log` its plain text goes to standard error too.
"""

from __future__ import annotations

import posix
import time

from capsule import log
from capsule._ext import json
from capsule.errors import CapsuleError, ChildError

STDOUT = 1
STDERR = 2
_BARE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

_log_fd = STDERR
_json = False


def open_log(path: str, log_format: str, debug: bool) -> None:
    """Configure the log from the global options.

    Raises CapsuleError where the format is unknown or the file cannot be opened; records then stay on standard error.
    """
    global _log_fd, _json
    log.configure(_record, debug=debug)
    if log_format not in ("", "text", "json"):
        raise CapsuleError(f"invalid log-format: {log_format}")
    if path:
        try:
            _log_fd = posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
        except OSError as err:
            raise CapsuleError("open", path, errno=err.errno or 0) from err
    _json = log_format == "json"


def keep_log() -> None:
    """Keep writing records where standard error leads now; the descriptor is about to be something else."""
    global _log_fd
    if _log_fd == STDERR:
        _log_fd = posix.dup(STDERR)


def write(fd: int, data: bytes) -> None:
    """Write everything.

    Raises OSError, also for a reader that has gone (EPIPE).
    """
    while data:
        data = data[posix.write(fd, data) :]


def print_out(text: str) -> None:
    """Write text to standard output, bytes of the caller's own names unchanged.

    Raises CapsuleError.
    """
    _write_out(text.encode("utf-8", "surrogateescape"))


def print_json(value, *, pretty: bool) -> None:
    """Write a JSON document and a newline to standard output.

    Raises CapsuleError.
    """
    _write_out(to_json(value, pretty=pretty))


def _write_out(data: bytes) -> None:
    try:
        write(STDOUT, data)
    except OSError as err:
        raise CapsuleError("write", "standard output", errno=err.errno or 0) from err


def to_json(value, *, pretty: bool) -> bytes:
    """Return a JSON document and a newline; `pretty` indents."""
    return json.dumps(value, indent=2 if pretty else 0) + b"\n"


def report(err: BaseException, *, debug: bool = False) -> None:
    """Say once what failed; with `debug` also what it came from."""
    message = describe(err)
    if debug:
        for line in _origin(err):
            log.debug(line)
    if _log_fd != STDERR:
        log.error(message)
        _print_error(message)
    elif isinstance(err, ChildError) and err.step == "execve":
        # What the payload's own execve says is the payload's word, not the runtime's record (runc prints it bare).
        _print_error(message)
    else:
        log.error(message)


def describe(err: BaseException) -> str:
    """Return the one line that an error is."""
    if isinstance(err, CapsuleError):
        return str(err)
    if isinstance(err, OSError) and err.errno:
        subject = f" {err.filename}" if err.filename else ""
        return f"{str(err.strerror).lower()}{subject}"
    return f"internal error: {type(err).__name__}: {err}"


def text_record(level: str, message: str, now_ns: int) -> str:
    """Return a logfmt line; the time to the second, as logrus writes it."""
    return f'time="{_timestamp(now_ns)}Z" level={level} msg={_value(message)}\n'


def json_record(level: str, message: str, now_ns: int) -> str:
    """Return a line of JSON; the time is RFC 3339 with nanoseconds."""
    stamp = f"{_timestamp(now_ns)}.{now_ns % 1_000_000_000:09d}Z"
    return f'{{"level":"{level}","msg":{quote(message)},"time":"{stamp}"}}\n'


def path_text(path: str) -> str:
    """Return a path that a stranger named, quoted where it could be read as another or drive the terminal."""
    is_plain = path[:1] != '"' and not any([log.is_control(char) for char in path])
    return path if is_plain else quote(path)


def quote(text: str) -> str:
    """Quote a string as JSON does (RFC 8259 section 7)."""
    for char in text:
        if char in _ESCAPES or log.is_control(char):
            break
    else:
        return f'"{text}"'
    parts = ['"']
    for char in text:
        if char in _ESCAPES:
            parts.append(_ESCAPES[char])
        elif log.is_control(char):
            parts.append(f"\\u{ord(char):04x}")
        else:
            parts.append(char)
    parts.append('"')
    return "".join(parts)


def _record(level: str, message: str) -> None:
    now_ns = time.time_ns()
    line = json_record(level, message, now_ns) if _json else text_record(level, message, now_ns)
    try:
        # "replace": a record must stay valid UTF-8 even where it names a path that is not.
        write(_log_fd, line.encode("utf-8", "replace"))
    except OSError:
        # A full disk or a closed stderr must not change what the command does.
        pass


def _print_error(message: str) -> None:
    try:
        write(STDERR, (message + "\n").encode("utf-8", "surrogateescape"))
    except OSError:
        pass


def _value(text: str) -> str:
    """Quote a logfmt value where logrus does."""
    for char in text:
        if char not in _BARE:
            return quote(text)
    return text


def _timestamp(now_ns: int) -> str:
    now = time.gmtime(now_ns // 1_000_000_000)
    return f"{now[0]:04d}-{now[1]:02d}-{now[2]:02d}T{now[3]:02d}:{now[4]:02d}:{now[5]:02d}"


def _origin(err: BaseException) -> list:
    """Return a line for each place an error passed and each error it came from."""
    lines: list = []
    current: BaseException | None = err
    while current is not None and len(lines) < 100:
        lines.append(f"{type(current).__name__}: {current}")
        trace = current.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            lines.append(f"  at {code.co_filename}:{trace.tb_lineno} in {code.co_name}")
            trace = trace.tb_next
        current = current.__cause__ or current.__context__
    return lines
