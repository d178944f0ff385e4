"""logs: what a detached container has said."""

from __future__ import annotations

import posix

from capsule._ext import fdpass, proc
from capsule.bundle import containers as records, life, running
from capsule.bundle.containers import Containers
from capsule.cli import output
from capsule.cli.paths import containers_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, StateError, Unsupported
from capsule.logs import formats, reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.logs.formats import Entry

_WATCH = b"W"
_ALL = -1
_PAUSE_MS = 1000


class Printer:
    """Writes entries where their stream belongs, with a time before each line if that is asked for."""

    __slots__ = ("since", "until", "timestamps", "_in_line")

    def __init__(self, options: dict) -> None:
        self.since = formats.stamp_of("--since", options["since"]) if options["since"] else ""
        self.until = formats.stamp_of("--until", options["until"]) if options["until"] else "~"
        self.timestamps = options["timestamps"]
        self._in_line = [False, False]

    def wants(self, entry: Entry) -> bool:
        """Tell whether an entry lies between the times."""
        return self.since <= entry.time < self.until

    def print(self, entry: Entry) -> None:
        """Write one entry. Raises CapsuleError."""
        data = entry.data + b"\n" if entry.whole else entry.data
        if self.timestamps and not self._in_line[entry.is_error]:
            data = entry.time.encode() + b" " + data
        self._in_line[entry.is_error] = not entry.whole
        try:
            output.write(output.STDERR if entry.is_error else output.STDOUT, data)
        except OSError as err:
            raise CapsuleError("write", "the log", errno=err.errno or 0) from err


def run(invocation: Invocation) -> int:
    """Print the log; with --follow until the container ends."""
    options = invocation.options
    if options["exec"]:
        raise Unsupported("logs", f"--exec {options['exec']}", "the output of exec goes to its caller; no log is kept")
    lines = _lines(options["tail"])
    printer = Printer(options)
    found = Containers(containers_root(invocation))
    with found.open(found.find(invocation.positionals[0])) as entry:
        record = records.read(entry)
        log = _log_of(entry, record)
        try:
            _print(log, printer, lines)
            if options["follow"]:
                _follow(entry, log, printer)
        finally:
            log.close()
    return 0


def _lines(text: str) -> int:
    if text in ("", "all", "-1"):
        return _ALL
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise CapsuleError("logs", f"--tail {text}", "expected a number of lines, or all")
    return int(text)


def _log_of(entry, record) -> reading.Log:
    driver = record.log.get("driver", "none")
    if driver == "none":
        raise StateError("logs", record.name, "its log driver is none: nothing is kept")
    if not record.detached:
        raise StateError("logs", record.name, "it ran in the foreground: its output went to its caller")
    path = record.log.get("path") or f"{entry.path}/{running.LOG}"
    return reading.Log(path, driver, record.log.get("max_file", 1))


def _print(log: reading.Log, printer: Printer, lines: int) -> None:
    if lines != _ALL:
        log.skip_to(lines)
    for entry in log.entries():
        if printer.wants(entry):
            printer.print(entry)


def _follow(entry, log: reading.Log, printer: Printer) -> None:
    """Print what comes until nobody looks after the container: through restarts, as its log goes on."""
    while True:
        directory = log.path.rpartition("/")[0] or "/"
        watch_fd = proc.watch_directory(directory)
        try:
            end_fd = _monitor_of(entry)
            # After the watch began: nothing is written that neither this nor the watch sees.
            _print(log, printer, _ALL)
            if end_fd < 0:
                if not life.is_alive(entry):
                    return
                proc.poll([(watch_fd, proc.POLLIN)], _PAUSE_MS)  # it is about to run again
                continue
            try:
                _follow_run(log, printer, watch_fd, end_fd)
            finally:
                posix.close(end_fd)
        finally:
            posix.close(watch_fd)


def _follow_run(log: reading.Log, printer: Printer, watch_fd: int, end_fd: int) -> None:
    while True:
        ready = [fd for fd, _ in proc.poll([(watch_fd, proc.POLLIN), (end_fd, proc.POLLIN)], -1)]
        if watch_fd in ready:
            posix.read(watch_fd, 1 << 16)
        _print(log, printer, _ALL)
        if end_fd in ready:
            return


def _monitor_of(entry) -> int:
    """Return a descriptor on which the end of the run is to be read, -1 where there is no monitor."""
    try:
        fd = fdpass.connect_seqpacket(entry.dir_fd, running.SOCKET)
        fdpass.send(fd, _WATCH)
    except OSError:
        return -1
    return fd
