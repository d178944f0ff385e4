"""Generate classic BPF for a seccomp filter. man 2 seccomp, kernel Documentation/networking/filter.rst.

Calls are found by binary search over ranges of numbers; a range's answer is a SECCOMP_RET_* value, or
(rules, otherwise), where rules are ((conditions, SECCOMP_RET_*), ...) and the first whose conditions all hold
answers. Rules are never merged: docs/decisions/0004-seccomp-code.md says what merging gets wrong.
"""

from __future__ import annotations

import sys

INSTRUCTION_SIZE = 8  # struct sock_filter
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

LOAD, AND, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
FAR = 255  # a conditional jump has 8 bits for its distance

# struct seccomp_data; both architectures we run on are little-endian.
NUMBER, ARCH, ARGS = 0, 4, 16

# Targets inside a rule, replaced by distances when the rule is whole.
NEXT, HOLDS, FAILS = 0, -1, -2


def assemble(sections, other_arch) -> bytes:
    """Return the program for [(AUDIT_ARCH_*, [(first number, answer)])]; other_arch answers all others."""
    code = [(LOAD, ARCH, 0, 0)]
    for arch, ranges in sections:
        body = [(LOAD, NUMBER, 0, 0), *_search(ranges)]
        code += _jump_over(JUMP_EQUAL, arch, len(body), when=False)
        code += body
    code.append((RETURN, other_arch, 0, 0))
    order = sys.byteorder
    return b"".join([op.to_bytes(2, order) + bytes((yes, no)) + k.to_bytes(4, order) for op, k, yes, no in code])


def _search(ranges):
    """Return code that finds the range of the number in the accumulator; every path of it returns."""
    if len(ranges) == 1:
        return _answer(ranges[0][1])
    middle = len(ranges) // 2
    below = _search(ranges[:middle])
    above = _search(ranges[middle:])
    return _jump_over(JUMP_GREATER_EQUAL, ranges[middle][0], len(below), when=True) + below + above


def _jump_over(test, k, distance, *, when):
    """Return a test that skips `distance` instructions when its result is `when`."""
    if distance <= FAR:
        return [(test, k, distance, 0) if when else (test, k, 0, distance)]
    return [(test, k, 0, 1) if when else (test, k, 1, 0), (JUMP, distance, 0, 0)]


def _answer(answer):
    if isinstance(answer, int):
        return [(RETURN, answer, 0, 0)]
    rules, otherwise = answer
    code = []
    for conditions, action in rules:
        code += _rule(conditions, action)
    code.append((RETURN, otherwise, 0, 0))
    return code


def _rule(conditions, action):
    """Return code that returns action when every condition holds and falls off its end otherwise."""
    blocks = [_comparison(*condition) for condition in conditions]
    total = sum([len(block) for block in blocks]) + 1
    code = []
    for block in blocks:
        block_end = len(code) + len(block)
        for op, k, yes, no in block:
            behind = len(code) + 1
            targets = {NEXT: 0, HOLDS: block_end - behind, FAILS: total - behind}
            code.append((op, k, targets[yes], targets[no]))
    code.append((RETURN, action, 0, 0))
    return code


def _comparison(index, op, value, value_two):
    """Return code for one 64-bit comparison, two words at a time; it falls through when it holds."""
    low = (LOAD, ARGS + 8 * index, NEXT, NEXT)
    high = (LOAD, ARGS + 8 * index + 4, NEXT, NEXT)
    if op == "MASKED_EQ":
        wanted = value & value_two
        return [
            high, (AND, value >> 32, NEXT, NEXT), (JUMP_EQUAL, wanted >> 32, NEXT, FAILS),
            low, (AND, value & 0xFFFFFFFF, NEXT, NEXT), (JUMP_EQUAL, wanted & 0xFFFFFFFF, NEXT, FAILS),
        ]
    upper, lower = value >> 32, value & 0xFFFFFFFF
    if op == "EQ":
        return [high, (JUMP_EQUAL, upper, NEXT, FAILS), low, (JUMP_EQUAL, lower, NEXT, FAILS)]
    if op == "NE":
        return [high, (JUMP_EQUAL, upper, NEXT, HOLDS), low, (JUMP_EQUAL, lower, FAILS, NEXT)]
    if op in ("GT", "GE"):
        last = (JUMP_GREATER if op == "GT" else JUMP_GREATER_EQUAL, lower, NEXT, FAILS)
        return [high, (JUMP_GREATER, upper, HOLDS, NEXT), (JUMP_EQUAL, upper, NEXT, FAILS), low, last]
    if op in ("LT", "LE"):
        last = (JUMP_GREATER_EQUAL if op == "LT" else JUMP_GREATER, lower, FAILS, NEXT)
        return [high, (JUMP_GREATER, upper, FAILS, NEXT), (JUMP_EQUAL, upper, NEXT, HOLDS), low, last]
    raise ValueError(f"unknown comparison {op}")
