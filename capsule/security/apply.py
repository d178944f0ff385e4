"""Prepare, in S2, the capabilities that the tail starts with. man 7 capabilities, man 2 execve.

execve(2) recomputes every set, so this is the last place where the tail's privileges can be chosen; the tail
cuts them to the plan's own.
"""

from __future__ import annotations

import posix

from capsule._ext import capset
from capsule.errors import SecurityError

DAC_OVERRIDE = 1 << 1
DAC_READ_SEARCH = 1 << 2
SETGID = 1 << 6
SETUID = 1 << 7
SETPCAP = 1 << 8
SYS_ADMIN = 1 << 21


def tail_needs(plan) -> int:
    """Return the capabilities that the tail needs to become what the plan says."""
    bounding, _, permitted, inheritable, _ = plan.caps
    need = bounding | permitted | inheritable | SETGID | SETUID | SETPCAP
    if plan.seccomp is not None and not plan.no_new_privs:
        need |= SYS_ADMIN  # a filter without no_new_privs (man 2 seccomp)
    return need


def before_tail(plan, in_userns) -> None:
    """Cut this process's capabilities so that the tail starts with what it needs and nobody can trace it.

    After this S2 may do no more than execveat(2). `in_userns`: the container has a user namespace, whose
    uid 0 need not be mapped. Raises SecurityError.
    """
    need = tail_needs(plan)
    try:
        capset.bounding_drop(need)
        effective, permitted, _ = capset.get()
        # The tail's memfd has mode 0111. Who may not read the program it executes starts non-dumpable.
        effective &= ~(DAC_OVERRIDE | DAC_READ_SEARCH)
        if in_userns and posix.getuid() != 0:
            # execve gives a process that is not uid 0 its ambient capabilities and no others.
            need &= permitted
            capset.set(effective, permitted, need)
            refused = capset.ambient_raise(need)
            if refused:
                raise SecurityError("raise ambient capabilities", hex(refused), "the tail would start without them")
        else:
            # uid 0 gets the bounding set; an inheritable bit of the caller's must not add to it.
            capset.set(effective, permitted, 0)
    except OSError as err:
        raise SecurityError("prepare capabilities", "of the tail", errno=err.errno) from err
