"""A seccomp program read as the kernel reads it: classic BPF over struct seccomp_data (man 2 seccomp)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

X86_64, X86, X32_BIT = 0xC000003E, 0x40000003, 0x40000000
ALLOW, LOG, KILL_THREAD, KILL_PROCESS = 0x7FFF0000, 0x7FFC0000, 0, 0x80000000
ERRNO, TRACE, TRAP = 0x50000, 0x7FF00000, 0x30000
MASK = 0xFFFFFFFF

_JUMPS = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}


def run(program: bytes, number: int, args: Sequence[int] = (), arch: int = X86_64) -> int:
    """Return the SECCOMP_RET_* value that a program gives a call; ValueError on an unknown instruction."""
    data = struct.pack("=IIQ6Q", number & MASK, arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    scratch = [0] * 16
    while True:
        op, if_true, if_false, k = code[at]
        at += 1
        if op == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif op == 0x06:
            return k
        elif op == 0x05:
            at += k
        elif op in _JUMPS:
            at += if_true if _JUMPS[op](accumulator, k) else if_false
        elif op == 0x54:
            accumulator &= k
        elif op == 0x02:
            scratch[k] = accumulator
        elif op == 0x60:
            accumulator = scratch[k]
        else:
            raise ValueError(f"unknown instruction {op:#x}")
