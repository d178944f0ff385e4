"""`doctor`: each finding is a trial; where something is taken away, the trial says so and names the repair."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="has no doctor", crun="has no doctor", strict=False),
]

REQUIRED = {"privilege", "state directory", "cgroups", "mount namespace", "pid namespace with procfs",
            "network namespace with sysfs", "ipc namespace with mqueue", "uts namespace", "pidfd", "seccomp",
            "devpts of one's own"}


def findings(capsule, *, scene=(), rc: int) -> dict[str, dict]:
    document = capsule.call("doctor", "--json", scene=list(scene), rc=rc).json
    assert document["ok"] == (rc == 0)
    found = {finding["subject"]: finding for finding in document["findings"]}
    assert len(found) == len(document["findings"])
    return found


@pytest.mark.requires("cgroup1")
def test_a_machine_that_runs_containers_is_well(capsule):
    found = findings(capsule, rc=0)
    assert {name for name in REQUIRED if found[name]["status"] != "works"} == set()
    assert found["memory controller"]["detail"] == "/sys/fs/cgroup/memory"


def test_what_is_missing_comes_with_a_repair(capsule):
    for finding in findings(capsule, rc=0).values():
        assert (finding["status"] == "works") == ("repair" not in finding), finding


def test_nothing_is_left(capsule):
    mounts = Path("/proc/self/mountinfo").read_bytes()
    capsule.call("doctor")
    assert Path("/proc/self/mountinfo").read_bytes() == mounts
    assert not capsule.root.exists()


def test_without_sys_admin_namespaces_fail(capsule):
    found = findings(capsule, scene=["setpriv", "--bounding-set", "-sys_admin", "--"], rc=1)
    failing = {name for name, finding in found.items() if finding["status"] == "fails"}
    assert {"mount namespace", "network namespace with sysfs", "uts namespace", "devpts of one's own"} <= failing
    assert found["uts namespace"]["detail"] == "operation not permitted"
    assert found["uts namespace"]["repair"]


@pytest.mark.requires("userns")
def test_user_namespaces_that_the_administrator_forbids(capsule):
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    scene = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    document = capsule.call("doctor", "--json", scene=scene, rc=None).json
    found = {finding["subject"]: finding for finding in document["findings"]}
    assert found["user namespace"]["status"] == "missing"
    assert found["user namespace"]["repair"] == "sysctl -w user.max_user_namespaces=15000"


def test_a_state_directory_that_cannot_be_made(capsule):
    capsule.root = Path("/proc/none/root")
    finding = findings(capsule, rc=1)["state directory"]
    assert finding["status"] == "fails" and "/proc/none/root: " in finding["detail"]


def test_people_read_one_line_a_subject(capsule):
    lines = capsule.call("doctor").lines
    assert any(line.split() == ["works", "pidfd"] for line in lines)
    assert all(line.split()[0] in ("works", "missing", "fails") for line in lines)
