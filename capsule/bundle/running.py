"""A run of an engine's container: R makes it, starts it, and becomes its relay or its monitor."""

from __future__ import annotations

import posix
import time

from capsule import verbs
from capsule._ext import fdpass, proc
from capsule.bundle import containers as records, layers, life
from capsule.bundle.containers import Containers, Record
from capsule.errors import CapsuleError, StateError
from capsule.image import lookup
from capsule.protocol.relay_plan import LOG_KINDS, MonitorPlan
from capsule.state.store import END, Entry

SOCKET = "attach.sock"
LOG = "ctr.log"
KILL_AFTER_MS = 10_000
LONG_RUN_NS = 10_000_000_000
STEPS = 10  # 100 ms << 10 is more than the longest pause, a minute (csrc/monitor.c)
_LOG_FILE = posix.O_RDWR | posix.O_CREAT | posix.O_APPEND | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_S_IFMT, _S_IFREG = 0o170000, 0o100000
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


class Places:
    """The three roots: the runtime's, the images', the containers'."""

    __slots__ = ("runtime", "store", "containers")

    def __init__(self, runtime: str, store: str, containers: str) -> None:
        self.runtime = runtime
        self.store = store
        self.containers = containers

    def argv(self, command: str, *words: str) -> list[bytes]:
        """Return the command line of a hidden command of this program that is told the three."""
        return verbs.launcher_argv(self.runtime, command, self.store, self.containers, *words)


def run(places: Places, entry: Entry, record: Record, *, config=None, drawn: dict | None = None, report_fd: int = -1,
        alive_fd: int = -1) -> int:
    """Run a container, whose entry the caller has locked, and become who looks after it; does not return.

    config, drawn: what the bundle's config.json and layers.draw_host say, where that is known. report_fd: gets "ok"
    when the program runs. alive_fd: life.take's, of a monitor that runs its container again.
    Raises CapsuleError; the container is as it was before, with `error` in its record.
    """
    again = alive_fd >= 0
    _check(places, entry, record, again)
    alive_fd = life.take(entry) if alive_fd < 0 else alive_fd
    if again:
        life.sign(alive_fd)
    if record.image_id:
        lookup.hold(places.store, record.image_id, record.id)
    _count(entry, record, again)
    proc.stop_point("engine-counted")
    try:
        plan = MonitorPlan()
        plan.alive_fd = alive_fd
        if record.detached:
            _prepare(places, entry, record, plan)
        place = f"{places.containers}/{record.id}"
        return verbs.run(
            places.runtime, record.id, bundle=place, config=config, overlay=layers.prepare(place, record, drawn),
            network=record.network or None, timeout_ms=record.timeout_ms,
            kill_after_ms=KILL_AFTER_MS if record.timeout_ms else 0,
            finish=lambda relay_plan, container: _finish(places, entry, record, plan, relay_plan, report_fd),
        )
    except BaseException as err:
        record.wanted = False
        record.error = str(err)
        records.save(entry, record)
        raise


def _check(places: Places, entry: Entry, record: Record, again: bool) -> None:
    """Refuse what cannot run now, and clear away what a run left that nobody looked after. Raises StateError."""
    if record.removing:
        raise StateError("start container", record.name, "its removal has begun; `rm` finishes it")
    if again:
        if not record.wanted:
            raise StateError("start container", record.name, "it was stopped meanwhile")
    else:
        _await_the_last(places, entry, record)
    if life.has_leftover(places.runtime, record.id):
        life.clear(places.runtime, record.id)


def _await_the_last(places: Places, entry: Entry, record: Record) -> None:
    """Wait until nobody looks after the last run any more; the record is then read again. Raises StateError."""
    while True:
        if life.observe(places.runtime, entry, record).is_up:
            raise StateError("start container", record.name, "it is running already")
        if not life.is_alive(entry):
            return
        life.dismiss(entry)
        entry.unlock()  # the end of a run is written under the lock
        life.await_end(entry)
        entry.lock()
        record.take(records.read(entry))
        if record.removing:
            raise StateError("start container", record.name, "its removal has begun; `rm` finishes it")


def _count(entry: Entry, record: Record, again: bool) -> None:
    record.runs += 1
    record.started_ns = time.time_ns()
    record.wanted, record.error = True, ""
    record.extra.pop(records.RESUME, None)
    if not again:
        record.restarts = 0
    records.save(entry, record)


def _prepare(places: Places, entry: Entry, record: Record, plan: MonitorPlan) -> None:
    """Open the log, the socket of those who attach, and our own standard streams, which become the container's."""
    _open_log(entry, record, plan)
    if posix.access(SOCKET, posix.F_OK, dir_fd=entry.dir_fd):
        posix.unlink(SOCKET, dir_fd=entry.dir_fd)
    plan.listen_fd = fdpass.listen_seqpacket(entry.dir_fd, SOCKET)
    theirs = [posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC)]
    if record.tty:
        theirs += [posix.open("/dev/null", posix.O_WRONLY | posix.O_CLOEXEC) for _ in range(2)]
    else:
        if record.interactive:
            posix.close(theirs.pop())
            read_fd, plan.input_fd = posix.pipe2(posix.O_CLOEXEC)
            theirs.append(read_fd)
        plan.output_fd, write_fd = posix.pipe2(posix.O_CLOEXEC)
        plan.error_fd, error_fd = posix.pipe2(posix.O_CLOEXEC)
        theirs += [write_fd, error_fd]
    for number, fd in enumerate(theirs):
        posix.dup2(fd, number)
        posix.close(fd)
    if record.health:
        plan.health_ms = record.health["interval_ms"]
        plan.health_argv = places.argv("_health", record.id)
    plan.again_argv = places.argv("_monitor", record.id, str(plan.alive_fd))


def _open_log(entry: Entry, record: Record, plan: MonitorPlan) -> None:
    """Raises CapsuleError."""
    driver = record.log.get("driver", "none")
    if driver == "none":
        return
    directory, _, name = (record.log.get("path") or f"{entry.path}/{LOG}").rpartition("/")
    try:
        plan.log_dir_fd = posix.open(directory or "/", _DIRECTORY)
        fd = posix.open(name, _LOG_FILE, 0o600, dir_fd=plan.log_dir_fd)
        mode = posix.fstat(fd).st_mode
        posix.close(fd)
    except OSError as err:
        raise CapsuleError("open log", f"{directory}/{name}", errno=err.errno or 0) from err
    if mode & _S_IFMT != _S_IFREG:
        # A fifo would be waited for, a device renamed when the log is full.
        raise CapsuleError("open log", f"{directory}/{name}", "not a regular file; --log-driver none keeps no log")
    plan.log_name = name.encode("utf-8", "surrogateescape")
    plan.log_kind = LOG_KINDS.index(driver)
    plan.log_size = record.log.get("max_size", 0)
    plan.log_files = record.log.get("max_file", 1)


def _finish(places: Places, entry: Entry, record: Record, own: MonitorPlan, plan, report_fd: int) -> None:
    """Complete the plan of who looks after a container that runs now."""
    plan.monitor = own
    plan.fallback_always = True
    plan.fallback_argv = places.argv("_ended", record.id)
    if not record.remove:
        # Opened anew: a duplicate would hold the lock of the container's life.
        plan.record_fd = posix.open(".", _DIRECTORY, dir_fd=entry.dir_fd)
        plan.record_name = END.encode()
        plan.record_head = b'{"id":"%s","run":%d,' % (record.id.encode(), record.runs)
    if record.detached:
        plan.forward_signals = plan.use_tty = False
    entry.close()
    if report_fd >= 0:
        posix.write(report_fd, b"ok")
        posix.close(report_fd)


def in_background(places: Places, id: str) -> None:
    """Have a process of its own run a container and become its monitor; returns when its program runs.

    Raises StateError with what that process failed at.
    """
    from capsule._ext import json

    argv = places.argv("_monitor", id, "-1")
    env = [key + b"=" + value for key, value in posix.environ.items()]
    null_fd = posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC)
    read_fd, write_fd = posix.pipe2(posix.O_CLOEXEC)
    try:
        pid = proc.spawn(argv[0], argv, env, null_fd, write_fd, 2, cwd=b"/")
    except OSError as err:
        posix.close(read_fd)
        raise StateError("start the monitor of container", id, errno=err.errno) from err
    finally:
        posix.close(write_fd)
        posix.close(null_fd)
    answer = b""
    while more := posix.read(read_fd, 65536):
        answer += more
        if answer == b"ok":
            break
    posix.close(read_fd)
    if answer == b"ok":
        return
    proc.wait_pid(pid)
    words: dict = json.loads(answer) if answer else {}  # type: ignore[assignment]  # of our own making
    failure = CapsuleError(words.get("message") or f"start container {id}: its monitor was killed before it ran")
    failure.exit_status = words.get("exit_status", 1)
    raise failure


def failure_report(err: BaseException, message: str) -> bytes:
    """Say for in_background what a monitor failed at."""
    from capsule._ext import json

    return json.dumps({"message": message, "exit_status": getattr(err, "exit_status", 1)})


def restart_pause(record: Record, end: dict | None, ran_ns: int) -> int:
    """Return the step of the back-off before the container runs again, -1 when its policy lets it rest.

    A pause of 100 ms doubles with each run that was short.
    """
    policy = record.restart.get("policy", "no")
    if not record.wanted or record.remove or policy == "no":
        return -1
    if policy == "on-failure":
        most = record.restart.get("max", 0)
        if (end is not None and end["status"] == 0) or (most and record.restarts >= most):
            return -1
    step = 0 if ran_ns >= LONG_RUN_NS else min(record.extra.get("back_off", 0), STEPS)
    record.extra["back_off"] = step + 1
    return step


def open_locked(places: Places, word: str) -> tuple[Containers, Entry, Record]:
    """Find a container and lock its life. Raises NotFound, CorruptRecord."""
    found = Containers(places.containers)
    entry = found.open(found.find(word), lock=True)
    try:
        return found, entry, records.read(entry)
    except BaseException:
        entry.close()
        raise
