"""The features document: what a config.json may ask of this version.

Lists what is recognised and honoured, never what load_config would refuse. runtime-spec features.md,
features-linux.md.
"""

from __future__ import annotations

from capsule.linux.names import CAPABILITIES
from capsule.spec.mount_options import WORDS
from capsule.spec.schema import (
    HOOK_KINDS,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    NAMESPACES,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
)

VERSION_MIN = "1.0.0"
VERSION_MAX = "1.3.0"


def features(*, annotations: dict[str, str] | None = None) -> dict:
    """Return the document as a tree for JSON; `annotations` are the build's (versions of it and its libraries)."""
    return {
        "ociVersionMin": VERSION_MIN,
        "ociVersionMax": VERSION_MAX,
        "hooks": list(HOOK_KINDS),
        "mountOptions": sorted(WORDS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(MEMORY_POLICIES), "flags": sorted(MEMORY_POLICY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": dict(annotations or {}),
        # A full stop at the end stands for all that begin so: properties of the container's systemd unit.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property.", "run.oci.keep_original_groups"],
    }


def _seccomp() -> dict:
    return {
        "enabled": True,
        "actions": sorted(SECCOMP_ACTIONS),
        "operators": sorted(SECCOMP_OPERATORS),
        "archs": sorted([name for name in SECCOMP_ARCHITECTURES if name != "SCMP_ARCH_NATIVE"]),
        "knownFlags": list(SECCOMP_FLAGS),
        "supportedFlags": list(SECCOMP_FLAGS),
    }
