"""S-02: a hostile container attacks every process that appears in it while the host runs execs.

The hunter seizes, opens memory, root, working directory, executable and descriptors, and steals
descriptors through a pidfd, of every process but itself that does not run its own program. Its
success against anything else is what must never be. See tests/payload/hunt.c.
"""

from __future__ import annotations

import json
import os

import pytest
from helpers import process
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")

EXECS = 500
AT_ONCE = 2
PTRACE = "CAP_SYS_PTRACE"


@pytest.fixture
def hunt(capsule, workdir):
    """Return a function that lets a container's hunter loose during EXECS execs, and its findings."""
    def run(box, count=EXECS):
        box.args("/payload", "hunt", "/data/stop")
        hunter = capsule.spawn_run(box)
        hunter.wait_output("hunting")
        going: list = []
        started = 0

        def step():
            nonlocal started
            ended = [one for one in going if one.poll()]
            assert all(one.result.rc == 0 for one in ended), ended[0].result
            going[:] = [one for one in going if one not in ended]
            while started < count and len(going) < AT_ONCE:
                going.append(capsule.spawn_exec(box, "/payload", "exit", "0"))
                started += 1
            return started == count and not going

        wait_until(step, 30 + count, f"{count} execs")
        (box.rootfs / "data/stop").touch()
        result = hunter.wait()
        findings = json.loads(result.lines[-1])
        assert findings["rounds"] > 0, findings
        return findings
    return run


@pytest.mark.rival(runc="it opens /proc/PID/exe and descriptors of runc's own init",
                   crun="it opens descriptors of crun's own process", strict=False)
def test_a_container_with_the_ptrace_capability_catches_nothing(bundle, hunt):
    findings = hunt(bundle().capabilities(PTRACE))
    assert findings["caught"] == 0, findings


def test_a_container_without_it_catches_nothing(bundle, hunt):
    findings = hunt(bundle())
    assert findings["caught"] == 0, findings


@requires("userns")
def test_a_container_in_a_user_namespace_catches_nothing(bundle, hunt):
    box = bundle().user_namespace().capabilities(PTRACE)
    (box.rootfs / "data").chmod(0o777)
    findings = hunt(box)
    assert findings["caught"] == 0, findings


def test_the_hunter_sees_and_catches_what_it_may(capsule, bundle):
    """The control: another program of the container that runs as the same user is caught."""
    box = bundle(["/payload", "hunt", "/data/stop"]).capabilities(PTRACE)
    hunter = capsule.spawn_run(box)
    hunter.wait_output("hunting")
    capsule.exec(box, "/bin/sleep", "0.5")
    (box.rootfs / "data/stop").touch()
    findings = json.loads(hunter.wait().lines[-1])
    assert findings["caught"] > 0
    assert "/bin/busybox" in findings["what"]


def test_a_container_in_created_cannot_be_looked_into(capsule, bundle):
    """Until start, pid 1 is the runtime's own: another process of the container sees nothing of it."""
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    words = [word for part in ("exe", "root", "cwd", "fd/0", "mem", "maps", "environ")
             for word in ("open", f"/proc/1/{part}")]
    found = capsule.exec(box, "/payload", "try", *words).json
    assert {entry["path"]: entry["errno"] for entry in found if entry["errno"] not in (1, 13)} == {}


def test_no_interpreter_is_ever_visible_in_the_container(capsule, bundle):
    """P-03: neither in created nor during exec does a program of the host run among its processes."""
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    pid = capsule.pid(box)
    exe = os.readlink(f"/proc/{pid}/exe")
    assert "python" not in exe
    maps = open(f"/proc/{pid}/maps", encoding="ascii", errors="replace")
    with maps:
        assert "python" not in maps.read().lower()


def test_the_waiting_process_is_not_dumpable(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    assert os.stat(f"/proc/{capsule.pid(box)}/environ").st_uid == 0
    capsule.start(box)
    wait_until(lambda: process.stat(capsule.pid(box))[0] == "payload")
