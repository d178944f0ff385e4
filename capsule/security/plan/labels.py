"""Decide, in R, which security module takes a process's label. Imported only for a config that has one.

The tail writes it to its own thread-self/attr on a private procfs (docs/tail.md). A label that nobody enforces
is refused: a container that asked for confinement must not start without. AppArmor: kernel
Documentation/admin-guide/LSM/apparmor.rst; SELinux: man 8 selinux.
"""

from __future__ import annotations

import posix

from capsule.errors import SpecError, Unsupported

APPARMOR_ENABLED = "/sys/module/apparmor/parameters/enabled"  # "Y" or "N"
SELINUX_ENFORCE = "/sys/fs/selinux/enforce"  # there while selinuxfs is mounted and SELinux is on
# What every process is where there is no AppArmor.
UNCONFINED = "unconfined"


def process_labels(process) -> tuple[str | None, str | None]:
    """Return the AppArmor profile and the SELinux context to write.

    Raises Unsupported where the module is absent, SpecError where both are asked for.
    """
    apparmor, selinux = process.apparmor_profile, process.selinux_label
    if apparmor and not has_apparmor():
        if apparmor != UNCONFINED:
            raise Unsupported("apply AppArmor profile", apparmor, "AppArmor is not enabled on this machine")
        apparmor = None
    if selinux and not has_selinux():
        raise Unsupported("apply SELinux label", selinux, "SELinux is not enabled on this machine")
    if apparmor and selinux:
        raise SpecError("config.json", "process.selinuxLabel", "cannot be combined with apparmorProfile")
    return apparmor, selinux


def check_mount_label(label: str) -> None:
    """Refuse linux.mountLabel where nothing would enforce it. Raises Unsupported."""
    if not has_selinux():
        raise Unsupported("apply mount label", label, "SELinux is not enabled on this machine")


def has_apparmor() -> bool:
    """Tell whether the kernel has AppArmor, switched on."""
    return _read(APPARMOR_ENABLED).startswith(b"Y")


def has_selinux() -> bool:
    """Tell whether SELinux is switched on; enforcing or not is its administrator's choice."""
    return _read(SELINUX_ENFORCE) != b""


def _read(path: str) -> bytes:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(fd, 16)
    except OSError:
        return b""
    finally:
        posix.close(fd)
