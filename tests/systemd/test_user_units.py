"""An ordinary user's containers in units of the user manager: from a login session, outside its subtree, and inside."""

from __future__ import annotations

import os
import shutil

import pytest
from helpers import requires as requirements, systemd_box
from helpers.requires import requires
from helpers.runtime import Runtime

pytestmark = requires("root", "runtime", "systemd", "userns", "busybox", "gcc")

UID = systemd_box.UID
RUNTIME_DIR = f"/run/user/{UID}"
MANAGER = "/system.slice/user.service"
BECOME = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--inh-caps=-all",
          "env", f"XDG_RUNTIME_DIR={RUNTIME_DIR}"]
#: The words before a command of the user, by where it runs.
PLACES = {
    "session": [],
    "inside": ["systemd-run", "--user", "--scope", "--quiet", "--property=Delegate=yes"],
}


@pytest.fixture(params=list(PLACES))
def user(request, box, workdir, leaks):
    """Give the runtime as the user of the box calls it."""
    if not box.prefix or box.layout != "v2":
        pytest.skip("the user manager of a box with cgroup v2 alone")
    calls = workdir / "user-calls"
    calls.mkdir()
    binary = requirements.binary()
    program = workdir / "capsule"
    shutil.copy(shutil.which(binary[0]) or binary[0], program)
    state = workdir / "user-state"
    state.mkdir()
    os.chown(state, UID, UID)
    runtime = Runtime([*box.prefix, *BECOME, *PLACES[request.param], str(program), *binary[1:], "--systemd-cgroup"],
                      state, calls)
    yield runtime
    runtime.clean()
    assert not runtime.states_left()
    assert not show(box, "list-units", "--all", "--plain", "--no-legend", "ct[0-9]*").split()


def show(box, *words):
    return box.run(*BECOME, "systemctl", "--user", *words)


@pytest.fixture
def web(bundle):
    """Give a bundle that the user may run, in a unit ctN-….scope."""
    made = bundle(["/payload", "pause"])
    made.linux["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        made.linux[name] = [{"containerID": 0, "hostID": UID, "size": 1}]
    for mount in made.config["mounts"]:
        mount["options"] = [word for word in mount["options"] if not word.startswith("gid=")]
    prefix, _, number = made.id.rpartition("-")
    made.linux["cgroupsPath"] = f"user.slice:{prefix}:{number}"
    for parent, directories, files in os.walk(made.path):
        for name in (*directories, *files, "."):
            os.chown(os.path.join(parent, name), UID, UID, follow_symlinks=False)
    return made


def cgroup_of(web):
    return f"{MANAGER}/user.slice/{web.id}.scope"


def start(user, web):
    user.run(web, "--detach")
    return user.pid(web)


@pytest.mark.row(106)
def test_a_users_container_lives_in_a_unit_of_the_user_manager(box, user, web):
    pid = start(user, web)

    assert box.cgroups_of(pid)[""] == cgroup_of(web)
    assert "ActiveState=active" in show(box, "show", f"{web.id}.scope", "--property=ActiveState")
    assert box.file("", cgroup_of(web), "cgroup.procs") == str(pid)
    user.delete(web, "--force")
    assert box.run("find", "/sys/fs/cgroup", "-name", f"{web.id}.scope") == ""


@pytest.mark.row(106)
def test_exec_of_a_user_enters_the_unit(box, user, web):
    start(user, web)

    assert f"0::{cgroup_of(web)}" in user.exec(web, "/bin/cat", "/proc/self/cgroup").out.splitlines()


@pytest.mark.row(106)
def test_pause_and_resume_of_a_user(user, web):
    start(user, web)
    user.call("pause", web.id)
    assert user.status(web) == "paused"
    user.call("resume", web.id)
    assert user.status(web) == "running"


@pytest.mark.row(106)
def test_a_foreground_run_of_a_user_leaves_nothing(box, user, web):
    web.args("/bin/cat", "/proc/self/cgroup")

    assert f"0::{cgroup_of(web)}" in user.run(web).out.splitlines()
    assert box.run("find", "/sys/fs/cgroup", "-name", f"{web.id}.scope") == ""
