"""Every verb as an ordinary user, on a machine that gives it no cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import process
from helpers.ordinary import SUBIDS, UID, many, mapped, single
from helpers.requires import requires
from helpers.runtime import FAILS, one_line
from helpers.wait import wait_until

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "userns", "uidmap"),
    pytest.mark.rival(runc="its words and its state differ", crun="its words and its state differ", strict=False),
]


def of_host(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii")


def test_the_example_runs_as_it_is(rootless, user, bundle):
    box = bundle()
    directory = box.write()
    user.own(directory)
    (directory / "config.json").unlink()
    rootless.call("spec", "--rootless", cwd=directory)
    box.text = (directory / "config.json").read_bytes().replace(b'"terminal": true', b'"terminal": false').replace(
        b'"sh"', b'"id"')
    assert rootless.run(box).out == "uid=0(root) gid=0(root)\n"


def test_root_of_the_container_is_the_user(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    pid = rootless.start_container(box)
    assert of_host(pid, "uid_map").split() == ["0", str(UID), "1"]
    assert of_host(pid, "setgroups") == "deny\n"
    assert os.stat(f"/proc/{pid}").st_uid == UID
    assert rootless.state(box)["owner"] == "capsule-test"


def test_a_container_from_create_to_delete(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    rootless.create(box)
    assert rootless.status(box) == "created"
    rootless.start(box)
    assert rootless.status(box) == "running"
    assert rootless.ids() == [box.id]
    assert rootless.exec(box, "/bin/id", "-u").out == "0\n"
    rootless.exec(box, "/bin/sleep", "1000", flags=["--detach"])
    assert len(rootless.ps(box, "-f", "json").json) == 2
    rootless.kill(box, "KILL")
    rootless.wait_status(box, "stopped")
    assert rootless.ps(box, "-f", "json").json == []
    rootless.delete(box)
    assert rootless.ids() == []


def test_a_signal_to_all_reaches_an_exec_without_cgroups(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    rootless.start_container(box)
    call = rootless.spawn_exec(box, "/bin/sleep", "1000")
    call_ready = rootless.exec(box, "/bin/true")
    assert call_ready.rc == 0
    rootless.kill(box, "--all", "KILL")
    assert call.wait().rc == 137
    rootless.wait_status(box, "stopped")


def test_nothing_of_the_machines_cgroups_changes(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    pid = rootless.start_container(box)
    assert of_host(pid, "cgroup") == of_host(os.getpid(), "cgroup")


def test_what_needs_a_freezer_says_so(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    rootless.start_container(box)
    assert "it has no cgroup" in one_line(rootless.call("pause", box.id, rc=FAILS))
    assert rootless.status(box) == "running"


def test_without_a_pid_namespace_a_forced_delete_ends_the_children_too(rootless, bundle):
    box = single(bundle()).without_namespace("pid").shell("/bin/sleep 1000 & wait").without_mount("/proc")
    box.linux["maskedPaths"], box.linux["readonlyPaths"] = [], []
    result = rootless.run(box, "--detach")
    assert "strongly discouraged" in result.err
    children: list[int] = []

    def are_two() -> bool:
        children[:] = rootless.ps(box, "-f", "json").json
        return len(children) == 2

    wait_until(are_two)
    rootless.delete(box, "--force")
    wait_until(lambda: process.reap_orphans() or not [pid for pid in children if process.is_alive(pid)])


@pytest.mark.parametrize("argument", ["--rootless=true", "--rootless=auto", "--cgroup-manager=disabled"])
def test_words_that_ask_for_no_cgroups(rootless, bundle, argument):
    box = single(bundle(["/bin/true"]))
    rootless.call(argument, *rootless.words_for("run", box))


def test_cgroups_that_must_be(rootless, bundle):
    box = single(bundle(["/bin/true"]))
    line = one_line(rootless.call("--rootless=false", *rootless.words_for("run", box), rc=FAILS))
    assert "create cgroup" in line and "permission denied" in line
    assert rootless.ids() == []


# Many ids


def test_granted_ids_are_mapped_and_groups_can_be_set(rootless, user, bundle):
    user.grant()
    box = many(bundle(["/payload", "pause"])).user(1000, 1000, 7, 8)
    pid = rootless.start_container(box)
    rows = [line.split() for line in of_host(pid, "uid_map").splitlines()]
    assert rows == [["0", str(UID), "1"], ["1", str(SUBIDS[0]), str(SUBIDS[1])]]
    assert of_host(pid, "setgroups") == "allow\n"
    status = of_host(pid, "status")
    assert f"Uid:\t{SUBIDS[0] + 999}\t" in status
    assert f"Groups:\t{SUBIDS[0] + 6} {SUBIDS[0] + 7} \n" in status
    assert rootless.exec(box, "/bin/id", "-u", flags=["--user", "33"]).out == "33\n"
    rootless.kill(box, "KILL")  # a process of another uid than ours
    rootless.wait_status(box, "stopped")


def test_files_of_granted_ids_are_the_containers(rootless, user, bundle):
    user.grant()
    script = "echo x > /data/file && busybox chown 33:44 /data/file && stat -c %u:%g /data/file"
    box = many(bundle()).capabilities("CAP_CHOWN").shell(script)
    assert rootless.run(box).out == "33:44\n"
    assert (box.rootfs / "data" / "file").stat().st_uid == SUBIDS[0] + 32


def test_no_row_is_explained_with_the_words_that_add_it(rootless, bundle):
    line = one_line(rootless.run(many(bundle()), rc=FAILS))
    first, last = SUBIDS[0], SUBIDS[0] + SUBIDS[1] - 1
    assert f"/etc/subuid does not give uids {first}-{last} to uid {UID}" in line
    assert f"usermod --add-subuids {first}-{last}" in line
    assert rootless.ids() == []


def test_a_range_beyond_the_row_is_named(rootless, user, bundle):
    user.grant(size=1000)
    line = one_line(rootless.run(many(bundle()), rc=FAILS))
    assert f"/etc/subuid does not give uids {SUBIDS[0]}-{SUBIDS[0] + SUBIDS[1] - 1}" in line


def test_another_id_than_the_users_cannot_be_mapped_alone(rootless, bundle):
    line = one_line(rootless.run(mapped(bundle(), [(0, 0, 1)]), rc=FAILS))
    assert f"/etc/subuid does not give uids 0-0 to uid {UID}" in line
    assert "these uids are not to be had, map others: " in line and "subuids 0-0" not in line


def test_groups_where_setgroups_is_denied(rootless, bundle):
    line = one_line(rootless.run(single(bundle()).user(0, 0, 7), rc=FAILS))
    assert "set additional groups 7: setgroups is denied in this user namespace" in line


# What is given in another way


def test_time_offsets(rootless, bundle):
    box = single(bundle(["/payload", "pause"])).namespace("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    pid = rootless.start_container(box)
    assert of_host(pid, "timens_offsets").split() == ["monotonic", "0", "0", "boottime", "1000000", "0"]


def test_oom_score_is_raised_and_ours_is_not(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    box.process["oomScoreAdj"] = 321
    pid = rootless.start_container(box)
    assert of_host(pid, "oom_score_adj") == "321\n"


def test_an_oom_score_that_only_root_may_give_is_told(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    box.process["oomScoreAdj"] = -500
    result = rootless.run(box, "--detach")
    assert "needs CAP_SYS_RESOURCE" in result.err
    assert of_host(rootless.pid(box), "oom_score_adj") == of_host(os.getpid(), "oom_score_adj")


def test_terminals_without_the_group_that_has_no_id_here(rootless, bundle):
    box = single(bundle()).shell("grep ' /dev/pts ' /proc/mounts")
    assert any("gid=5" in mount["options"] for mount in box.config["mounts"])
    assert "gid=" not in rootless.run(box).out


def test_devices_are_the_hosts(rootless, bundle):
    box = single(bundle()).shell("echo x > /dev/null && busybox head -c 4 /dev/zero | busybox wc -c")
    assert rootless.run(box).out.strip() == "4"


def test_sysfs_of_the_hosts_network_is_bound_and_read_only(rootless, bundle):
    box = single(bundle()).without_namespace("network").shell("touch /sys/kernel/x; grep ' /sys ' /proc/mounts")
    out = rootless.run(box).out
    assert out.partition(" ")[2].startswith("/sys sysfs ro,nosuid,nodev,noexec")  # the source is the host's word


def test_limits_of_processes_up_to_ones_own(rootless, bundle):
    box = single(bundle(["/payload", "pause"]))
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]
    pid = rootless.start_container(box)
    assert "Max open files            64                   128" in of_host(pid, "limits")
