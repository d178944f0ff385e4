"""Single steps of the initializers that both kinds, or tests, call one by one."""

from __future__ import annotations

import posix

from capsule._ext import json, openbeneath, proc
from capsule.errors import KernelError, SecurityError
from capsule.linux import procfs, users
from capsule.protocol.tail_plan import TailPlan
from capsule.rootfs import lookup
from capsule.security import apply

_EDQUOT, _ENOENT, _ENOSYS, _EPERM = 122, 2, 38, 1
_S_IFMT, _S_IFIFO = 0o170000, 0o010000
_PIPEFS_MAGIC = 0x50495045  # linux/magic.h
_NO_LIMIT_MS = 0  # the tail's word for a hook without a timeout


def join_keyring(name: str) -> None:
    """Join a new session keyring, so that the caller's keys are not the container's.

    A kernel without keyrings (ENOSYS), a filter around the runtime (EPERM) or a user's full quota
    (EDQUOT) leaves the container without a keyring of its own; the caller's is then left as it is.
    """
    try:
        proc.keyctl_join_session(name.encode())
    except OSError as err:
        if err.errno not in (_EDQUOT, _ENOSYS, _EPERM):
            raise KernelError("join session keyring", name, errno=err.errno) from err


def write_sysctl(proc_fd: int, key: str, value: str) -> None:
    """Write one namespaced sysctl through the private procfs, never through the container's /proc."""
    try:
        procfs.write_sysctl(proc_fd, key if "/" in key else key.replace(".", "/"), value)
    except OSError as err:
        raise KernelError("write sysctl", key, errno=err.errno) from err


def open_namespaces() -> tuple[int, ...]:
    """Open our network and user namespace for R, which may not: we are not dumpable. In the host's root still."""
    try:
        return tuple([openbeneath.open_host(f"/proc/thread-self/ns/{kind}", 0) for kind in ("net", "user")])
    except OSError as err:
        raise KernelError("open namespaces", "", errno=err.errno) from err


def ensure_cwd(root_fd: int, cwd: str) -> None:
    """Make the working directory where the image has none, as runc does; before the root turns read-only."""
    try:
        posix.close(openbeneath.open_in_root(root_fd, cwd))
        return
    except OSError as err:
        if err.errno != _ENOENT:
            return  # execve's own chdir says what is wrong, with the user's credentials
    try:
        posix.close(openbeneath.ensure_dir(root_fd, cwd, 0o755)[0])
    except OSError as err:
        raise KernelError("create working directory", cwd, errno=err.errno) from err


def own_stdio(uid: int, gid: int) -> None:
    """Give stdio pipes to the container's user, so that it can open /dev/stdout.

    Only anonymous pipes: a device, a file or a named pipe of the host is never chowned (CVE-2026-88265's class).
    """
    for fd in (0, 1, 2):
        info = posix.fstat(fd)
        if info.st_mode & _S_IFMT != _S_IFIFO or (info.st_uid, info.st_gid) == (uid, gid):
            continue
        if proc.statfs_type(fd) == _PIPEFS_MAGIC:
            try:
                posix.fchown(fd, uid, gid)
            except OSError:
                # In a user namespace the pipe's owner may have no mapping; the fd itself works all the same.
                return


def hook_state(config, status: str, host_pid: int) -> bytes:
    """Write the state that hooks read on their stdin (runtime-spec runtime.md#state)."""
    state = {
        "ociVersion": config.container_config.oci_version,
        "id": config.id,
        "status": status,
        "pid": host_pid,
        "bundle": config.bundle,
    }
    if config.container_config.annotations:
        state["annotations"] = config.container_config.annotations
    return json.dumps(state)


def environment(entries: list[str], user) -> list[bytes]:
    """Build the payload's environment: the last of equal names wins; HOME is never missing or empty.

    `user` is the in-root passwd entry (name, gid, home) of the process's uid, or None.
    """
    values: dict[str, str] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        values[name] = value
    if not values.get("HOME"):
        values["HOME"] = (user[2] if user is not None else "") or "/"
    return [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in values.items()]


def find_program(root_fd: int, args: list[str], env: list[bytes], cwd: str) -> bytes:
    """Find args[0] as execvp(3) would, in the container's PATH.

    Raises CapsuleError with the words that engines match: executable file not found in $PATH.
    """
    path = None
    for entry in env:
        if entry.startswith(b"PATH="):
            path = entry[5:].decode("utf-8", "surrogateescape")
    return lookup.find_executable(root_fd, args[0], path, cwd).encode("utf-8", "surrogateescape")


def tail_plan_of(kind: str, config, root_fd: int) -> TailPlan:
    """Fill what both kinds of tail share: the program, its environment and its identity."""
    plan = TailPlan(kind, config.sync_fd)
    plan.preserve_fds = config.preserve_fds
    plan.pdeathsig = config.pdeathsig
    process, security = config.process_config, config.security
    if process is None or not process.args:
        plan.has_process = False
        return plan
    plan.env = environment(process.env, users.lookup(root_fd, security.uid))
    plan.args = [arg.encode("utf-8", "surrogateescape") for arg in process.args]
    plan.exec_path = find_program(root_fd, process.args, plan.env, process.cwd)
    plan.cwd = process.cwd.encode("utf-8", "surrogateescape")
    plan.cwd_entered = _enter(plan.cwd)
    plan.bounding, plan.effective, plan.permitted, plan.inheritable, plan.ambient = security.caps
    for name in ("uid", "gid", "groups", "umask", "no_new_privs", "seccomp", "seccomp_flags", "last_cap"):
        setattr(plan, name, getattr(security, name))
    _take_label(plan, security)
    if config.agent_fd >= 0:
        plan.agent_fd, plan.agent_state = config.agent_fd, config.agent_state
    return plan


def _take_label(plan: TailPlan, security) -> None:
    """Give the tail its label and a procfs that no container controls to write it to."""
    if security.apparmor is None and security.selinux is None:
        return
    plan.apparmor = None if security.apparmor is None else _bytes(security.apparmor)
    plan.selinux = None if security.selinux is None else _bytes(security.selinux)
    plan.proc_fd = procfs.open_private_proc(False)


def _enter(cwd: bytes) -> bool:
    """Enter the working directory with S2's privilege; the tail tries again as the user where that fails.

    Root of the container without CAP_DAC_OVERRIDE may otherwise be kept out of a directory that is another's.
    The tail checks with getcwd(2) that the directory lies inside the container.
    """
    try:
        posix.chdir(cwd)
    except OSError:
        return False
    return True


def tail_hooks(start_container: list) -> list[tuple]:
    """Write startContainer hooks for the tail; one without an environment gets the process's (as runc)."""
    return [
        (
            _bytes(hook.path),
            [_bytes(arg) for arg in hook.args or [hook.path]],
            None if hook.env is None else [_bytes(entry) for entry in hook.env],
            _NO_LIMIT_MS if hook.timeout is None else hook.timeout * 1000,
        )
        for hook in start_container
    ]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def before_tail(config) -> None:
    """Set what the tail inherits, then cut this process's privilege to what the tail needs."""
    if config.security is None:
        return
    if config.security.attributes is not None:
        config.security.attributes.set_own()
    try:
        apply.before_tail(config.security, config.in_userns)
    except OSError as err:
        raise SecurityError("drop capabilities", "", errno=err.errno) from err
