"""A run: pack, boot (again, when a boot does not start), pass the output on, bring results back."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from . import image
from .cargo import Cargo, tree_disk, unpack
from .errors import RigError
from .machine import Ended, Machine, Overdue, Silent
from .memory import in_memory

TRIES = 3
OVERDUE = 124
RESULTS = 512 << 20  # bytes that a run may bring back; sparse
#: A disk that tests of device rules may read: nothing but the rules keeps root from it.
TEST_DISK = "/dev/vdd"
TEST_DISK_SIZE = 16 << 20
#: Emulated code is several times slower: what tests multiply their deadlines with.
SLOW = "10"
#: What systemd of Debian 12 is told so that it mounts the same hierarchies as bare mode does.
SYSTEMD_CGROUP = {
    "v2": "systemd.unified_cgroup_hierarchy=1",
    "hybrid": "systemd.unified_cgroup_hierarchy=0",
    "v1": "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
}


class Options(NamedTuple):
    """The words of `rig run`."""

    command: list[str]
    tree: Path | None
    mode: str
    user: str
    cgroup: str
    put: list[tuple[str, str]]
    get: list[tuple[str, str]]
    env: list[tuple[str, str]]
    timeout: float
    boot_timeout: float
    memory: str
    cpus: int
    log: Path | None
    initramfs: Path | None


def run(options: Options) -> int:
    """Run the command in a fresh guest and return its status, 124 when it is overdue."""
    made = image.ensure()
    if options.initramfs:
        made = made._replace(initramfs=options.initramfs)
    cargo = _cargo(options)
    log = options.log or _log()
    words = "loglevel=6"
    if options.mode == "systemd":
        words += f" systemd.unit=capsule-rig.target systemd.show_status=0 {SYSTEMD_CGROUP[options.cgroup]}"
    with in_memory("rig-out", RESULTS) as results, in_memory("rig-disk", TEST_DISK_SIZE) as disk:
        disk.write(b"capsule test disk\n")
        disk.flush()
        disks = [(cargo.file, True), (results, False), (disk, False)]
        if options.tree:
            disks.append((tree_disk(options.tree), False))
        try:
            status = _boot(options, made, disks, words, log)
        except (Silent, Ended) as error:
            raise RigError(f"run guest: {error} (console: {log})") from None
        for path, directory in options.get:
            if status != OVERDUE and not unpack(results, path, Path(directory)):
                print(f"rig: nothing is at {path}", file=sys.stderr)
    if not options.log and status != OVERDUE:
        log.unlink(missing_ok=True)
    return status


def _boot(options: Options, made: image.Image, disks: list, words: str, log: Path) -> int:
    """Start the machine, again if the command is not started in time; return the command's status."""
    for attempt in range(1, TRIES + 1):
        with Machine(made, disks, words, options.memory, options.cpus, log) as machine:
            try:
                machine.wait_started(options.boot_timeout)
            except Silent as error:
                if attempt == TRIES:
                    raise Silent(f"{error}, in the last of {TRIES} boots") from None
                print(f"rig: boot {attempt} did not start: {error}; again", file=sys.stderr, flush=True)
                continue
            try:
                return machine.wait_ended(options.timeout)
            except Overdue:
                print(f"rig: the command is overdue after {options.timeout:g} s and was ended (console: {log})",
                      file=sys.stderr, flush=True)
                return OVERDUE
            except Ended as error:
                raise Ended(f"the machine ended before the command: {error}") from None
    raise AssertionError("unreachable")


def _cargo(options: Options) -> Cargo:
    cargo = Cargo()
    directory = "/"
    if options.tree:
        directory = str(options.tree)
    for source, name in options.put:
        cargo.put(Path(source), name)
    first = "/opt/rig/bare" if options.mode == "bare" else "/lib/systemd/systemd"
    settings = {"FIRST": first, "MODE": options.mode, "SESSION_USER": options.user, "CGROUP": options.cgroup,
                "TREE": str(options.tree or ""),
                "GET": " ".join(path.lstrip("/") for path, _ in options.get)}
    environment = {"CAPSULE_SLOW": SLOW, "CAPSULE_TEST_DISK": TEST_DISK,
                   "CAPSULE_VM": f"{options.mode} {options.user} {options.cgroup}", "PYTHONDONTWRITEBYTECODE": "1"}
    cargo.scripts(settings, options.command, directory, environment | dict(options.env))
    cargo.close()
    return cargo


def _log() -> Path:
    handle, name = tempfile.mkstemp(prefix="capsule-rig-", suffix=".log")
    os.close(handle)
    return Path(name)
