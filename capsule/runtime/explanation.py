"""What create and start would do with a bundle, in order, told by the very plans that they act on; nothing is done."""

from __future__ import annotations

from capsule.linux import names
from capsule.linux.namespaces import KINDS
from capsule.rootfs import mounts as mount_operations, operations as root_operations
from capsule.runtime.blueprint import draw
from capsule.runtime.container import Container
from capsule.runtime.process import Process
from capsule.security.plan import SETS
from capsule.spec import mount_options as words
from capsule.state.store import Store

_ATTRIBUTES = ((0x1, "ro"), (0x2, "nosuid"), (0x4, "nodev"), (0x8, "noexec"), (0x10, "noatime"), (0x20, "strictatime"),
               (0x80, "nodiratime"), (0x200000, "nosymfollow"), (0x100000, "idmap"))
_PROPAGATIONS = ((words.MS_SHARED, "shared"), (words.MS_SLAVE, "slave"), (words.MS_PRIVATE, "private"),
                 (words.MS_UNBINDABLE, "unbindable"))
_LATE = ("memory", "pids")  # limits that are set once the tail stands: the interpreter's pages do not count
_HOOKS_AT_CREATE = ("prestart", "createRuntime")


def explain(root: str, id: str, config, bundle: str) -> list[dict]:
    """Return the steps as {"step": kind, "text": words, ...}. Raises what create would refuse it with."""
    container = Container(Store(root), id, bundle=bundle, initialize=None, config=config)
    process = Process(init=True, id=id)
    process.detach = False  # a terminal then needs no console socket
    blueprint = draw(container, process)
    try:
        return _steps(config, blueprint)
    finally:
        blueprint.namespaces.close()


def _steps(config, blueprint) -> list[dict]:
    steps = _cgroup_steps(blueprint, config.resources) + _namespace_steps(config, blueprint)
    steps += _attachment_steps(config, blueprint)
    plan = blueprint.rootfs_plan
    steps += [_operation(operation) for operation in plan.prepare]
    for kind in _HOOKS_AT_CREATE:
        steps += _hook_steps(config, kind, "as the runtime, in its namespaces")
    steps += _hook_steps(config, "createContainer", "in the container's namespaces, before its root")
    steps.append(_step("root", f"change root to {blueprint.rootfs_path}"))
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if value:
            steps.append(_step("name", f"set {name} {value}"))
    steps += [_step("sysctl", f"write {value} to /proc/sys/{key}") for key, value in config.sysctl.items()]
    steps += [_operation(operation) for operation in plan.finish]
    if blueprint.security is not None:
        steps += _limit_steps(blueprint) + _attribute_steps(blueprint.security.attributes)
    steps += _resource_steps(config.resources, late=True)
    if config.process is None:
        return [*steps, _step("wait", "wait; there is no process to start")]
    steps.append(_step("wait", "wait for start"))
    steps += _hook_steps(config, "startContainer", "as the container's user")
    steps += _security_steps(blueprint.security)
    steps.append(_step("exec", f"enter {config.process.cwd} and execute {' '.join(config.process.args)}",
                       args=config.process.args, cwd=config.process.cwd))
    steps += _hook_steps(config, "poststart", "as the runtime, once the program runs")
    return steps + _hook_steps(config, "poststop", "as the runtime, once the container is gone")


def _step(kind: str, text: str, **more) -> dict:
    return {"step": kind, "text": text, **more}


def _cgroup_steps(blueprint, resources: dict) -> list[dict]:
    steps = [_step("cgroup", f"make {directory}") for directory in blueprint.manager.planned()]
    steps += _resource_steps(resources, late=False)
    if "devices" in blueprint.manager.paths or "" in blueprint.manager.paths:
        rules = resources.get("devices") or []
        steps.append(_step("limit", f"deny all devices but the default ones{_device_rules(rules)}", key="devices",
                           value=rules))
    return steps


def _device_rules(rules: list[dict]) -> str:
    return "".join([
        f"; {'allow' if rule['allow'] else 'deny'} {rule.get('type') or 'a'} "
        f"{_any(rule, 'major')}:{_any(rule, 'minor')} {rule.get('access') or 'rwm'}" for rule in rules
    ])


def _any(rule: dict, key: str) -> str:
    return str(rule[key]) if rule.get(key, -1) >= 0 else "*"


def _resource_steps(resources: dict, *, late: bool) -> list[dict]:
    return [_step("limit", f"{key}: {_values(value)}", key=key, value=value)
            for key, value in resources.items() if value and (key in _LATE) == late and key != "devices"]


def _values(value) -> str:
    if isinstance(value, dict):
        return ", ".join([f"{key} {_values(item)}" for key, item in value.items()])
    if isinstance(value, list):
        return "; ".join([_values(item) for item in value])
    return str(value)


def _namespace_steps(config, blueprint) -> list[dict]:
    plan = blueprint.namespaces
    steps = [_step("namespace", f"join the {word} namespace {path}") for word, path in config.namespaces if path]
    # In the kernel's order, as S1 asks for them: all new ones in one call.
    made = [word for word in KINDS if word in plan.new]
    if made:
        steps.append(_step("namespace", f"make namespaces: {', '.join(made)}", namespaces=made))
    for name, text in zip(("uid_map", "gid_map"), blueprint.id_maps, strict=True):
        if text:
            steps.append(_step("map", f"write {text.decode().strip().replace(chr(10), ', ')} to {name}"))
    if blueprint.time_offsets:
        steps.append(_step("map", f"write {blueprint.time_offsets.decode().strip()} to timens_offsets"))
    return steps


def _attachment_steps(config, blueprint) -> list[dict]:
    """Tell what is given to the container from outside: its resctrl group and network devices."""
    steps = []
    if blueprint.resctrl is not None:
        shares = {key: value for key, value in config.intel_rdt.items() if key != "closID"}
        steps.append(_step("resctrl", f"join {blueprint.resctrl.directory}"
                                      + (f" ({_values(shares)})" if shares else ""), value=config.intel_rdt))
    return steps + [_step("network", f"move {name} into the container as {inside or name}", device=name)
                    for name, inside in config.net_devices.items()]


def _attribute_steps(attributes) -> list[dict]:
    """Tell what the process gets besides identity and limits (security.attributes.Attributes)."""
    if attributes is None:
        return []
    told = (("execution domain", attributes.personality), ("memory policy", attributes.memory_policy),
            ("scheduler", attributes.scheduler), ("I/O priority", attributes.io_priority))
    return [_step("attribute", f"{name} {_words(value)}") for name, value in told if value is not None]


def _words(value) -> str:
    """Say a value, or the members of a tuple that has several, without the empty ones."""
    if isinstance(value, dict):
        return _values(value)
    if isinstance(value, (tuple, list)):
        return " ".join([_words(item) for item in value if item not in (None, "", (), [])])
    return str(value)


def _hook_steps(config, kind: str, where: str) -> list[dict]:
    return [
        _step("hook", f"{kind} hook #{index}: {' '.join([hook.path, *hook.args[1:]])} {where}", path=hook.path)
        for index, hook in enumerate(config.hooks.get(kind) or [])
    ]


def _operation(operation) -> dict:
    """Tell an operation of the root: its own words, and its flags in the words of mount(8)."""
    text = operation.describe()
    if isinstance(operation, (root_operations.PrepareTree, root_operations.PropagateRoot)):
        number = f"{operation.propagation:#x}"
        text = text.replace(number, " ".join(_propagation_words(operation.propagation)))
    attr = getattr(operation, "attr", None)
    flags = _flag_words(attr) if attr is not None else []
    data = list(getattr(operation, "words", ()))
    if flags or data:
        text += f" ({','.join(flags + data)})"
    kind = "mount" if isinstance(operation, (mount_operations.MountNew, mount_operations.MountBind,
                                             mount_operations.Remount)) else "rootfs"
    return _step(kind, text, operation=type(operation).__name__)


def _flag_words(attr: tuple) -> list[str]:
    """Say an attribute change (mountapi.Attr) in words; those for the whole tree begin with r."""
    flags, cleared, _replace, _keep, tree, tree_cleared, propagations = attr
    found = [word for bit, word in _ATTRIBUTES if flags & bit]
    found += ["no-" + word for bit, word in _ATTRIBUTES if cleared & bit]
    found += ["r" + word for bit, word in _ATTRIBUTES if tree & bit]
    found += ["no-r" + word for bit, word in _ATTRIBUTES if tree_cleared & bit and bit & 0xF]
    for change in propagations:
        found += _propagation_words(change)
    return found


def _propagation_words(change: int) -> list[str]:
    return [("r" if change & words.MS_REC else "") + word for bit, word in _PROPAGATIONS if change & bit]


def _limit_steps(blueprint) -> list[dict]:
    security = blueprint.security
    steps = [_step("rlimit", f"{names.RLIMITS[number]} soft {_limit(soft)}, hard {_limit(hard)}")
             for number, soft, hard in security.rlimits]
    if security.oom_score_adj is not None:
        steps.append(_step("rlimit", f"write {security.oom_score_adj} to oom_score_adj"))
    return steps


def _limit(value: int) -> str:
    return "unlimited" if value == (1 << 64) - 1 else str(value)


def _security_steps(security) -> list[dict]:
    steps = [_step("user", f"uid {security.uid}, gid {security.gid}, groups "
                           f"{', '.join(map(str, security.groups)) if security.groups else 'none'}, "
                           f"umask {security.umask:04o}")]
    for name, mask in zip(SETS, security.caps, strict=True):
        held = [word for number, word in enumerate(names.CAPABILITIES) if mask >> number & 1]
        steps.append(_step("capabilities", f"{name}: {', '.join(held) or 'none'}", set=name, capabilities=held))
    if security.no_new_privs:
        steps.append(_step("security", "no new privileges"))
    for name, label in (("AppArmor profile", security.apparmor), ("SELinux label", security.selinux)):
        if label is not None:
            steps.append(_step("security", f"{name} {label}"))
    if security.seccomp is not None:
        steps.append(_step("seccomp", f"load a filter of {len(security.seccomp) // 8} instructions, "
                                      f"flags {security.seccomp_flags:#x}"))
    return steps
