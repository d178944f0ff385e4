"""Drive the runtime under test: a method per verb, every call recorded and under a deadline."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import process
from .bundle import Bundle
from .wait import wait_until

DEADLINE = 20.0 * float(os.environ.get("CAPSULE_SLOW", "1"))  # seconds a call may take
FAILS = "any status but 0"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

Input = bytes | int | None


class Result:
    """A call that has ended. out and err are read anew each time: a container may still write."""

    def __init__(self, argv: Sequence[str], out: Path, err: Path) -> None:
        self.argv = list(argv)
        self.rc: int | None = None
        self.seconds = 0.0
        self._out, self._err = out, err

    @property
    def raw(self) -> bytes:
        return self._out.read_bytes()

    @property
    def out(self) -> str:
        return self.raw.decode("utf-8", "surrogateescape")

    @property
    def err(self) -> str:
        return self._err.read_bytes().decode("utf-8", "surrogateescape")

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> dict | list:
        """What the payload or the runtime printed, read as JSON."""
        return json.loads(self.out)

    def __repr__(self) -> str:
        head = f"$ {shlex.join(self.argv)}\n  status {self.rc} after {self.seconds:.3f} s\n"
        if not self._out.exists():  # after the end of the test
            return head
        return f"{head}  stdout: {self.out[-3000:]!r}\n  stderr: {self.err[-3000:]!r}"


class Running:
    """A call that may still be going on."""

    def __init__(self, popen: subprocess.Popen, result: Result) -> None:
        self.popen, self.result = popen, result
        self.pid = popen.pid
        self._started = time.monotonic()
        process.own(popen.pid)

    def send(self, sig: int) -> None:
        self.popen.send_signal(sig)

    def wait(self, timeout: float = DEADLINE) -> Result:
        """Wait for the end of the call; kill it and fail when it hangs."""
        try:
            self.result.rc = self._wait(timeout)
        except subprocess.TimeoutExpired:
            below = process.descendants(self.pid)
            names = [process.stat(pid) for pid in below]
            self.stop()
            raise AssertionError(f"hangs after {timeout:g} s, with {names} below it:\n"
                                 f"{self.result!r}") from None
        self.result.seconds = time.monotonic() - self._started
        process.disown(self.pid)
        return self.result

    def poll(self) -> Result | None:
        """Return the result when the call has ended; fail when it is past the deadline."""
        if self.popen.poll() is not None:
            return self.wait()
        if time.monotonic() - self._started > DEADLINE:
            return self.wait(0)
        return None

    def _wait(self, timeout: float) -> int:
        """Wait as an engine does: a call that ends orphans of ours needs us to reap them."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                return self.popen.wait(0.1)
            except subprocess.TimeoutExpired:
                process.reap_orphans()
        return self.popen.wait(0)

    def stop(self) -> None:
        """End the call however it is."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.result.rc = self.popen.wait()
        process.disown(self.pid)

    def wait_output(self, text: str, timeout: float = DEADLINE) -> Result:
        """Wait until text is on stdout."""
        wait_until(lambda: text in self.result.out or self.popen.poll() is not None, timeout,
                   f"{text!r} on stdout of {self.result!r}")
        assert text in self.result.out, repr(self.result)
        return self.result


class Runtime:
    """The runtime under test with a state root of its own."""

    def __init__(self, argv: Sequence[str], root: Path, workdir: Path) -> None:
        self.argv = list(argv)
        self.root = root
        self.workdir = workdir
        self.calls: list[Result] = []
        self._running: list[Running] = []
        self._ids: list[str] = []

    @property
    def name(self) -> str:
        """capsule, runc or crun: what the program is called."""
        return os.path.basename(self.argv[0]).split("-")[0]

    # Calls

    def spawn(self, *words: str | Path, stdin: Input = None, env: Mapping[str, str] | None = None,
              cwd: Path | str | None = None, pass_fds: Sequence[int] = (),
              scene: Sequence[str] = (), root: bool = True, stdout: int | None = None,
              stderr: int | None = None, session: bool = True) -> Running:
        """Start a call. stdin is bytes, an fd or /dev/null; scene is a prefix argv (payload host)."""
        number = len(self.calls)
        where = ["--root", str(self.root)] if root else []
        argv = [*scene, *self.argv, *where, *map(str, words)]
        result = Result(argv, self.workdir / f"out-{number}", self.workdir / f"err-{number}")
        self.calls.append(result)
        environment = dict(ENVIRONMENT if env is None else env)
        with open(result._out, "wb") as out, open(result._err, "wb") as err:
            source = self._stdin(stdin, number)
            try:
                popen = subprocess.Popen(
                    argv, stdin=source, stdout=out if stdout is None else stdout,
                    stderr=err if stderr is None else stderr, env=environment, cwd=cwd,
                    pass_fds=pass_fds, start_new_session=session)
            finally:
                if not isinstance(stdin, int):
                    os.close(source)
        running = Running(popen, result)
        self._running.append(running)
        return running

    def _stdin(self, stdin: Input, number: int) -> int:
        if isinstance(stdin, int):
            return stdin
        if stdin is None:
            return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        path = self.workdir / f"in-{number}"
        path.write_bytes(stdin)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def call(self, *words: str | Path, rc: int | str | None = 0, timeout: float = DEADLINE,
             **how: object) -> Result:
        """Make a call and compare its exit status: a number, FAILS, or None for any."""
        result = self.spawn(*words, **how).wait(timeout)  # type: ignore[arg-type]
        if rc == FAILS:
            assert result.rc != 0, f"succeeded, though it must not:\n{result!r}"
        elif rc is not None:
            assert result.rc == rc, f"status {result.rc}, not {rc}:\n{result!r}"
        return result

    def words_for(self, verb: str, bundle: Bundle, flags: Sequence[str | Path] = (),
                  name: str | None = None) -> list[str | Path]:
        """Write the bundle and return the argv of create or run; the id will be deleted at the end."""
        directory = bundle.write()
        chosen = bundle.id if name is None else name
        if chosen not in self._ids:
            self._ids.append(chosen)
        return [verb, "--bundle", directory, *flags, chosen]

    # Verbs

    def create(self, bundle: Bundle, *flags: str | Path, name: str | None = None,
               **how: object) -> Result:
        return self._on_bundle("create", bundle, flags, name, how)

    def run(self, bundle: Bundle, *flags: str | Path, name: str | None = None,
            **how: object) -> Result:
        return self._on_bundle("run", bundle, flags, name, how)

    def spawn_run(self, bundle: Bundle, *flags: str | Path, name: str | None = None,
                  **how: object) -> Running:
        """Start a foreground run and return at once."""
        words = self.words_for("run", bundle, flags, name)
        return self.spawn(*words, **how)  # type: ignore[arg-type]

    def start_container(self, bundle: Bundle, *flags: str | Path) -> int:
        """Run detached and return the pid of the container's first process."""
        self.run(bundle, "--detach", *flags)
        return self.pid(bundle)

    def start(self, name: str | Bundle, **how: object) -> Result:
        return self.call("start", self._id(name), **how)  # type: ignore[arg-type]

    def kill(self, name: str | Bundle, *words: str, **how: object) -> Result:
        flags = [word for word in words if word.startswith("-")]
        rest = [word for word in words if not word.startswith("-")]
        return self.call("kill", *flags, self._id(name), *rest, **how)  # type: ignore[arg-type]

    def delete(self, name: str | Bundle, *flags: str, **how: object) -> Result:
        return self.call("delete", *flags, self._id(name), **how)  # type: ignore[arg-type]

    def exec(self, name: str | Bundle, *words: str | Path, flags: Sequence[str | Path] = (),
             **how: object) -> Result:
        return self.call("exec", *flags, self._id(name), *words, **how)  # type: ignore[arg-type]

    def spawn_exec(self, name: str | Bundle, *words: str | Path,
                   flags: Sequence[str | Path] = (), **how: object) -> Running:
        return self.spawn("exec", *flags, self._id(name), *words, **how)  # type: ignore[arg-type]

    def list(self, *flags: str, **how: object) -> Result:
        return self.call("list", *flags, **how)  # type: ignore[arg-type]

    def ps(self, name: str | Bundle, *flags: str, **how: object) -> Result:
        return self.call("ps", *flags, self._id(name), **how)  # type: ignore[arg-type]

    def state(self, name: str | Bundle) -> dict:
        """Return the state document of a container that exists."""
        found = self.call("state", self._id(name)).json
        assert isinstance(found, dict)
        return found

    # Facts

    def status(self, name: str | Bundle) -> str:
        return self.state(name)["status"]

    def is_running(self, name: str | Bundle) -> bool:
        result = self.call("state", self._id(name), rc=None)
        return result.rc == 0 and json.loads(result.out)["status"] == "running"

    def pid(self, name: str | Bundle) -> int:
        return self.state(name)["pid"]

    def exists(self, name: str | Bundle) -> bool:
        return self.call("state", self._id(name), rc=None).rc == 0

    def ids(self) -> list[str]:
        """Return the ids of all containers under this root."""
        return self.list("-q", rc=None).out.split()

    def wait_status(self, name: str | Bundle, status: str) -> None:
        """Wait until the runtime reports a status; collect the ended init if it is our orphan."""
        def reached() -> bool:
            process.reap_orphans()
            return self.status(name) == status
        wait_until(reached, DEADLINE, f"status {status}")

    def probe(self, bundle: Bundle, *flags: str | Path, **how: object) -> dict:
        """Run the payload's probe as the container's program and return the facts."""
        bundle.args("/payload", "probe")
        facts = self.run(bundle, *flags, **how).json
        assert isinstance(facts, dict)
        return facts

    def probe_exec(self, name: str | Bundle, flags: Sequence[str | Path] = (),
                   **how: object) -> dict:
        """Run the probe by exec in a container and return the facts."""
        facts = self.exec(name, "/payload", "probe", flags=flags, **how).json
        assert isinstance(facts, dict)
        return facts

    def attempts(self, bundle: Bundle, *words: str) -> list[dict]:
        """Run the payload's `try OP PATH ...` as the program and return its answers."""
        found = self.run(bundle.args("/payload", "try", *words)).json
        assert isinstance(found, list)
        return found

    # The end

    def clean(self) -> None:
        """End calls that go on and delete every container that was named, forcibly."""
        for running in self._running:
            if running.result.rc is None:
                running.stop()
        for name in reversed(self._ids):
            self.call("delete", "--force", name, rc=None)
        process.reap_orphans()

    def states_left(self) -> list[str]:
        """Return what the state root still holds for ids that were used."""
        names = os.listdir(self.root) if self.root.is_dir() else []
        return [name for name in names if any(used in name for used in self._ids)]

    def sanitizer_reports(self) -> list[Result]:
        """Return the calls on whose stderr a sanitizer has spoken, whatever status the test expected."""
        return [call for call in self.calls if "Sanitizer" in call.err or ": runtime error: " in call.err]

    def report(self) -> str:
        return "\n".join(map(repr, self.calls[-40:]))

    def _id(self, name: str | Bundle) -> str:
        return name.id if isinstance(name, Bundle) else name

    def _on_bundle(self, verb: str, bundle: Bundle, flags: Sequence[str | Path],
                   name: str | None, how: dict) -> Result:
        return self.call(*self.words_for(verb, bundle, flags, name), **how)


def one_line(result: Result) -> str:
    """Return the only line of stderr; fail when there is none, another, or a traceback."""
    lines = result.err.splitlines()
    assert len(lines) == 1, f"not one line on stderr:\n{result!r}"
    assert "Traceback" not in lines[0], repr(result)
    return lines[0]
