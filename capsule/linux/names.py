"""The kernel's names and numbers: signals, capabilities, resource limits.

Numbers are those of the generic ABI (x86-64, aarch64, riscv64, s390x, ppc64le share them); mips, alpha,
sparc and parisc differ and are not supported. man 7 signal, man 7 capabilities, man 2 getrlimit.
"""

from __future__ import annotations

from capsule.errors import CapsuleError

# Index = number. SIGRTMIN is 34 because the C library keeps 32 and 33 for its threads (man 7 signal).
SIGNALS = (
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
)
SIGNAL_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29, "RTMIN": 34, "RTMAX": 64}
SIGRTMIN = 34
SIGRTMAX = 64

# Index = bit number (include/uapi/linux/capability.h, Linux 5.9 and later).
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
    "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)
CAP_LAST = 40

# Index = resource number (include/uapi/asm-generic/resource.h).
RLIMITS = (
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC",
    "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
)


def _index(names: tuple[str, ...], name: str) -> int:
    """Return the position of a name in a table, or -1."""
    return names.index(name) if name in names else -1


def _decimal(text: str) -> int:
    """Return the value of a short run of ASCII digits, or -1 (int() also takes spaces, signs and ٣)."""
    return int(text) if 0 < len(text) <= 10 and text.isascii() and text.isdigit() else -1


def signal_number(text: str) -> int:
    """Return the number of a signal given as `TERM`, `SIGTERM`, `sigterm`, `15` or `RTMIN+3`.

    Raises CapsuleError for what is no signal. 0 (the existence check of man 2 kill) is accepted.
    """
    name = text.upper()
    number = _decimal(name)
    if number < 0:
        if name.startswith("SIG"):
            name = name[3:]
        number = SIGNAL_ALIASES.get(name, -1)
        if number < 0 and name:
            number = _index(SIGNALS, name)
        if number < 0 and name.startswith("RTMIN+"):
            offset = _decimal(name[6:])
            number = SIGRTMIN + offset if offset >= 0 else -1
        if number < 0 and name.startswith("RTMAX-"):
            offset = _decimal(name[6:])
            number = SIGRTMAX - offset if 0 <= offset <= SIGRTMAX - SIGRTMIN else -1
    if not 0 <= number <= SIGRTMAX:
        raise CapsuleError("unknown signal", f'"{text}"')
    return number


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15, `SIGRTMIN+3` for 37; the number as text where there is no name."""
    if 0 < number < len(SIGNALS):
        return "SIG" + SIGNALS[number]
    if SIGRTMIN <= number <= SIGRTMAX:
        return f"SIGRTMIN+{number - SIGRTMIN}" if number > SIGRTMIN else "SIGRTMIN"
    return str(number)


def capability_number(name: str) -> int:
    """Return the bit number of `CAP_X`, or -1 where this version knows no such capability."""
    return _index(CAPABILITIES, name)


def rlimit_number(name: str) -> int:
    """Return the resource number of `RLIMIT_X`, or -1."""
    return _index(RLIMITS, name)
