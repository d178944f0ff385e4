"""The machine: QEMU's software emulation, three ports that speak to the host, and deadlines for everything."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from . import overlay
from .errors import RigError
from .image import Image
from .memory import in_memory

QEMU = "qemu-system-x86_64"
PORTS = ("control", "out", "err")
#: One boot in dozens hung with a reliable TSC, none with this; and the kernel's check of the timer interrupt, which
#: counts a loop's turns, panics where the emulator does not get a processor meanwhile.
CLOCKS = "tsc=unstable clocksource=hpet no_timer_check"
#: Seconds after its end in which the output of a command may still arrive.
DRAIN = 0.2


class Silent(Exception):
    """The guest did not start the command in time, or died before."""


class Overdue(Exception):
    """The command did not end in time."""


class Ended(Exception):
    """The machine ended without telling the command's status."""


class Machine:
    """One start of the guest. The emulator ends with this object, and with this process whatever ends it."""

    def __init__(self, image: Image, disks: Sequence[tuple[BinaryIO, bool]], words: str, memory: str,
                 processors: int, log: Path) -> None:
        """disks: open files, and whether each is read only; they become /dev/vdb and so on."""
        if not shutil.which(QEMU):
            raise RigError(f"start guest: {QEMU} is not installed (qemu-system-x86)")
        ends = {name: socket.socketpair() for name in PORTS}
        self._ports = {name: pair[0] for name, pair in ends.items()}
        theirs = {name: pair[1].fileno() for name, pair in ends.items()}
        self._errors = in_memory("rig-errors", 0)
        with overlay.make(image.disk) as root:
            inherited = [root.fileno(), *theirs.values(), *(file.fileno() for file, _ in disks)]
            argv = ["setpriv", "--pdeathsig", "KILL", "--",
                    *_argv(image, root, disks, words, memory, processors, log, theirs)]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._errors, stderr=self._errors,
                                             pass_fds=inherited, start_new_session=True)
        for _, their in ends.values():
            their.close()
        self._control = b""

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for port in self._ports.values():
            port.close()
        self._errors.close()

    def wait_started(self, seconds: float) -> None:
        """Wait until the guest is about to run the command; raise Silent when it is not in time.

        Seconds in which the emulator waited for a processor do not count: a busy host is no hung boot.
        """
        started = time.monotonic()
        while b"started\n" not in self._control:
            if time.monotonic() - started - self._starved() > seconds:
                raise Silent(f"no sign of the command after {seconds:g} s")
            self._pass_on(0.5)
            if self._process.poll() is not None:
                raise Silent(f"{QEMU} ended: {self._last_words()}")

    def wait_ended(self, seconds: float) -> int:
        """Pass the output on until the command has ended; return its status. Raise Overdue or Ended."""
        deadline = time.monotonic() + seconds
        while True:
            line = self._control.partition(b"exit ")[2]
            if line.endswith(b"\n"):
                while self._pass_on(DRAIN):
                    pass
                return int(line)
            if time.monotonic() > deadline:
                raise Overdue
            if self._process.poll() is not None and not self._pass_on(0):
                raise Ended(self._last_words())
            self._pass_on(0.5)

    def _pass_on(self, seconds: float) -> bool:
        """Wait for something from the guest; write output where ours goes. Return whether there was any."""
        poll = select.poll()
        for port in self._ports.values():
            poll.register(port, select.POLLIN)
        names = {port.fileno(): name for name, port in self._ports.items()}
        something = False
        for fd, _ in poll.poll(seconds * 1000):
            try:
                data = os.read(fd, 65536)
            except ConnectionResetError:
                data = b""
            something |= bool(data)
            if names[fd] == "control":
                self._control += data
            else:
                _write(sys.stdout.fileno() if names[fd] == "out" else sys.stderr.fileno(), data)
            if not data:  # the emulator is gone; poll() would return at once for ever
                self._process.wait()
                self._ports.pop(names[fd]).close()
        return something

    def _starved(self) -> float:
        """Return the seconds that the emulator's most hindered thread waited for a processor (proc(5), schedstat)."""
        waited = [0]
        for path in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                waited.append(int(path.read_text(encoding="ascii").split()[1]))
        return max(waited) / 1e9

    def _last_words(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said else f"status {self._process.poll()}"


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data):]


def _argv(image: Image, root: BinaryIO, disks: Sequence[tuple[BinaryIO, bool]], words: str, memory: str,
          processors: int, log: Path, ports: dict[str, int]) -> list[str]:
    argv = [QEMU, "-machine", "q35,usb=off", "-accel", "tcg,thread=multi", "-cpu", "qemu64",
            "-smp", str(processors), "-m", memory, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", f"file:{log}", "-kernel", str(image.kernel), "-initrd", str(image.initramfs),
            "-append", f"console=ttyS0 panic=-1 mitigations=off {CLOCKS} {words}",
            "-drive", f"file=/proc/self/fd/{root.fileno()},format=qcow2,if=virtio,file.locking=off",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    for file, readonly in disks:
        argv += ["-drive", f"file=/proc/self/fd/{file.fileno()},format=raw,if=virtio,file.locking=off"
                           f"{',readonly=on' if readonly else ''}"]
    for name, fd in ports.items():
        argv += ["-chardev", f"socket,id={name},fd={fd}", "-device", f"virtserialport,chardev={name},name=rig.{name}"]
    return argv


def end_on_signal() -> None:
    """Let SIGTERM and SIGHUP end this process as an exception does, so that the machine ends first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda which, _: sys.exit(128 + which))
