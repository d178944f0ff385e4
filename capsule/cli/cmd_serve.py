"""_serve: execute one request of the library and answer it (capsule.protocol.request).

The library starts the launcher with the container's descriptors in place: 0-2, preserved ones from 3 on, and
behind them the socket that the request comes from. Where the library wants to wait for the process, this process
stays as its relay and reports the exit status over the same socket.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule._ext import json, proc
from capsule.cli.scanner import Invocation
from capsule.errors import Unsupported
from capsule.init.start import start_initialization
from capsule.protocol import request
from capsule.runtime import destruction, relay
from capsule.runtime.factory import Factory
from capsule.runtime.process import Process
from capsule.spec.load import load_config

_LAST_FD = 0xFFFFFFFF
_OPTIONAL = ("args", "env", "cwd", "user", "no_new_privs", "console_socket", "pid_file")
_PLAIN = ("detach", "id", "preserve_fds", "additional_gids", "caps", "tty", "cgroup", "ignore_paused", "no_pivot",
          "no_new_keyring")


def run(invocation: Invocation) -> int:
    """Serve the request that waits on the socket."""
    fd = int(invocation.positionals[0])
    # The library's host may have left descriptors inheritable; what it announces ends with the socket.
    proc.close_range(fd + 1, _LAST_FD)
    proc.set_cloexec(fd, True)
    posix.umask(0o022)
    posix.chdir("/")
    records: list = []
    log.configure(_collector(records), debug=log.is_debug())
    document = None
    try:
        document = request.receive(fd)
        if document is None:
            return 1
        value, plan = _perform(document)
    except Exception as err:
        request.send(fd, {"error": request.error_fields(err), "log": records})
        _remember(document, err)
        return 1
    if plan is not None:
        plan.report_fd = fd
    _answer(fd, {"ok": value, "log": records})
    if plan is not None:
        relay.become(plan)
    return 0


def _remember(document: dict | None, err: Exception) -> None:
    """Keep what is known of a failure for `why`, after the library has its answer."""
    if document is not None and document.get("verb") in ("create", "run", "start", "exec", "destroy"):
        from capsule.runtime import failure

        failure.remember(document["root"], document["id"], document["verb"], err, bundle=document.get("bundle", ""))


def _collector(records: list):
    """Return a sink that keeps records for the answer."""

    def keep(level: str, message: str) -> None:
        records.append([level, message])

    return keep


def _answer(fd: int, document: dict) -> None:
    try:
        request.send(fd, document)
    except OSError:
        # The library's program has ended meanwhile. What it asked for is done and stays.
        pass


def _perform(document: dict) -> tuple:
    """Execute a request; return (the answer's value, the plan of the relay to become or None).

    Raises CapsuleError.
    """
    factory = Factory(document["root"], initialize=start_initialization)
    verb = document["verb"]
    if verb in ("create", "run"):
        return _create(factory, document, start=verb == "run")
    if verb == "exec":
        return _exec(factory, document)
    if verb == "destroy":
        destruction.delete(factory.store, document["id"], force=document["force"], load=factory.adopt)
        return None, None
    container = factory.load(document["id"], lock=verb in ("start", "pause", "resume"))
    try:
        return _on_container(container, verb, document), None
    finally:
        container.close()


def _on_container(container, verb: str, document: dict):
    """Execute a verb that needs the container only."""
    if verb == "start":
        return container.start()
    if verb == "signal":
        return container.signal(document["signal"], all=document["all"])
    if verb == "pause":
        return container.pause()
    if verb == "resume":
        return container.resume()
    if verb == "status":
        return container.status()
    if verb == "oci_state":
        return container.oci_state()
    if verb == "processes":
        return container.processes()
    raise Unsupported("serve", verb, "no such request")


def _create(factory: Factory, document: dict, *, start: bool) -> tuple:
    """Create a container, and start it; a failed start leaves nothing."""
    process = _process(document["process"])
    process.network = document.get("network")
    config = load_config(json.dumps(document["config"]))
    container = factory.create(document["id"], config, bundle=document["bundle"])
    try:
        if start:
            container.run(process)
        else:
            container.create(process)
        plan = None if process.detach else relay.plan_for(container.process, container.console)
        if plan is not None:
            relay.add_record(plan, container, keep=True)
        return {"pid": container.record.init_process_pid}, plan
    finally:
        container.close()


def _exec(factory: Factory, document: dict) -> tuple:
    """Run a further process in a container."""
    process = _process(document["process"])
    container = factory.load(document["id"])
    try:
        child = container.exec(process)
        plan = None if process.detach else relay.plan_for(child, container.console)
        return {"pid": child.pid}, plan
    finally:
        container.close()


def _process(fields: dict) -> Process:
    """Return the runtime's process of a request."""
    process = Process()
    for name in _PLAIN:
        setattr(process, name, fields[name])
    for name in _OPTIONAL:
        setattr(process, name, fields.get(name))
    return process
