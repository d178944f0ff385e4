"""What a hostile image, container or user can try where the runtime has no more rights than the user."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from helpers import process, stops
from helpers.ordinary import UID, UserRuntime, many, single
from helpers.requires import ROOT, requires, variant
from helpers.runtime import ENVIRONMENT, FAILS, one_line

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "userns", "uidmap"),
    pytest.mark.rival(runc="has other words", crun="has other words", strict=False),
]


def test_a_setuid_launcher_does_nothing(rootless, user, workdir):
    program = Path(rootless.argv[0])
    program.chmod(0o4755)
    line = rootless.call("--root", workdir / "stolen", "list", rc=1).err
    assert line == "capsule: this program must not have a setuid or setgid bit (chmod ug-s)\n"
    assert not (workdir / "stolen").exists()


def test_newuidmap_is_never_taken_from_the_path(rootless, user, bundle, workdir):
    user.grant()
    trap = user.runtime_dir / "trap"
    trap.mkdir()
    for name in ("newuidmap", "newgidmap"):
        (trap / name).write_text(f"#!/bin/sh\ntouch {trap}/sprung\n")
        (trap / name).chmod(0o755)
    user.own(trap)
    env = {"PATH": f"{trap}:{ENVIRONMENT['PATH']}", "XDG_RUNTIME_DIR": str(user.runtime_dir)}
    assert rootless.run(many(bundle(["/bin/id", "-u"])), env=env, cwd=trap).out == "0\n"
    assert not (trap / "sprung").exists()


def test_newuidmap_sees_nothing_of_the_callers_environment(rootless, user, bundle):
    user.grant()
    log = user.runtime_dir / "seen"
    real = user.place / "real-newuidmap"
    shutil.copy2("/usr/bin/newuidmap", real)
    real.chmod(0o4755)
    user.cover("/usr/bin/newuidmap", f'#!/bin/sh\nenv > {log}\nexec {real} "$@"\n', 0o755)
    env = {**ENVIRONMENT, "XDG_RUNTIME_DIR": str(user.runtime_dir), "LD_PRELOAD": "", "SECRET": "x", "BASH_ENV": "/x"}
    rootless.run(many(bundle(["/bin/true"])), env=env)
    names = {line.partition("=")[0] for line in log.read_text().splitlines()}
    assert names <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_records_never_lie_where_others_may_write(rootless, user, bundle, mode):
    user.runtime_dir.chmod(mode)
    line = one_line(rootless.run(single(bundle()), rc=FAILS))
    assert "others may write to it" in line and "XDG_RUNTIME_DIR" in line
    assert os.listdir(user.runtime_dir) == []


def test_records_never_lie_below_anothers_directory(rootless, user, bundle):
    os.chown(user.runtime_dir, 0, 0)
    user.runtime_dir.chmod(0o755)
    assert f"it belongs to uid 0, not to uid {UID}" in one_line(rootless.run(single(bundle()), rc=FAILS))


def test_a_name_in_tmp_that_another_took_is_refused(rootless, bundle):
    place = Path(f"/tmp/capsule-{UID}")
    shutil.rmtree(place, ignore_errors=True)  # a run that was ended has left it
    place.mkdir(mode=0o777)
    try:
        line = one_line(rootless.run(single(bundle()), rc=FAILS, env=ENVIRONMENT))
        assert f"/tmp/capsule-{UID}: it belongs to uid 0" in line
    finally:
        place.rmdir()


# The window in which S1 is dumpable


@requires("stop")
def test_after_the_maps_are_written_nobody_of_the_user_can_look_in(rootless, user, bundle, workdir):
    """S2 stands in the new namespaces: its files in /proc are root's again."""
    stopping = UserRuntime([str(variant("stop"))], user, workdir)
    stop = stops.stop_at(stopping, "stage2", *rootless.words_for("create", single(bundle())))
    assert stop
    directory = Path(f"/proc/{stop.pid}")
    assert (directory / "environ").stat().st_uid == 0
    with pytest.raises(PermissionError):
        as_user(lambda: os.readlink(directory / "cwd"))
    stop.proceed()
    assert stop.running.wait().rc == 0


def as_user(action):
    """Do something with the user's rights and no others."""
    os.setegid(UID)
    os.seteuid(UID)
    try:
        return action()
    finally:
        os.seteuid(0)
        os.setegid(0)


# Exec's process is a file of the user's, who is root inside


def filtered(box, *capabilities):
    box.capabilities(*capabilities)
    return box.seccomp("SCMP_ACT_ALLOW", {"names": ["chroot"], "action": "SCMP_ACT_ERRNO"})


def test_a_tracer_inside_cannot_get_an_exec_past_the_filter(rootless, bundle):
    box = filtered(single(bundle(["/payload", "pause"])), "CAP_SYS_PTRACE")
    rootless.start_container(box)
    assert "its seccomp filter could be escaped" in one_line(rootless.exec(box, "/bin/true", rc=255))


def test_without_the_capability_or_without_a_filter_exec_works(rootless, bundle):
    for box in (filtered(single(bundle(["/payload", "pause"]))),
                single(bundle(["/payload", "pause"])).capabilities("CAP_SYS_PTRACE")):
        rootless.start_container(box)
        rootless.exec(box, "/bin/true")


# The host's file systems


def test_sysfs_is_read_only_with_all_below_it(rootless, bundle):
    box = single(bundle()).without_namespace("network").without_mount("/sys")
    box.mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro").shell("grep ' /sys' /proc/mounts")
    rows = [line.split() for line in rootless.run(box).lines]
    assert len(rows) > 1
    assert all("ro" in row[3].split(",") for row in rows), rows


def test_the_hosts_cgroups_are_shown_read_only(rootless, bundle):
    box = single(bundle()).mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev")
    lines = rootless.run(box.shell("grep ' /sys/fs/cgroup' /proc/mounts")).lines
    rows = [row for row in map(str.split, lines) if row[2] in ("cgroup", "cgroup2")]
    assert rows
    assert all("ro" in row[3].split(",") for row in rows), rows


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda box: box.without_namespace("user").linux.update(uidMappings=[], gidMappings=[]),
         "needs a user namespace"),
        (lambda box: box.mount("/data", "ext4", "/dev/vda"), "for root outside every user namespace only"),
        (lambda box: box.linux.update(netDevices={"lo0": {}}), "lacks CAP_NET_ADMIN over the host's network"),
        (lambda box: box.linux.update(intelRdt={"closID": "x"}), "resctrl groups are the host's"),
        (lambda box: box.mount("/data", "bind", "/tmp", "bind", "idmap"), "mapped ids need CAP_SYS_ADMIN"),
        (lambda box: box.linux.update(resources={"pids": {"limit": 5}}), "cannot set pids limit: container could not"),
        (lambda box: box.linux.update(cgroupsPath="/x"), "unable to apply cgroup configuration"),
    ],
    ids=["user namespace", "ext4", "netDevices", "intelRdt", "idmap", "limit", "cgroupsPath"],
)
def test_what_only_root_has_is_refused_before_anything_is_made(rootless, user, bundle, change, cause):
    box = single(bundle())
    change(box)
    assert cause in one_line(rootless.run(box, rc=FAILS))
    assert not (user.runtime_dir / "capsule" / box.id).exists()


def test_the_library_runs_a_container(rootless, user, bundle, workdir):
    """The package and its interpreter are bound to where the user can reach them."""
    box = single(bundle(["/payload", "exit", "7"]))
    directory = box.write()
    user.own(directory)
    (workdir / "tree").mkdir()
    (workdir / "python").mkdir()
    rootless.before = (f"mount --rbind {ROOT} {workdir}/tree", f"mount --rbind {sys.base_prefix} {workdir}/python")
    script = (f"import sys; sys.path.insert(0, {str(workdir / 'tree')!r}); import capsule\n"
              f"factory = capsule.Factory(); box = factory.create({box.id!r}, bundle={str(directory)!r})\n"
              "box.run(); status = box.wait(); print(factory.runtime_root, status); box.destroy()")
    env = {**ENVIRONMENT, "XDG_RUNTIME_DIR": str(user.runtime_dir), "CAPSULE_LAUNCHER": rootless.argv[0],
           "PYTHONHOME": str(workdir / "python")}
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    rootless.argv[:] = [str(workdir / "python" / "bin" / name)]
    assert rootless.call("-c", script, env=env).out == f"{user.runtime_dir}/capsule 7\n"
    process.reap_orphans()
    rootless.argv[:] = [env["CAPSULE_LAUNCHER"]]
    assert stat.S_IMODE((user.runtime_dir / "capsule").stat().st_mode) == 0o700
