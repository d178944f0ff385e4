"""R's last act for a foreground process: become the relay, which waits, forwards and cleans up."""

from __future__ import annotations

import posix

from capsule._ext import proc, programs
from capsule.protocol import relay_plan
from capsule.state import store as stores


def plan_for(child, keeper, *, report_fd: int = -1) -> relay_plan.RelayPlan:
    """Plan a relay that waits for a child and carries its terminal."""
    plan = relay_plan.RelayPlan(child.pid, proc.pidfd_open(child.pid))
    plan.master_fd = keeper.master_fd
    plan.use_tty = keeper.master_fd >= 0
    plan.report_fd = report_fd
    return plan


def add_cleanup(plan: relay_plan.RelayPlan, container, fallback_argv: list[bytes]) -> None:
    """Have the relay remove the container at its end, by itself where that takes neither a hook nor systemd."""
    record, entry = container.record, container.entry
    path = entry.path.encode("utf-8", "surrogateescape")
    plan.fallback_argv = fallback_argv
    plan.state_dir = path
    plan.state_fd = posix.dup(entry.dir_fd)
    own_mounts = "mount" in record.extra.get("namespaces", [])
    more_than_files = "poststop" in record.extra.get("hooks", []) or "notify" in record.extra
    more_than_files = more_than_files or "endpoints" in record.extra or record.systemd
    if more_than_files or not record.extra.get("private_pids") or not own_mounts:
        plan.fallback_always = True
        return
    # No directory, and there when the container has been connected to a network meanwhile: then more is to be done.
    plan.cleanup_dirs = [path + b"/" + stores.ATTACHED.encode()]
    plan.cleanup_dirs += [path.encode("utf-8", "surrogateescape") for path in reversed(record.cgroup_made)]
    plan.cleanup_files = [path + b"/" + name.encode() for name in
                          (stores.RECORD, stores.JOURNAL, stores.START_SOCKET)]


def add_record(plan: relay_plan.RelayPlan, container, *, keep: bool) -> None:
    """Have the relay write down how the container ended: of one that goes only an end that was not exit 0."""
    plan.record_head = b'{"id":"' + container.id.encode() + b'",'
    if keep:
        # Opened anew: a duplicate would hold the container's lock for as long as the relay lives.
        plan.record_fd = posix.open(".", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC,
                                    dir_fd=container.entry.dir_fd)
        plan.record_name = stores.END.encode()
    else:
        plan.record_name = stores.end_path(container.root, container.id).encode("utf-8", "surrogateescape")
    paths = container.record.cgroup_paths
    if "memory" in paths:
        plan.oom_counters = paths["memory"].encode("utf-8", "surrogateescape") + b"/memory.oom_control"
    elif "" in paths:
        plan.oom_counters = paths[""].encode("utf-8", "surrogateescape") + b"/memory.events"


def become(plan: relay_plan.RelayPlan) -> None:
    """Replace this process by the relay, or the monitor where others may attach; never returns."""
    monitor = plan.monitor
    keep = [plan.child_pidfd, plan.master_fd, plan.report_fd, plan.state_fd, plan.lock_fd, plan.record_fd,
            plan.notify_inner_fd, plan.notify_outer_fd, *(monitor.fds() if monitor is not None else [])]
    plan_fd = proc.memfd("capsule-relay-plan", relay_plan.encode(plan))
    program_fd = programs.monitor() if monitor is not None and monitor.listen_fd >= 0 else programs.relay()
    for fd in (*keep, plan_fd):
        if fd >= 0:
            proc.set_cloexec(fd, False)
    programs.become(program_fd, b"capsule", str(plan_fd).encode())
