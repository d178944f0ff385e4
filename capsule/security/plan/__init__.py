"""Plan, in R, who the payload will be: ids, capabilities, limits, filter. man 7 capabilities.

The tail applies the plan (docs/security.md has the order); here every set is cut to what the kernel will
grant it, so that capset(2) cannot fail half-way through the drop. The seccomp compiler is imported only for
a config that has a profile.
"""

from __future__ import annotations

import posix

from capsule._ext import capset
from capsule.errors import SecurityError, SpecError
from capsule.linux import names, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.security.attributes import Attributes

DEFAULT_UMASK = 0o022
#: An annotation of crun's, which engines set for `--group-add keep-groups`: the caller's groups stay, though unmapped.
#: Without root they open nothing that its user could not open; root's own are never kept.
KEEP_GROUPS = "run.oci.keep_original_groups"
# What a later process has of the first one where its process.json says nothing; and rlimits, if it has none.
INHERITED = (
    "capabilities", "umask", "oom_score_adj", "apparmor_profile", "selinux_label", "scheduler", "io_priority",
    "cpu_affinity",
)
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


class SecurityPlan:
    """What the tail applies; `caps` are masks in the order of SETS, `groups` None leaves the groups alone.

    `rlimits` are (number, soft, hard) with 2**64-1 for no limit; R sets them and oom_score_adj on the tail.
    `attributes` is security.attributes.Attributes, None where the config has nothing of the kind.
    """

    __slots__ = (
        "uid", "gid", "groups", "umask", "caps", "no_new_privs", "seccomp", "seccomp_flags", "rlimits",
        "oom_score_adj", "listener_path", "apparmor", "selinux", "last_cap", "attributes",
    )

    def __init__(self) -> None:
        self.uid: int = 0
        self.gid: int = 0
        self.groups: list[int] | None = []
        self.umask: int = DEFAULT_UMASK
        self.caps: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
        self.no_new_privs: bool = False
        self.seccomp: bytes | None = None
        self.seccomp_flags: int = 0
        self.rlimits: list[tuple[int, int, int]] = []
        self.oom_score_adj: int | None = None
        self.listener_path: str | None = None  # of the agent, where the filter has calls for one
        self.apparmor: str | None = None
        self.selinux: str | None = None
        self.last_cap: int = 0
        self.attributes: Attributes | None = None


def make(
    process, config, *, in_userns, extra_caps=(), warn, seccomp_cache=None, is_exec=False
) -> SecurityPlan:
    """Plan the security of a container's first process.

    `extra_caps` are the names of `--cap`; `warn` takes one line of text; `seccomp_cache` is the directory of
    compiled filters, None for no cache. Raises SpecError, SecurityError or Unsupported.
    """
    plan = SecurityPlan()
    plan.uid = process.uid
    plan.gid = process.gid
    plan.groups = _groups(process.additional_gids, config.gid_mappings, in_userns)
    if config.annotations.get(KEEP_GROUPS) == "1" and (posix.geteuid() != 0 or not namespaces.is_initial_user()):
        plan.groups = None
    if process.umask is not None:
        plan.umask = process.umask
    plan.last_cap = capset.last_cap()
    plan.caps = _capabilities(process.capabilities, extra_caps, plan.last_cap, in_userns, warn)
    plan.no_new_privs = process.no_new_privileges
    plan.rlimits = [(_rlimit(name), soft, hard) for name, soft, hard in process.rlimits]
    plan.oom_score_adj = process.oom_score_adj
    if process.apparmor_profile or process.selinux_label:
        from capsule.security.plan import labels

        plan.apparmor, plan.selinux = labels.process_labels(process)
    if config.mount_label is not None:
        from capsule.security.plan import labels

        labels.check_mount_label(config.mount_label)
    if _has_attributes(process, config):
        from capsule.security import attributes

        plan.attributes = attributes.Attributes(process, config, is_exec=is_exec)
    if config.seccomp is not None:
        from capsule.security.plan import seccomp

        plan.seccomp, plan.seccomp_flags = seccomp.compile_filter(
            config.seccomp, cache_dir=seccomp_cache, warn=warn
        )
        if plan.seccomp_flags & seccomp.NEW_LISTENER:
            plan.listener_path = config.seccomp["listenerPath"]
    return plan


def _has_attributes(process, config):
    return not (
        process.scheduler is process.io_priority is process.cpu_affinity is None
        and config.personality is config.memory_policy is None
    )


def make_exec(process, config, *, in_userns, extra_caps=(), warn, seccomp_cache=None) -> SecurityPlan:
    """Plan the security of a later process: what its process.json leaves out is the container's.

    That holds for the fields of INHERITED; no_new_privs is the process's own.
    """
    first = config.process
    if first is not None and first is not process:
        merged = type(process)()
        for slot in type(process).__slots__:
            setattr(merged, slot, getattr(process, slot))
        if not merged.rlimits:
            merged.rlimits = first.rlimits
        for slot in INHERITED:
            if getattr(merged, slot) is None:
                setattr(merged, slot, getattr(first, slot))
        process = merged
    return make(
        process, config, in_userns=in_userns, extra_caps=extra_caps, warn=warn, seccomp_cache=seccomp_cache,
        is_exec=True,
    )


def _groups(gids, gid_mappings, in_userns):
    """Return the supplementary groups to set, [] included; None where setgroups(2) is denied.

    Raises SecurityError for groups that cannot be set: without them a file's group bits deny less or more.
    """
    if not _setgroups_denied(gid_mappings, in_userns):
        return list(gids)
    if gids:
        listed = ",".join([str(gid) for gid in gids])
        raise SecurityError("set additional groups", listed, "setgroups is denied in this user namespace")
    return None


def _setgroups_denied(gid_mappings, in_userns):
    # An unprivileged writer of gid_map must deny setgroups first (man 7 user_namespaces); newgidmap, which a
    # map of more than the caller's own gid needs, must not. The denial is inherited by nested namespaces.
    if in_userns and posix.geteuid() != 0 and len(gid_mappings) == 1 and gid_mappings[0][2] == 1:
        return True
    try:
        fd = posix.open("/proc/self/setgroups", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False  # CONFIG_USER_NS is off
    try:
        return posix.read(fd, 16).strip() == b"deny"
    finally:
        posix.close(fd)


def _rlimit(name):
    number = names.rlimit_number(name)
    if number < 0:
        raise SpecError("read config", "process.rlimits", f"unknown limit {name}")
    return number


def _capabilities(capabilities, extra_caps, last_cap, in_userns, warn):
    """Return the five masks: names that cannot be mapped or granted are warned about and left out."""
    named = dict(capabilities or {})
    if extra_caps:
        # Never inheritable (CVE-2022-29162), and ambient only where the config has inheritable ones.
        for name in ("bounding", "effective", "permitted"):
            named[name] = list(named.get(name) or ()) + list(extra_caps)
        if named.get("inheritable"):
            named["ambient"] = list(named.get("ambient") or ()) + list(extra_caps)
    unknown: list[str] = []
    bounding, effective, permitted, inheritable, ambient = [_mask(named.get(name), unknown) for name in SETS]
    if unknown:
        warn("ignoring unknown capabilities: " + ", ".join(unknown))
    if not bounding | effective | permitted | inheritable | ambient:
        return 0, 0, 0, 0, 0
    grantable = (1 << (last_cap + 1)) - 1
    refused = (bounding | effective | permitted | inheritable | ambient) & ~grantable
    if refused:
        warn("ignoring capabilities this kernel does not have: " + _text(refused))
    if not in_userns:
        # A new or joined user namespace grants every capability; otherwise nobody gives more than it has.
        held = capset.get()[1] & capset.bounding()
        refused = (bounding | effective | permitted | inheritable | ambient) & grantable & ~held
        if refused:
            warn("ignoring capabilities the runtime itself lacks: " + _text(refused))
        grantable &= held
    bounding &= grantable
    permitted &= grantable
    # capset(2): effective within permitted; nothing joins inheritable that the bounding set lacks.
    effective = _within(effective & grantable, permitted, "effective", "not permitted", warn)
    inheritable = _within(inheritable & grantable, bounding, "inheritable", "not in the bounding set", warn)
    ambient = _within(
        ambient & grantable, permitted & inheritable, "ambient", "not both permitted and inheritable", warn
    )
    return bounding, effective, permitted, inheritable, ambient


def _mask(wanted, unknown):
    mask = 0
    for name in wanted or ():
        number = names.capability_number(name)
        if number >= 0:
            mask |= 1 << number
        elif name not in unknown:
            unknown.append(name)
    return mask


def _within(mask, allowed, set_name, why, warn):
    refused = mask & ~allowed
    for number in range(64):
        if refused >> number & 1:
            warn(f"can't raise {set_name} capability {names.CAPABILITIES[number]}: {why}")
    return mask & allowed


def _text(mask):
    return ", ".join([name for number, name in enumerate(names.CAPABILITIES) if mask >> number & 1])
