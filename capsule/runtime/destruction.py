"""delete: kill what must be killed, take back what create made, run poststop hooks."""

from __future__ import annotations

from capsule import cgroups, log
from capsule._ext import proc
from capsule.cgroups import freezer
from capsule.errors import CapsuleError, CorruptRecord, StateError
from capsule.runtime import hooks, status as statuses
from capsule.runtime.known_process import SIGKILL, ParentNoChildProcess
from capsule.state import journal, store as stores

_PATIENCE_MS = 1_000  # it takes a few
_DEATH_MS = 10_000  # how long a killed process may take to go


def remove(container, manager, config) -> None:
    """Remove the cgroups and the record of a container without processes, then run its poststop hooks.

    `config` may be None: no poststop hooks. Raises CapsuleError after doing as much as it could.
    """
    proc.stop_point("r-remove")
    failure = None
    try:
        if container.record is None or "mount" not in container.record.extra.get("namespaces", []):
            _restore_host_tree(container.entry.journal_read())
        if container.record is None or "endpoints" in container.record.extra:
            _disconnect(container.entry)
        manager.remove()
        if container.record is not None and "resctrl" in container.record.extra:
            remove_resctrl(container.record.extra["resctrl"].get("made", []))
    except CapsuleError as err:
        failure = err
    if failure is None:
        # The record outlives what could not be removed: a second delete can then try again.
        container.entry.remove()
    if config is not None:
        hooks.run_poststop(container, config)
    if failure is not None:
        raise failure


def _disconnect(entry) -> None:
    """Take back the container's places in networks, however far they were made."""
    if entry.marked(stores.USER_NETWORK) is not None:
        from capsule.network import user_mode

        user_mode.stop(entry.path)
    pairs = journal.endpoints(entry.journal_read())
    if pairs:
        from capsule.runtime import networking

        networking.disconnect_all(entry.root, pairs)


def remove_resctrl(made: list[str]) -> None:
    """Remove the resctrl groups that create made. Raises CgroupError."""
    if made:
        from capsule.cgroups import resctrl

        resctrl.remove(made)


def _restore_host_tree(written: list) -> None:
    """Unmount what a container without a mount namespace left in the caller's tree. Raises MountError."""
    places = journal.mounts(written)
    if places:
        from capsule.rootfs import host_tree

        for path, count in places:
            host_tree.restore(path, count)


def destroy(container, *, force: bool) -> None:
    """Destroy a loaded container as its status permits; `force` kills it first.

    Raises BadTransition, CapsuleError. The container's entry is locked by the caller.
    """
    status = container.observe()
    if not force:
        statuses.new_container_status_behavior(status, container.id).delete()
    manager = container.manager()
    if status != statuses.STOPPED:
        kill_all(container, manager)
    elif not container.record.extra.get("private_pids"):
        # Without a pid namespace of its own nothing but us ends what the first process left behind.
        manager.kill(SIGKILL)
    config = container.config if "poststop" in container.record.extra.get("hooks", []) else None
    remove(container, manager, config)


def kill_all(container, manager) -> None:
    """Kill every process of a container, frozen ones too, and wait until the first has gone.

    Raises StateError when it has not gone after ten seconds.
    """
    init = container.init_process()
    if not manager.paths and not container.record.extra.get("private_pids"):
        from capsule.runtime import members

        members.kill(init.pid, SIGKILL, private_pids=False)  # its children are found through it
    init.terminate()
    if manager.is_frozen():
        manager.thaw()
    freezer.thaw_below(manager.paths)
    if not container.record.extra.get("private_pids"):
        manager.kill(SIGKILL)
    if init.wait(_PATIENCE_MS):
        return
    manager.kill(SIGKILL)  # all of it: it may be in a cgroup that the container goes on freezing
    if not init.wait(_DEATH_MS):
        raise StateError("kill", container.id, f"its first process still runs {_DEATH_MS // 1000} s after SIGKILL")


def remove_leftover(entry, id: str) -> None:
    """Clean up after a create that died before it saved a record, from its journal.

    Raises CapsuleError.
    """
    written = entry.journal_read()
    paths = _unclaimed(entry, journal.cgroups(written))
    for pid, start_time in journal.processes(written):
        process = ParentNoChildProcess(pid, start_time)
        process.terminate()
        process.wait(_DEATH_MS)
    manager = cgroups.from_record({}, paths, journal.unit(written))
    manager.kill(SIGKILL)
    _restore_host_tree(written)
    _disconnect(entry)
    manager.remove()
    remove_resctrl(journal.resctrl_groups(written))
    entry.remove()


def _unclaimed(entry, directories: list[str]) -> list[str]:
    """Leave out the cgroups that another container of this root has come to since: empty ones are not refused."""
    claimed: set[str] = set()
    store = stores.Store(entry.root)
    for id in store.ids():
        if id != entry.id:
            try:
                with store.open(id) as other:
                    claimed.update(other.load().cgroup_paths.values())
            except CapsuleError:
                continue
    kept = sorted(claimed.intersection(directories))
    if kept:
        log.warning(f"container {entry.id}: {kept[0]} is another container's now and stays")
    return [path for path in directories if path not in claimed]


def _lock(entry, *, force: bool) -> None:
    """Take the container's lock; a forced delete does not wait for an exec that hangs. Raises NotFound."""
    if force and not entry.try_lock():
        from capsule.runtime import guard

        if guard.lock(entry, kill=True):
            return
    entry.lock()


def delete(store, id: str, *, force: bool, load) -> None:
    """Delete by id under the container's lock; a forced delete also cleans up a half-made container.

    `load(entry)` builds the container. Raises NotFound, StateError, CapsuleError.
    """
    entry = store.open(id)
    try:
        _lock(entry, force=force)
        try:
            container = load(entry)
        except CorruptRecord as err:
            if not force:
                raise StateError("delete", id, f"{err.cause}; delete --force removes what is left of it") from err
            log.warning(f"container {id}: {err.cause}; removing what its journal names")
            remove_leftover(entry, id)
            return
        container.settle()
        destroy(container, force=force)
    finally:
        entry.close()
