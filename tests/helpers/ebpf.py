"""Device programs of cgroup v2 without capsule's own code: an interpreter, and the calls of man 2 bpf.

The interpreter knows the instructions that capsule writes and no others; registers have 64 bits, the operations used
here clear the upper half.
"""

from __future__ import annotations

import ctypes
import operator
import os
import struct

BLOCK, CHAR = 1, 2
MKNOD, READ, WRITE = 1, 2, 4
MASK = 0xFFFFFFFF

_JUMPS = {0x50: operator.ne, 0x10: operator.eq, 0x40: lambda a, b: bool(a & b)}


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """Tell whether a program allows an access; ValueError on an unknown instruction or an endless run."""
    context = struct.pack("=III", access << 16 | kind, major, minor)
    code = [struct.unpack("=BBhi", program[at : at + 8]) for at in range(0, len(program), 8)]
    registers: dict[int, int] = {}
    at = 0
    for _ in range(len(code) + 1):
        op, regs, offset, immediate = code[at]
        target, source = regs & 0xF, regs >> 4
        at += 1
        if op == 0x61:  # load a word of the context
            assert source == 1
            registers[target] = struct.unpack_from("=I", context, offset)[0]
        elif op == 0xBC:
            registers[target] = registers[source]
        elif op == 0xB4:
            registers[target] = immediate & MASK
        elif op == 0x54:
            registers[target] &= immediate & MASK
        elif op == 0x74:
            registers[target] >>= immediate
        elif op == 0x05:
            at += offset
        elif op == 0x95:
            return registers[0] == 1
        elif op & 0x0F == 0x06 and op & 0xF0 in _JUMPS:  # 32 bits against the immediate
            at += offset if _JUMPS[op & 0xF0](registers[target], immediate & MASK) else 0
        else:
            raise ValueError(f"unknown instruction {op:#x}")
    raise ValueError("the program does not end")


_CALL = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _GET_FD_BY_ID, _GET_INFO, _QUERY = 5, 13, 15, 16
_CGROUP_DEVICE_PROGRAM, _CGROUP_DEVICE = 15, 6
_NAME_AT = 64  # struct bpf_prog_info.name


def _bpf(command: int, attr: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attr, 128)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(_CALL[os.uname().machine], command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


def load(name: str, *, allow: bool) -> int:
    """Load a program that allows everything or nothing, under a name, and return its fd."""
    code = struct.pack("=BBhi", 0xB4, 0, 0, int(allow)) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    text, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    return _bpf(_PROG_LOAD, struct.pack("=IIQQIIQII16s", _CGROUP_DEVICE_PROGRAM, 2, ctypes.addressof(text),
                                        ctypes.addressof(licence), 0, 0, 0, 0, 0, name.encode()))[0]


def attached(cgroup: str) -> list[str]:
    """Return the names of the device programs that are attached to a cgroup."""
    ids = (ctypes.c_uint32 * 64)()
    directory_fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        attr = struct.pack("=IIIIQI", directory_fd, _CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), 64)
        count = struct.unpack_from("=I", _bpf(_QUERY, attr)[1], 24)[0]
    finally:
        os.close(directory_fd)
    return [_name(ids[index]) for index in range(count)]


def _name(number: int) -> str:
    fd = _bpf(_GET_FD_BY_ID, struct.pack("=I", number))[0]
    try:
        info = ctypes.create_string_buffer(256)
        _bpf(_GET_INFO, struct.pack("=IIQ", fd, 256, ctypes.addressof(info)))
        return info.raw[_NAME_AT : _NAME_AT + 16].split(b"\0")[0].decode()
    finally:
        os.close(fd)
