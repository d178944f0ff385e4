"""stop, kill and removal of an engine's containers: what other processes look after is asked of them, then awaited."""

from __future__ import annotations

import posix

from capsule import verbs
from capsule._ext import fdpass, proc
from capsule.bundle import containers as records, life, removal, running
from capsule.bundle.containers import Containers
from capsule.errors import BadTransition, NotFound, StateError
from capsule.linux.names import signal_number
from capsule.state import failures

_KILL = 9
_WATCH = b"W"
_EXIT = b"X"


def stop(places: running.Places, word: str, *, timeout_s: int = -1, signal: int = 0, for_reboot: bool = False) -> None:
    """End a container and wait until it has been cleaned up; fine when it does not run.

    It gets its stop signal (or `signal`), and KILL after timeout_s seconds, -1 for its own. for_reboot: what was
    wanted to run is so again when the machine starts. Raises CapsuleError.
    """
    _, entry, record = running.open_locked(places, word)
    try:
        if record.wanted or records.RESUME in record.extra and not for_reboot:
            if for_reboot:
                record.extra[records.RESUME] = True
            else:
                record.extra.pop(records.RESUME, None)
            record.wanted = False
            records.save(entry, record)
        entry.unlock()
        proc.stop_point("engine-stopping")
        seen = life.observe(places.runtime, entry, record)
        if seen.is_up:
            _end(places, record, seen, signal or signal_number(record.stop_signal),
                 record.stop_timeout if timeout_s < 0 else timeout_s)
        else:
            life.dismiss(entry)
        _settle(places, entry, record.id)
    finally:
        entry.close()


def _settle(places: running.Places, entry, id: str) -> None:
    """Wait for who looks after a container that has ended; clean up where nobody does."""
    life.await_end(entry)
    if life.has_leftover(places.runtime, id):
        try:
            entry.lock()
        except NotFound:
            return
        if not life.is_alive(entry):
            life.clear(places.runtime, id)


def _end(places: running.Places, record, seen: life.Life, signal: int, timeout_s: int) -> None:
    try:
        pidfd = proc.pidfd_open(seen.pid)
    except OSError:
        return
    try:
        _signal(places, record.id, signal)
        if seen.status == life.PAUSED:
            _resume(places, record.id)
        if not proc.poll([(pidfd, proc.POLLIN)], timeout_s * 1000):
            _signal(places, record.id, _KILL)
            proc.poll([(pidfd, proc.POLLIN)], -1)
    finally:
        posix.close(pidfd)


def _resume(places: running.Places, id: str) -> None:
    try:
        verbs.resume(places.runtime, id)
    except (NotFound, BadTransition):
        pass  # KILL has thawed it, or it has ended


def _signal(places: running.Places, id: str, number: int) -> None:
    try:
        verbs.kill(places.runtime, id, number)
    except (NotFound, BadTransition):
        pass  # it has ended meanwhile


def rm(places: running.Places, word: str, *, force: bool, volumes: bool) -> None:
    """Remove a container. Raises StateError: it runs, and force is not given; NotFound."""
    found, entry, record = _open_damaged(places, word)
    try:
        if record is None:
            _remove_damaged(places, found, entry, force=force)
            return
        seen = life.observe(places.runtime, entry, record)
        if seen.is_up or seen.status == life.RESTARTING:
            if not force:
                raise StateError("remove container", record.name, f"it is {seen.status}; stop it, or give --force")
            removal.begin(entry, record, volumes=volumes)
            entry.unlock()
            if seen.is_up:
                _end(places, record, seen, _KILL, -1)
            else:
                life.dismiss(entry)
            _settle(places, entry, record.id)
            try:
                entry.lock()
            except NotFound:
                return  # --rm: its monitor was quicker
        elif life.is_alive(entry):
            entry.unlock()  # the end of a run is written under the lock
            life.await_end(entry)
            try:
                entry.lock()
            except NotFound:
                return
            record.take(records.read(entry))
            if life.observe(places.runtime, entry, record).is_up:
                raise StateError("remove container", record.name, "it was started again meanwhile")
        removal.remove(places, found, entry, record, volumes=volumes)
    finally:
        entry.close()


def _open_damaged(places: running.Places, word: str) -> tuple:
    """Find and lock a container; the record is None where it cannot be read."""
    found = Containers(places.containers)
    entry = found.open(found.find(word), lock=True)
    try:
        return found, entry, records.read(entry)
    except StateError:
        return found, entry, None


def _remove_damaged(places: running.Places, found: Containers, entry, *, force: bool) -> None:
    if not force:
        entry.close()
        raise StateError("remove container", entry.id, "its record is damaged; give --force")
    removal.remove_leftover(places, found, entry)


def wait(places: running.Places, word: str) -> int:
    """Wait for the end of a container's present run; returns its exit status, life.LOST where nobody knows it."""
    found = Containers(places.containers)
    with found.open(found.find(word)) as entry:
        record = records.read(entry)
        status = _watch(entry) if record.detached else None
        if status is not None:
            return status
        seen = life.observe(places.runtime, entry, record)
        if seen.is_up:
            life.await_end(entry)
            try:
                record = found.load(record.id)
            except NotFound:
                return _removed(places, record.id)
            seen = life.observe(places.runtime, entry, record)
        return seen.end["status"] if seen.end is not None else 0


def _removed(places: running.Places, id: str) -> int:
    """Return the exit status of a container that went with its run: failures alone are written down."""
    end = failures.load_end(places.runtime, id)
    return 0 if end is None else records.exit_status(end)


def _watch(entry) -> int | None:
    """Ask the monitor to tell the end; None where there is none, or it was killed."""
    try:
        fd = fdpass.connect_seqpacket(entry.dir_fd, running.SOCKET)
    except OSError:
        return None
    try:
        fdpass.send(fd, _WATCH)
        data, _ = fdpass.recv(fd, 64)
    except OSError:
        return None
    finally:
        posix.close(fd)
    if data[:1] != _EXIT or len(data) != 5:
        return None
    return records.exit_status({"wait_status": int.from_bytes(data[1:], "little")})
