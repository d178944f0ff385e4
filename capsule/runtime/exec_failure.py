"""Why the kernel refused a container's program or working directory: read from its files after the failure.

The files are the image's. They are reached through the root of the process that failed, which waits until we have
looked; only regular files are read, only their beginning and their ELF program headers. man 2 execve, man 5 elf.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import openbeneath
from capsule.errors import CapsuleError
from capsule.rootfs import lookup

_DEPTH_MAX = 5  # interpreters of interpreters; the kernel goes no deeper (BINPRM_MAX_RECURSION and an ELF loader)
_HEAD = 256  # BINPRM_BUF_SIZE: what the kernel reads of a #! line
_HEADERS_MAX = 64  # ELF program headers that are looked at
_PATH_MAX = 4096
_ST_NOEXEC = 8
_S_IFMT, _S_IFREG, _S_IFDIR = 0o170000, 0o100000, 0o040000
_CAP_DAC_OVERRIDE = 1 << 1
_CAP_DAC_READ_SEARCH = 1 << 2
_PT_INTERP = 3
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC

# e_machine (include/uapi/linux/elf-em.h), and what each machine's kernel runs by itself.
_MACHINES = {3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64",
             243: "riscv", 258: "loongarch"}
_NATIVE = {"x86_64": (62, 3), "aarch64": (183, 40), "ppc64le": (21,), "s390x": (22,), "riscv64": (243,),
           "loongarch64": (258,)}


def describe(pid: int, process, step: str, number: int) -> str:
    """Say what is wrong with the program, or with the working directory where `step` is chdir; "" if nothing shows.

    `pid` is the process that failed with errno `number`, still alive; `process` is its spec.model.Process.
    """
    try:
        root_fd = posix.open(f"/proc/{pid}/root", _DIRECTORY)
    except OSError:
        return ""
    try:
        look = _Look(root_fd, _Identity(pid), process.cwd, number)
        return look.at_directory(process.cwd) if step == "chdir" else look.at_program(_program(root_fd, process))
    except (OSError, CapsuleError, ValueError, IndexError, OverflowError):
        return ""  # what cannot be read explains nothing; the kernel's own word stands
    finally:
        posix.close(root_fd)


def _program(root_fd: int, process) -> str:
    path = None
    for entry in process.env:
        if entry.startswith("PATH="):
            path = entry[5:]
    return lookup.find_executable(root_fd, process.args[0], path, process.cwd)


class _Identity:
    """Who asked: ids as this process sees them, whatever the user namespace of the other."""

    __slots__ = ("uid", "groups", "capabilities", "shown")

    def __init__(self, pid: int) -> None:
        fd = posix.open(f"/proc/{pid}/status", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            text = posix.read(fd, 1 << 16).decode("ascii", "replace")
        finally:
            posix.close(fd)
        rows = {}
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            rows[name] = value.split()
        self.uid = int(rows["Uid"][3])  # of the file system checks
        gid = int(rows["Gid"][3])
        self.groups = [gid, *[int(word) for word in rows["Groups"]]]
        self.capabilities = int(rows["CapEff"][0], 16)
        self.shown = f"uid {self.uid}, gid {gid}"

    def may(self, status, capability: int) -> bool:
        """Tell whether the x bit that counts for us is set; an ACL or a security module may decide otherwise."""
        mode = status.st_mode
        if self.capabilities & capability and (mode & 0o111 or mode & _S_IFMT == _S_IFDIR):
            return True
        if self.uid == status.st_uid:
            return mode & 0o100 != 0
        return mode & (0o010 if status.st_gid in self.groups else 0o001) != 0


class _Look:
    """One inspection: a root, who failed in it, and how."""

    __slots__ = ("root_fd", "who", "cwd", "number")

    def __init__(self, root_fd: int, who: _Identity, cwd: str, number: int) -> None:
        self.root_fd = root_fd
        self.who = who
        self.cwd = cwd
        self.number = number

    def at_directory(self, path: str) -> str:
        """Explain chdir(2): what is missing, no directory, or may not be entered."""
        walked = ""
        for part in [part for part in path.split("/") if part]:
            walked += "/" + part
            try:
                fd = openbeneath.open_in_root(self.root_fd, walked)
            except OSError as err:
                return f"{walked} is missing in the container" if err.errno == errno.ENOENT else ""
            try:
                status = posix.fstat(fd)
            finally:
                posix.close(fd)
            if status.st_mode & _S_IFMT != _S_IFDIR:
                return f"{walked} is not a directory"
            if not self.who.may(status, _CAP_DAC_OVERRIDE | _CAP_DAC_READ_SEARCH):
                return f"{self.who.shown} may not enter {walked}, which has {_rights(status)}"
        return ""

    def at_program(self, path: str, role: str = "", user: str = "", depth: int = 0) -> str:
        """Explain execve(2) of a file, and of the interpreter or loader that it names and so is the `user` of."""
        shown = f"{role} {_shown(path)} of {user}" if role else _shown(path)
        if depth >= _DEPTH_MAX:
            return f"{shown} is one interpreter too many"
        try:
            fd = openbeneath.open_in_root(self.root_fd, path if path.startswith("/") else f"{self.cwd}/{path}")
        except OSError as err:
            if err.errno == errno.ENOENT and role:
                return f"{shown} is missing in the container"
            if err.errno == errno.EACCES or self.number == errno.EACCES:
                return self.at_directory(path.rpartition("/")[0])
            return ""
        try:
            status = posix.fstat(fd)
            if status.st_mode & _S_IFMT != _S_IFREG:
                return f"{shown} is {'a directory' if status.st_mode & _S_IFMT == _S_IFDIR else 'not a regular file'}"
            return self._refusal(fd, status, path, shown) or self._content(fd, path, shown, depth)
        finally:
            posix.close(fd)

    def _refusal(self, fd: int, status, path: str, shown: str) -> str:
        """Explain EACCES by the file's mount, its mode and the directories above it."""
        if self.number != errno.EACCES:
            return ""
        if posix.fstatvfs(fd).f_flag & _ST_NOEXEC:
            return f"{shown} lies on a noexec mount"
        if not self.who.may(status, _CAP_DAC_OVERRIDE):
            return f"{shown} is not executable by {self.who.shown}: it has {_rights(status)}"
        return self.at_directory(path.rpartition("/")[0]) if path.startswith("/") else ""

    def _content(self, fd: int, path: str, shown: str, depth: int) -> str:
        # Through our own /proc: what was opened and found regular is what is read, whatever its path is by now.
        file = posix.open(f"/proc/self/fd/{fd}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
        try:
            head = posix.pread(file, _HEAD, 0)
            if head.startswith(b"#!"):
                return self._script(head, _shown(path), depth)
            if head.startswith(b"\x7fELF"):
                return self._elf(file, head, _shown(path), depth)
        finally:
            posix.close(file)
        if self.number != errno.ENOEXEC:
            return ""
        return f"{shown} " + ("has neither an ELF header nor a #! line" if head else "is empty")

    def _script(self, head: bytes, shown: str, depth: int) -> str:
        line, newline, _ = head[2:].partition(b"\n")
        words = line.strip(b" \t").replace(b"\t", b" ").split(b" ", 1)
        name = words[0].decode("utf-8", "surrogateescape")
        if not name or "\0" in name:
            return f"{shown} has a #! line without an interpreter"
        if name.endswith("\r"):
            return f"the #! line of {shown} ends in a carriage return, which the kernel takes for a part of the name"
        if not newline and len(words) == 1 and len(head) == _HEAD:
            return f"the #! line of {shown} is longer than {_HEAD} bytes"
        return self.at_program(name, "the interpreter", shown, depth + 1)

    def _elf(self, file: int, head: bytes, shown: str, depth: int) -> str:
        if len(head) < 52:
            return f"{shown} is cut short"
        wide = head[4] == 2
        little = head[5] == 1
        machine = _number(head[18:20], little)
        here = posix.uname().machine
        if machine not in _NATIVE.get(here, (machine,)) or (here == "x86_64" and not little):
            return self._foreign(_MACHINES.get(machine, f"machine {machine}"), here, shown)
        if self.number == errno.ENOEXEC:
            kind = _number(head[16:18], little)
            if kind not in (2, 3):  # ET_EXEC, ET_DYN
                return f"{shown} is an ELF file, but not a program"
            if not wide and here in ("x86_64", "aarch64"):
                return f"{shown} is a 32-bit program, which this kernel does not run"
        name = _loader(file, head, wide, little)
        return self.at_program(name, "the ELF loader", shown, depth + 1) if name else ""

    def _foreign(self, machine: str, here: str, shown: str) -> str:
        if self.number in (errno.ENOEXEC, errno.ELIBBAD):
            return f"{shown} is for {machine}, this machine is {here}"
        if self.number == errno.ENOENT:
            return f"{shown} is for {machine}, and the emulator that binfmt_misc names for it is not in the container"
        return ""


def _number(data: bytes, little: bool) -> int:
    return int.from_bytes(data, "little" if little else "big")


def _loader(file: int, head: bytes, wide: bool, little: bool) -> str:
    """Return the path of PT_INTERP, "" for a static program."""
    size = 8 if wide else 4
    table = _number(head[32 : 32 + size] if wide else head[28:32], little)
    entry_size, count = [_number(head[at : at + 2], little) for at in ((54, 56) if wide else (42, 44))]
    for index in range(min(count, _HEADERS_MAX)):
        entry = posix.pread(file, 56 if wide else 32, table + index * entry_size)
        if _number(entry[:4], little) == _PT_INTERP:
            offset = _number(entry[8:16] if wide else entry[4:8], little)
            length = _number(entry[32:40] if wide else entry[16:20], little)
            name = posix.pread(file, min(length, _PATH_MAX), offset)
            return name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return ""


def _rights(status) -> str:
    return f"mode {status.st_mode & 0o7777:04o}, owner {status.st_uid}:{status.st_gid}"


def _shown(path: str) -> str:
    """Write a name from the image for a one-line message."""
    if len(path) > 200:
        path = path[:197] + "..."
    return "".join([char if char.isprintable() else ascii(char)[1:-1] for char in path])
