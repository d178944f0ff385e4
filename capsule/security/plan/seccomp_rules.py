"""Read an OCI seccomp profile into one table of system calls for each architecture.

Loaded only when the cache has no filter. The profile is checked already (capsule.spec): its words, and the
ranges of its values. runtime-spec config-linux.md#seccomp; docs/security.md has the rules' precedence.
"""

from __future__ import annotations

import errno

from capsule._ext import seccomp as ext
from capsule.errors import SecurityError, SpecError, Unsupported
from capsule.security.plan import seccomp_bpf as bpf

# SECCOMP_RET_* of linux/seccomp.h.
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
KIND = 0xFFFF0000  # the action without its data
LETS_THROUGH = (ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_LOG"], ACTIONS["SCMP_ACT_TRACE"])
ENOSYS = ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS

# AUDIT_ARCH_* of linux/audit.h; x32 has none, the kernel reports it as x86-64 with X32_BIT in the number.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_M68K": 0x00000004,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_SH": 0x4000002A,
    "SCMP_ARCH_SHEB": 0x0000002A,
}
X86 = 0x40000003
X86_64 = 0xC000003E
X32 = 0x4000003E
ARM = 0x40000028
AARCH64 = 0xC00000B7

X32_BIT = 0x40000000
ARM_PRIVATE = 0x000F0000  # set_tls and its like, far above the ordinary numbers

# What a kernel of each architecture runs: no call of another can reach a filter.
RUNNABLE = {X86_64: (X86_64, X86, X32), AARCH64: (AARCH64, ARM)}

# i386 has both socketcall(n, ...) and, since Linux 4.3, calls of their own: by libseccomp's pseudo number
# (arch/x86/entry/syscalls/syscall_32.tbl). What is missing exists in the one form only.
X86_DIRECT = {
    -101: 359, -102: 361, -103: 362, -104: 363, -106: 367, -107: 368, -108: 360, -111: 369, -112: 371,
    -113: 373, -114: 366, -115: 365, -116: 370, -117: 372, -118: 364, -119: 337, -120: 345,
    -202: 393, -203: 394, -211: 400, -212: 401, -213: 399, -214: 402, -221: 397, -222: 398, -223: 395, -224: 396,
}
X86_SOCKETCALL = 102
X86_IPC = 117


class Table:
    """The calls of one architecture: constant answers, conditional rules in order, and the highest number."""

    __slots__ = ("constant", "conditional", "highest")

    def __init__(self) -> None:
        self.highest = -1
        self.constant: dict[int, int] = {}  # number to SECCOMP_RET_*
        self.conditional: dict[int, list[tuple[tuple[tuple[int, str, int, int], ...], int]]] = {}


def build(profile) -> tuple[bytes, str]:
    """Compile a profile; returns the program and the path of the libseccomp that named its calls.

    Raises SpecError for a word the spec does not have, Unsupported, SecurityError.
    """
    default = action_number(profile["defaultAction"], profile.get("defaultErrnoRet"))
    try:
        names = ext.Names()
    except OSError as err:
        raise Unsupported("compile seccomp profile", "libseccomp.so.2", "the library is not installed") from err
    try:
        ranges = {}
        for arch in architectures(profile.get("architectures") or ()):
            table = _read_rules(names, arch, default, profile.get("syscalls") or ())
            ranges[arch] = _answers(arch, table, default)
        library = names.library()
    finally:
        names.close()
    if X86_64 in ranges:
        # The kernel reports x32 as x86-64. One that is built without x32 answers ENOSYS to its numbers.
        below = [answer for answer in ranges[X86_64] if answer[0] < X32_BIT]
        ranges[X86_64] = below + ranges.pop(X32, [(X32_BIT, ENOSYS)])
    program = bpf.assemble(list(ranges.items()), ACTIONS["SCMP_ACT_KILL_THREAD"])
    count = len(program) // bpf.INSTRUCTION_SIZE
    if count > bpf.MAX_INSTRUCTIONS:
        cause = f"{count} instructions, the kernel takes at most {bpf.MAX_INSTRUCTIONS}"
        raise SecurityError("compile seccomp profile", "linux.seccomp", cause, errno=errno.E2BIG)
    return program, library


def action_number(name, errno_ret) -> int:
    """Return the SECCOMP_RET_* value of an action with its data, EPERM where none is given."""
    if name not in ACTIONS:
        raise SpecError("read seccomp profile", "linux.seccomp", f"unknown action {name}")
    number = ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        number |= errno.EPERM if errno_ret is None else errno_ret
    return number


def architectures(wanted) -> list[int]:
    """Return the native architecture and those of the profile that this machine's kernel runs."""
    native = ext.native_arch()
    chosen = [native]
    for name in wanted:
        if name == "SCMP_ARCH_NATIVE":
            continue
        if name not in ARCHITECTURES:
            raise SpecError("read seccomp profile", "linux.seccomp.architectures", f"unknown architecture {name}")
        arch = ARCHITECTURES[name]
        if arch in RUNNABLE[native] and arch not in chosen:
            chosen.append(arch)
    return chosen


def split_conditions(args):
    """Return the condition lists of one rule's `args`; the rule holds when every condition of one list does.

    A rule that names an argument twice means alternatives, as in the other runtimes, which libseccomp forces
    to it: each condition is then a rule of its own.
    """
    conditions = []
    indices = 0
    for arg in args or ():
        op = arg["op"][len("SCMP_CMP_"):]
        conditions.append((arg["index"], op, arg["value"], arg.get("valueTwo") or 0))
        indices |= 1 << arg["index"]
    if bin(indices).count("1") == len(conditions):
        return [tuple(conditions)]
    return [(condition,) for condition in conditions]


def _read_rules(names, arch, default, rules):
    """Return the table of an architecture."""
    table = Table()
    for rule in rules:
        action = action_number(rule["action"], rule.get("errnoRet"))
        alternatives = split_conditions(rule.get("args"))
        if arch in (X86, ARM):
            alternatives = [tuple([_narrow(condition) for condition in conditions]) for conditions in alternatives]
        for name in rule["names"]:
            encoded = name.encode("utf-8", "surrogateescape")
            number = -1 if b"\0" in encoded else names.resolve(arch, encoded)
            direct = X86_DIRECT.get(number, -1) if arch == X86 and number < 0 else number
            if direct > table.highest and not (arch == ARM and direct >= ARM_PRIVATE):
                table.highest = direct
            if action == default:
                continue  # as in the other runtimes it does not shadow a later rule
            if direct >= 0:
                _add(table, direct, alternatives, action)
            if arch == X86 and number < -100:
                _add_multiplexed(table, number, alternatives, action)
    return table


def _narrow(condition):
    """Return a condition with its negative numbers as 32-bit registers hold them, the upper half empty."""
    index, op, value, value_two = condition
    return index, op, _narrow_value(value), _narrow_value(value_two)


def _narrow_value(value):
    return value & 0xFFFFFFFF if value >= (1 << 64) - (1 << 31) else value


def _add(table, number, alternatives, action):
    """Add a rule: of a call's unconditional rules the first counts, and it beats all conditional ones."""
    for conditions in alternatives:
        if conditions:
            table.conditional.setdefault(number, []).append((conditions, action))
        else:
            table.constant.setdefault(number, action)


def _add_multiplexed(table, pseudo, alternatives, action):
    """Add a rule for a call that i386 makes through socketcall(2) or ipc(2).

    The call's own arguments are behind a pointer, where no filter can look. A rule that depends on them is
    taken to hold when it refuses, and not to hold when it lets through.
    """
    if () not in alternatives and action & KIND in LETS_THROUGH:
        return
    if -120 <= pseudo < -100:
        _add(table, X86_SOCKETCALL, [((0, "EQ", -100 - pseudo, 0),)], action)
    elif -224 <= pseudo < -200:
        # The upper half of ipc's first argument is a version (man 2 ipc, kernel ipc/syscall.c).
        _add(table, X86_IPC, [((0, "MASKED_EQ", 0xFFFF, -200 - pseudo),)], action)


def _answers(arch, table, default):
    """Return [(first number, answer)] in order, each good up to the next; see seccomp_bpf for the answers.

    A call above the highest one the profile names gets ENOSYS: the author cannot have meant calls that did
    not exist yet, and C libraries try a new call first and fall back on ENOSYS only. Not where the default
    lets unknown calls through, to the kernel or to a tracer, nor where the profile names no call at all.
    """
    base = X32_BIT if arch == X32 else 0
    newer = default if table.highest < 0 or default & KIND in LETS_THROUGH else ENOSYS
    answers: dict[int, object] = {number: (tuple(rules), default) for number, rules in table.conditional.items()}
    answers.update(table.constant)
    points = {base, max(base, table.highest + 1), *answers, *[number + 1 for number in answers]}
    if arch == ARM:
        points.add(ARM_PRIVATE)
    ranges: list[tuple[int, object]] = []
    for point in sorted(points):
        answer = answers.get(point)
        if answer is None:
            is_newer = point > table.highest and not (arch == ARM and point >= ARM_PRIVATE)
            answer = newer if is_newer else default
        if not ranges or ranges[-1][1] != answer:
            ranges.append((point, answer))
    return ranges
