"""_monitor: the process that becomes the monitor of a detached container; started by running.in_background."""

from __future__ import annotations

import posix

from capsule._ext import proc
from capsule.bundle import containers as records, running
from capsule.bundle.containers import Containers
from capsule.cli import output
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation


def run(invocation: Invocation) -> int:
    """Run the container and become its monitor; a failure is told on standard output, which is in_background's."""
    store, place, id, alive = invocation.positionals
    report_fd = -1
    if alive == "-1":
        report_fd = posix.dup(output.STDOUT)
        proc.setsid()
    output.keep_log()
    entry = None
    try:
        entry = Containers(place).open(id, lock=True)
        record = records.read(entry)
        record.detached = True
        return running.run(running.Places(runtime_root(invocation), store, place), entry, record,
                           report_fd=report_fd, alive_fd=int(alive))
    except Exception as err:
        if report_fd < 0:
            raise
        output.write(report_fd, running.failure_report(err, output.describe(err)))
        return 1
    finally:
        if entry is not None:
            entry.close()
