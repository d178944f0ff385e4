"""The shape of config.json, process.json and a resources document, as rules for check.py.

Ranges are the kernel's or the field's type in the specification; rules that need more than one field are in
process.py, attributes.py, mounts.py, namespaces.py, devices.py, hooks.py, resources.py, seccomp.py. A new field
is a line here and its meaning there. runtime-spec config.md, config-linux.md (1.3).
"""

from __future__ import annotations

from capsule.linux.names import RLIMITS
from capsule.spec.check import BOOL, INT, LIST, MAP, OBJECT, STRING, WORD
from capsule.spec.mount_options import PROPAGATION_WORDS

U32 = (1 << 32) - 1
U64 = (1 << 64) - 1
I64 = (1 << 63) - 1

TEXT = (STRING,)
TEXTS = (LIST, TEXT)
FLAG = (BOOL,)
# 2**32-1 is (uid_t) -1, "leave as it is" to the kernel: never an id.
ID = (INT, 0, U32 - 1)
NUMBER_32 = (INT, 0, U32)
NUMBER_64 = (INT, 0, U64)
LIMIT = (INT, -1, I64)  # -1 is no limit

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
HOOK_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

SCHEDULER_POLICIES = (
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE",
)
SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX",
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
PERSONALITIES = ("LINUX", "LINUX32")
MEMORY_POLICIES = (
    "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY", "MPOL_LOCAL",
)
MEMORY_POLICY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")

USER = (OBJECT, {"uid": ID, "gid": ID, "umask": (INT, 0, 0o777), "additionalGids": (LIST, ID)})
RLIMIT = (OBJECT, {"type": (WORD, RLIMITS), "soft": NUMBER_64, "hard": NUMBER_64})

PROCESS = (OBJECT, {
    "terminal": FLAG,
    "consoleSize": (OBJECT, {"height": NUMBER_32, "width": NUMBER_32}),
    "cwd": TEXT,
    "env": TEXTS,
    "args": TEXTS,
    "user": USER,
    "capabilities": (OBJECT, {
        "bounding": TEXTS, "effective": TEXTS, "permitted": TEXTS, "inheritable": TEXTS, "ambient": TEXTS,
    }),
    "noNewPrivileges": FLAG,
    "rlimits": (LIST, RLIMIT),
    "oomScoreAdj": (INT, -1000, 1000),
    "apparmorProfile": TEXT,
    "selinuxLabel": TEXT,
    "scheduler": (OBJECT, {
        "policy": (WORD, SCHEDULER_POLICIES),
        "nice": (INT, -20, 19),
        "priority": (INT, 0, 99),
        "flags": (LIST, (WORD, SCHEDULER_FLAGS)),
        "runtime": NUMBER_64,
        "deadline": NUMBER_64,
        "period": NUMBER_64,
    }),
    "ioPriority": (OBJECT, {"class": (WORD, IO_CLASSES), "priority": (INT, 0, 7)}),
    "execCPUAffinity": (OBJECT, {"initial": TEXT, "final": TEXT}),
})

MAPPINGS = (LIST, (OBJECT, {"containerID": NUMBER_32, "hostID": NUMBER_32, "size": (INT, 1, U32)}))

MOUNT = (OBJECT, {
    "destination": TEXT,
    "type": TEXT,
    "source": TEXT,
    "options": TEXTS,
    "uidMappings": MAPPINGS,
    "gidMappings": MAPPINGS,
})

HOOKS = (LIST, (OBJECT, {"path": TEXT, "args": TEXTS, "env": TEXTS, "timeout": (INT, 1, I64)}))

# Device numbers have 12 and 20 bits in the kernel (include/linux/kdev_t.h).
DEVICE = (OBJECT, {
    "type": (WORD, ("c", "b", "u", "p")),
    "path": TEXT,
    "major": (INT, 0, 0xFFF),
    "minor": (INT, 0, 0xFFFFF),
    "fileMode": NUMBER_32,
    "uid": ID,
    "gid": ID,
})

WEIGHT = (INT, 0, 1000)
THROTTLES = (LIST, (OBJECT, {"major": NUMBER_32, "minor": NUMBER_32, "rate": NUMBER_64}))

RESOURCES = (OBJECT, {
    "devices": (LIST, (OBJECT, {
        "allow": FLAG,
        "type": (WORD, ("", "a", "b", "c")),
        "major": (INT, -1, U32),
        "minor": (INT, -1, U32),
        "access": TEXT,
    })),
    "memory": (OBJECT, {
        "limit": LIMIT,
        "reservation": LIMIT,
        "swap": LIMIT,
        "kernel": LIMIT,
        "kernelTCP": LIMIT,
        "swappiness": NUMBER_64,
        "disableOOMKiller": FLAG,
        "useHierarchy": FLAG,
        "checkBeforeUpdate": FLAG,
    }),
    "cpu": (OBJECT, {
        "shares": NUMBER_64,
        "quota": LIMIT,
        "burst": NUMBER_64,
        "period": NUMBER_64,
        "realtimeRuntime": LIMIT,
        "realtimePeriod": NUMBER_64,
        "cpus": TEXT,
        "mems": TEXT,
        "idle": (INT, 0, 1),
    }),
    "pids": (OBJECT, {"limit": LIMIT}),
    "blockIO": (OBJECT, {
        "weight": WEIGHT,
        "leafWeight": WEIGHT,
        "weightDevice": (LIST, (OBJECT, {
            "major": NUMBER_32, "minor": NUMBER_32, "weight": WEIGHT, "leafWeight": WEIGHT,
        })),
        "throttleReadBpsDevice": THROTTLES,
        "throttleWriteBpsDevice": THROTTLES,
        "throttleReadIOPSDevice": THROTTLES,
        "throttleWriteIOPSDevice": THROTTLES,
    }),
    "hugepageLimits": (LIST, (OBJECT, {"pageSize": TEXT, "limit": NUMBER_64})),
    "network": (OBJECT, {
        "classID": NUMBER_32,
        "priorities": (LIST, (OBJECT, {"name": TEXT, "priority": NUMBER_32})),
    }),
    "rdma": (MAP, (OBJECT, {"hcaHandles": NUMBER_32, "hcaObjects": NUMBER_32})),
    "unified": (MAP, TEXT),
})

SECCOMP_ACTIONS = (
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
)
SECCOMP_OPERATORS = (
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)
SECCOMP_FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
SECCOMP_ARCHITECTURES = (
    "SCMP_ARCH_NATIVE", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB",
)

# The kernel keeps errno values up to MAX_ERRNO (include/linux/err.h).
ERRNO = (INT, 0, 4095)

SECCOMP = (OBJECT, {
    "defaultAction": (WORD, SECCOMP_ACTIONS),
    "defaultErrnoRet": ERRNO,
    "architectures": (LIST, (WORD, SECCOMP_ARCHITECTURES)),
    "flags": (LIST, (WORD, SECCOMP_FLAGS)),
    "listenerPath": TEXT,
    "listenerMetadata": TEXT,
    "syscalls": (LIST, (OBJECT, {
        "names": TEXTS,
        "action": (WORD, SECCOMP_ACTIONS),
        "errnoRet": ERRNO,
        "args": (LIST, (OBJECT, {
            "index": (INT, 0, 5),
            "value": NUMBER_64,
            "valueTwo": NUMBER_64,
            "op": (WORD, SECCOMP_OPERATORS),
        })),
    })),
})

LINUX = (OBJECT, {
    "namespaces": (LIST, (OBJECT, {"type": (WORD, NAMESPACES), "path": TEXT})),
    "uidMappings": MAPPINGS,
    "gidMappings": MAPPINGS,
    "timeOffsets": (MAP, (OBJECT, {"secs": (INT, -I64 - 1, I64), "nanosecs": (INT, 0, 999999999)})),
    "devices": (LIST, DEVICE),
    "cgroupsPath": TEXT,
    "resources": RESOURCES,
    "rootfsPropagation": (WORD, ("", *PROPAGATION_WORDS)),
    "maskedPaths": TEXTS,
    "readonlyPaths": TEXTS,
    "sysctl": (MAP, TEXT),
    "seccomp": SECCOMP,
    "mountLabel": TEXT,
    "intelRdt": (OBJECT, {
        "closID": TEXT, "l3CacheSchema": TEXT, "memBwSchema": TEXT, "schemata": TEXTS, "enableMonitoring": FLAG,
    }),
    "personality": (OBJECT, {"domain": (WORD, PERSONALITIES), "flags": TEXTS}),
    "memoryPolicy": (OBJECT, {
        "mode": (WORD, MEMORY_POLICIES), "nodes": TEXT, "flags": (LIST, (WORD, MEMORY_POLICY_FLAGS)),
    }),
    "netDevices": (MAP, (OBJECT, {"name": TEXT})),
})

CONFIG = (OBJECT, {
    "ociVersion": TEXT,
    "root": (OBJECT, {"path": TEXT, "readonly": FLAG}),
    "process": PROCESS,
    "hostname": TEXT,
    "domainname": TEXT,
    "mounts": (LIST, MOUNT),
    "hooks": (OBJECT, {
        "prestart": HOOKS, "createRuntime": HOOKS, "createContainer": HOOKS, "startContainer": HOOKS,
        "poststart": HOOKS, "poststop": HOOKS,
    }),
    "annotations": (MAP, TEXT),
    "linux": LINUX,
})
