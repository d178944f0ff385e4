"""`linux.sysctl`: only keys that belong to one of the container's own namespaces.

A key of the host's would change the host, up to running a program there through kernel.core_pattern
(CVE-2022-0811). runtime-spec config-linux.md#sysctl, man 5 proc_sys, man 7 ipc_namespaces.
"""

from __future__ import annotations

from capsule.spec.check import problem, quote
from capsule.spec.model import Config

IPC_KEYS = (
    "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax",
    "kernel/shmmni", "kernel/shm_rmid_forced",
)


def take_sysctl(config: Config, tree: dict, kinds: dict[str, str | None]) -> None:
    """Fill `sysctl` with keys as paths below /proc/sys; hostname and domainname must be filled before."""
    for key, value in tree.items():
        where = f"linux.sysctl[{quote(key)}]"
        path = to_path(key)
        if path is None:
            raise problem(where, "expected names joined by dots or by slashes")
        if path in config.sysctl:
            raise problem(where, f"{path} is given twice, in different spelling")
        _check_key(config, path, value, kinds, where)
        config.sysctl[path] = value


def to_path(key: str) -> str | None:
    """Translate `net.ipv4.conf.eth0/100.rp_filter` or `net/ipv4/conf/eth0.100/rp_filter`, as man 8 sysctl does.

    The first separator decides; the other character then stands for a dot within a name. None: no such key.
    """
    dot, slash = key.find("."), key.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        key = "/".join([name.replace("/", ".") for name in key.split(".")])
    names = key.split("/")
    return None if "" in names or "." in names or ".." in names or len(names) < 2 else key


def _check_key(config: Config, path: str, value: str, kinds: dict[str, str | None], where: str) -> None:
    """Refuse a key without its namespace, or one that a field of the config says otherwise."""
    if path == "kernel/hostname":
        raise problem(where, "is set by the field hostname")
    need = namespace_of(path)
    if not need:
        raise problem(where, "is not a setting of a namespace: it would change the host")
    if need not in kinds:
        raise problem(where, f"needs a namespace of type {need} in linux.namespaces")
    if path == "kernel/domainname" and config.domainname is not None and config.domainname != value:
        raise problem(where, f"contradicts the field domainname, {quote(config.domainname)}")


def namespace_of(path: str) -> str:
    """Return the type of namespace that a sysctl belongs to, or ""."""
    if path.startswith("net/"):
        return "network"
    if path in IPC_KEYS or path.startswith("fs/mqueue/"):
        return "ipc"
    if path == "kernel/domainname":
        return "uts"
    return "user" if path.startswith("user/") else ""
