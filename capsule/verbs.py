"""The verbs of the command line, over runtime (R) and init (S2): the place where the two processes meet.

Paths are absolute. Each verb imports what it alone needs, in R, before any clone.
"""

from __future__ import annotations

from capsule.errors import NotFound, StateError
from capsule.runtime import status as statuses
from capsule.runtime.factory import Factory


def _making_factory(root: str) -> Factory:
    """A factory that can make processes: what S2 runs is loaded now, since S2 itself imports nothing."""
    from capsule.init.start import start_initialization

    return Factory(root, initialize=start_initialization)


def _first_process(options: dict):
    from capsule.runtime.process import Process

    process = Process()
    for name, value in options.items():
        setattr(process, name, value)
    return process


def create(root: str, id: str, *, bundle: str, pid_file: str | None = None, console_socket: str | None = None,
           pidfd_socket: str | None = None, preserve_fds: int = 0, no_pivot: bool = False,
           no_new_keyring: bool = False, systemd_cgroup: bool = False, cgroup_access: str = "",
           network: dict | None = None, config=None, overlay: dict | None = None) -> None:
    """Create a container from a bundle; its first process waits for start.

    network: what runtime.networking.Networking takes; None leaves the network of the config. config replaces the
    bundle's config.json (spec.model.Config); overlay, its root (rootfs.plan.overlay).
    """
    container = _making_factory(root).create(id, config, bundle=bundle)
    container.create(_first_process({
        "pid_file": pid_file, "console_socket": console_socket, "pidfd_socket": pidfd_socket,
        "preserve_fds": preserve_fds, "no_pivot": no_pivot, "no_new_keyring": no_new_keyring,
        "systemd_cgroup": systemd_cgroup, "cgroup_access": cgroup_access, "network": network,
        "detach": True, "overlay": overlay,
    }))
    container.close()


def start(root: str, id: str) -> None:
    """Run the program of a created container."""
    container = Factory(root).load(id, lock=True)
    try:
        container.start()
    finally:
        container.close()
    if container.notify is not None:
        container.notify.wait()


def run(root: str, id: str, *, bundle: str, pid_file: str | None = None, console_socket: str | None = None,
        pidfd_socket: str | None = None, preserve_fds: int = 0, no_pivot: bool = False, no_new_keyring: bool = False,
        systemd_cgroup: bool = False, cgroup_access: str = "", detach: bool = False, keep: bool = False,
        report_fd: int = -1, timeout_ms: int = 0, kill_after_ms: int = 0, network: dict | None = None, config=None,
        overlay: dict | None = None, finish=None) -> int:
    """Create and start a container; in the foreground this process becomes the relay and does not return.

    `config` and `overlay` as in create; `finish(plan, container)` changes the relay's plan.
    """
    from capsule.runtime import relay

    container = _making_factory(root).create(id, config, bundle=bundle)
    container.create(_first_process({
        "pid_file": pid_file, "console_socket": console_socket, "pidfd_socket": pidfd_socket,
        "preserve_fds": preserve_fds, "no_pivot": no_pivot, "no_new_keyring": no_new_keyring,
        "systemd_cgroup": systemd_cgroup, "cgroup_access": cgroup_access, "network": network,
        "detach": detach, "overlay": overlay,
    }))
    try:
        container.start()
    except BaseException:
        if not keep:
            container.abandon()
        raise
    if detach:
        container.close()
        if container.notify is not None:
            container.notify.wait()
        return 0
    plan = relay.plan_for(container.process, container.console, report_fd=report_fd)
    if not keep:
        relay.add_cleanup(plan, container, launcher_argv(root, "delete", "--force", id))
    relay.add_record(plan, container, keep=keep)
    plan.timeout_ms, plan.kill_after_ms = timeout_ms, kill_after_ms
    if container.notify is not None:
        plan.notify_inner_fd, plan.notify_outer_fd = container.notify.inner_fd, container.notify.outer_fd
    if finish is not None:
        finish(plan, container)
    container.close()
    relay.become(plan)
    return 1


def launcher_argv(root: str, *words: str) -> list[bytes]:
    """The command line that runs another verb of this same program on the same root."""
    from capsule.linux.own_program import program_argv

    return [*program_argv(), b"--root", *[word.encode("utf-8", "surrogateescape") for word in (root, *words)]]


def exec_(root: str, id: str, *, process_file: str | None = None, args: list[str] | None = None,
          cwd: str | None = None, env: list[str] | None = None, user: str | None = None,
          additional_gids: list[int] | None = None, caps: list[str] | None = None, tty: bool = False,
          detach: bool = False, pid_file: str | None = None, console_socket: str | None = None,
          pidfd_socket: str | None = None, preserve_fds: int = 0, cgroup: list[str] | None = None,
          ignore_paused: bool = False, no_new_privs: bool | None = None, apparmor: str | None = None,
          process_label: str | None = None, report_fd: int = -1) -> int:
    """Run a further process; in the foreground this process becomes the relay and does not return."""
    from capsule.init.exec import start_initialization
    from capsule.runtime import relay
    from capsule.runtime.process import Process

    process = Process()
    if process_file:
        from capsule.spec.load import load_process, read_file

        process.spec = load_process(read_file(process_file, wait=True))
    process.args, process.cwd, process.env, process.user, process.tty = args, cwd, env, user, tty
    process.additional_gids, process.caps, process.cgroup = additional_gids or [], caps or [], cgroup or []
    process.detach, process.pid_file, process.console_socket = detach, pid_file, console_socket
    process.pidfd_socket = pidfd_socket
    process.preserve_fds, process.ignore_paused, process.no_new_privs = preserve_fds, ignore_paused, no_new_privs
    process.apparmor, process.process_label = apparmor, process_label
    container = Factory(root, initialize=start_initialization).load(id)
    try:
        child = container.exec(process)
    finally:
        container.close()
    if detach:
        return 0
    relay.become(relay.plan_for(child, container.console, report_fd=report_fd))
    return 1


def kill(root: str, id: str, signal: int, all: bool = False) -> None:
    """Send a signal to a container."""
    container = Factory(root).load(id)
    try:
        container.signal(signal, all=all)
    finally:
        container.close()


def delete(root: str, id: str, force: bool = False) -> bool:
    """Delete a container; with force kill it first, clean up a half-made one, and accept one that is not there.

    Returns whether there was one.
    """
    from capsule.runtime import destruction

    factory = Factory(root)
    try:
        destruction.delete(factory.store, id, force=force, load=factory.adopt)
    except NotFound:
        if not force:
            raise
        return False
    return True


def state(root: str, id: str) -> dict:
    """The OCI state with runc's further keys."""
    container = Factory(root).load(id)
    try:
        return container.oci_state()
    finally:
        container.close()


def detail(root: str, id: str) -> dict:
    """The whole record, config parsed, and under `end` how the container ended where that is known."""
    container = Factory(root).load(id)
    try:
        whole = container.state().to_dict()
        end = container.end()
        if end is not None:
            whole["end"] = end
        return whole
    finally:
        container.close()


def list_(root: str) -> list[dict]:
    """The states of all containers; one that cannot be read never hides the others."""
    factory = Factory(root)
    states = []
    for id in factory.list():
        try:
            states.append(state(root, id))
        except NotFound:
            continue
        except StateError as err:
            states.append({"ociVersion": "", "id": id, "pid": 0, "status": "broken", "bundle": "", "rootfs": "",
                           "created": "", "owner": "", "error": str(err)})
    return states


def processes(root: str, id: str) -> list[int]:
    """The pids of a container's processes."""
    container = Factory(root).load(id)
    try:
        return container.processes() if container.observe() != statuses.STOPPED else []
    finally:
        container.close()


def pause(root: str, id: str) -> None:
    """Freeze a container."""
    container = Factory(root).load(id, lock=True)
    try:
        container.pause()
    finally:
        container.close()


def resume(root: str, id: str) -> None:
    """Thaw a container."""
    container = Factory(root).load(id, lock=True)
    try:
        container.resume()
    finally:
        container.close()


def while_frozen(root: str, id: str, work) -> None:
    """Do `work()` while a container stands still; one that runs is frozen for it, and goes on whatever becomes of us.

    Its lock is held meanwhile. Were we killed, whichever verb looks at the container next thaws it (runtime.guard).
    Raises CgroupError, Unsupported, and what `work` raises.
    """
    try:
        container = Factory(root).load(id, lock=True)
    except NotFound:
        work()
        return
    try:
        if container.observe() != statuses.RUNNING:
            work()
            return
        from capsule.runtime import guard

        guard.while_still(container, work)
    finally:
        container.close()


def settle(root: str, id: str) -> bool:
    """Thaw a container that a call froze which has died; tell whether there was that to do. Raises CgroupError."""
    from capsule.runtime import guard

    try:
        container = Factory(root).load(id)
    except StateError:
        return False
    try:
        entry = container.entry
        if entry is None or not guard.is_at_work(entry) or not entry.try_lock():
            return False
        left = guard.is_at_work(entry)
        container.settle()
        return left
    except NotFound:
        return False
    finally:
        container.close()


def update(root: str, id: str, resources: dict, *, l3_cache_schema: str = "", mem_bw_schema: str = "") -> None:
    """Change the limits of a container."""
    from capsule.runtime import updating

    container = Factory(root).load(id, lock=True)
    try:
        updating.update_with_shares(container, resources, l3_cache_schema, mem_bw_schema)
    finally:
        container.close()


def stats(root: str, id: str) -> dict:
    """What a container uses, in the shape of runc's `events`."""
    from capsule.runtime import events

    container = Factory(root).load(id)
    try:
        return events.stats(container)
    finally:
        container.close()


def usage(root: str, id: str) -> dict:
    """What a container, ended or not, has used: cpu_ns and memory_peak in bytes, None where nobody counted."""
    from capsule.cgroups import stats as cgroup_stats

    container = Factory(root).load(id)
    try:
        found = cgroup_stats.collect(container.record.cgroup_paths)
    finally:
        container.close()
    return {"cpu_ns": found.get("cpu", {}).get("usage", {}).get("total"),
            "memory_peak": found.get("memory", {}).get("usage", {}).get("max")}


def watch(root: str, id: str, *, interval_ns: int, emit) -> None:
    """Call `emit(type, data)` for statistics at intervals and each lack of memory, until the container ends."""
    from capsule.runtime import events

    container = Factory(root).load(id)
    try:
        events.watch(container, interval_ns=interval_ns, emit=emit)
    finally:
        container.close()
