"""Each verb in each status, and containers that share the host's pid namespace."""

from __future__ import annotations

import functools
import json
import os
import signal

import pytest
from helpers import process
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")

STATUSES = ("created", "running", "paused", "stopped")
# (verb, words behind the id) -> the words of the refusal for each status that refuses
REFUSALS = {
    ("start",): {
        "running": "cannot start an already running container", "paused": "cannot start a container that is paused",
        "stopped": "cannot start a container that has stopped"},
    ("kill", "WINCH"): {"stopped": "container not running"},
    ("pause",): {"paused": "already paused", "stopped": "container not running"},
    ("resume",): {"created": "container not paused", "running": "container not paused",
                  "stopped": "container not paused"},
    ("delete",): {"running": "that is not stopped: running", "paused": "that is not stopped: paused"},
    ("update", "--pids-limit", "50"): {"stopped": "container not running"},
    ("events", "--stats"): {"stopped": "is not running"},
    ("exec", "/payload", "exit", "0"): {
        "paused": "cannot exec in a paused container", "stopped": "cannot exec in a stopped container"},
}
CASES = [(verb, status) for verb in REFUSALS for status in STATUSES]


def bring(capsule, box, status: str) -> int:
    """Bring a container into a status; return the pid of its first process."""
    capsule.create(box)
    pid = capsule.pid(box)
    if status != "created":
        capsule.start(box)
    if status == "paused":
        capsule.call("pause", box.id)
    if status == "stopped":
        capsule.kill(box, "KILL")
        capsule.wait_status(box, "stopped")
    return pid


def is_gone(pid: int) -> bool:
    process.reap_orphans()
    return not process.is_alive(pid)


@requires("cgroup1")
@pytest.mark.row(171, 174)
@pytest.mark.rival(runc="other words, and it starts what is paused", crun="other words", strict=False)
@pytest.mark.parametrize(("verb", "status"), CASES, ids=[f"{verb[0]}-{status}" for verb, status in CASES])
def test_a_verb_works_in_its_statuses_and_changes_nothing_in_others(capsule, bundle, verb, status):
    box = bundle(["/payload", "pause"])
    pid = bring(capsule, box, status)
    refusal = REFUSALS[verb].get(status)
    result = capsule.call(verb[0], box.id, *verb[1:], rc=FAILS if refusal else 0)
    if refusal:
        assert refusal in result.err
        assert capsule.status(box) == status
        assert process.is_alive(pid) == (status != "stopped")


@requires("cgroup1")
@pytest.mark.row(174, 175)
@pytest.mark.parametrize("status", STATUSES)
def test_forced_delete_ends_whatever_there_is(capsule, bundle, status):
    box = bundle(["/payload", "pause"])
    pid = bring(capsule, box, status)
    capsule.delete(box, "--force")
    assert not capsule.exists(box)
    wait_until(functools.partial(is_gone, pid))
    # os.walk() takes it that a directory goes while it is read: beside us other tests make cgroups and remove them.
    assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(f"/{box.id}")]


@pytest.mark.row(171)
def test_a_process_that_has_the_pid_now_is_not_the_container(capsule, bundle):
    """The record of a container whose pid was given to another process: here ours."""
    box = bundle(["/payload", "pause"])
    pid = bring(capsule, box, "stopped")
    record = capsule.root / box.id / "state.json"
    text = record.read_text()
    assert f'"init_process_pid":{pid}' in text
    record.write_text(text.replace(f'"init_process_pid":{pid}', f'"init_process_pid":{os.getpid()}'))
    assert capsule.status(box) == "stopped"
    assert "container not running" in capsule.kill(box, "KILL", rc=1).err


@pytest.mark.row(177)
@pytest.mark.parametrize(
    ("word", "number"),
    [("HUP", 1), ("sighup", 1), ("SIGUSR1", 10), ("12", 12), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-2", 62),
     ("64", 64), ("RTMAX", 64)],
)
def test_signals_by_name_and_number(capsule, bundle, word, number):
    # In a pid namespace of its own the first process would be immune to all but KILL and STOP.
    box = bundle(["/payload", "pause"]).without_namespace("pid")
    running = capsule.spawn_run(box)
    wait_until(lambda: capsule.is_running(box))
    capsule.kill(box, word)
    assert running.wait().rc == 128 + number


@pytest.mark.row(177)
def test_signal_0_asks_and_changes_nothing(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    capsule.kill(box, "0")
    assert capsule.status(box) == "running"


@pytest.mark.row(178)
@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "../x", "a b", "a\n", "é", "a" * 256, "a:b", ".hidden"])
def test_an_id_that_could_be_more_than_a_name_is_refused(capsule, bundle, name):
    box = bundle(["/payload", "pause"])
    before = set(os.listdir(box.path.parent))
    result = capsule.call("create", "--bundle", box.write(), "--", name, rc=FAILS)
    assert "id" in result.err.lower()
    assert set(os.listdir(box.path.parent)) == before | {box.path.name}
    assert not capsule.root.exists() or not os.listdir(capsule.root)


@pytest.mark.row(178)
@pytest.mark.parametrize("end", ["_-+.9Z", "a" * 200])
def test_an_id_of_permitted_characters(capsule, bundle, end):
    box = bundle(["/payload", "pause"])
    name = f"{box.id}{end}"
    capsule.create(box, name=name)
    assert capsule.state(name)["id"] == name
    capsule.delete(name)


# Without a pid namespace of its own


@pytest.fixture
def family(capsule, bundle):
    """Give a container in the host's pid namespace, with children, and all its pids."""
    box = bundle(["/payload", "children", "3"]).without_namespace("pid")
    capsule.run(box, "--detach")
    wait_until(lambda: len(capsule.ps(box, "--format", "json").json) == 4)
    return box, capsule.ps(box, "--format", "json").json


def assert_gone(pids: list[int]) -> None:
    for pid in pids:
        wait_until(functools.partial(is_gone, pid), 5, f"the end of {pid}")


@requires("cgroup1")
@pytest.mark.row(177)
def test_kill_ends_all_of_a_container_in_the_hosts_pid_namespace(capsule, family):
    box, pids = family
    running = capsule.spawn_exec(box, "/payload", "pause")
    wait_until(lambda: len(capsule.ps(box, "--format", "json").json) == 5)
    capsule.kill(box, "KILL")
    assert_gone(pids)
    assert running.wait().rc == 137
    capsule.wait_status(box, "stopped")
    capsule.delete(box)


@requires("cgroup1")
@pytest.mark.row(177)
@pytest.mark.parametrize("words", [("--all", "9"), ("--all", "KILL"), ("-a", "TERM")], ids=" ".join)
def test_kill_all_ends_what_its_first_process_left_behind(capsule, family, words):
    """The shim's call at the end of a container without a pid namespace of its own."""
    box, pids = family
    first = capsule.pid(box)
    os.kill(first, signal.SIGKILL)
    capsule.wait_status(box, "stopped")
    left = [pid for pid in pids if pid != first]
    assert all(map(process.is_alive, left))
    capsule.kill(box, *words)
    assert_gone(left)


@requires("cgroup1")
@pytest.mark.row(174)
@pytest.mark.parametrize("flags", [[], ["--force"]], ids=["plain", "force"])
def test_delete_ends_what_the_first_process_left_behind(capsule, family, flags):
    box, pids = family
    os.kill(capsule.pid(box), signal.SIGKILL)
    capsule.wait_status(box, "stopped")
    capsule.delete(box, *flags)
    assert_gone(pids)
    assert not capsule.exists(box)


@requires("cgroup1")
@pytest.mark.row(174)
def test_delete_of_a_running_container_in_the_hosts_pid_namespace_needs_force(capsule, family):
    box, pids = family
    capsule.delete(box, rc=FAILS)
    assert all(map(process.is_alive, pids))
    capsule.delete(box, "--force")
    assert_gone(pids)


@pytest.mark.row(177)
def test_killing_a_guest_of_a_pid_namespace_spares_its_owner(capsule, bundle):
    owner = bundle(["/payload", "pause"])
    pid = capsule.start_container(owner)
    box = bundle(["/payload", "pause"]).namespace("pid", f"/proc/{pid}/ns/pid")
    guest = capsule.start_container(box)
    capsule.kill(box, "9")
    assert_gone([guest])
    assert capsule.status(owner) == "running"


# ps and list


@requires("ps")
@pytest.mark.row(180)
def test_ps_takes_options_of_ps_behind_the_id(capsule, bundle):
    box = bundle(["/payload", "pause"])
    pid = capsule.start_container(box)
    header, row = capsule.call("ps", box.id, "-e", "-x").lines
    assert header.split() == ["PID", "TTY", "STAT", "TIME", "COMMAND"]
    assert row.split()[0] == str(pid)
    header, row = capsule.call("ps", "--format", "table", box.id, "-e", "-o", "comm,pid").lines
    assert (header.split(), row.split()) == (["COMMAND", "PID"], ["payload", str(pid)])
    assert "PID" in capsule.call("ps", box.id, "-e", "-o", "comm", rc=FAILS).err
    capsule.call("ps", box.id, "--no-such-option", rc=FAILS)
    assert "invalid format" in capsule.call("ps", "-f", "xml", box.id, rc=FAILS).err


@requires("ps")
@pytest.mark.row(180)
def test_ps_of_a_stopped_container_is_a_title_alone(capsule, bundle):
    box = bundle(["/payload", "pause"])
    bring(capsule, box, "stopped")
    assert len(capsule.ps(box).lines) == 1
    assert capsule.ps(box, "--format", "json").out == "[]\n"


@pytest.mark.row(180)
@pytest.mark.rival(crun="prints other keys")
def test_list_has_the_keys_that_go_runc_reads(capsule, bundle):
    plain, noted = bundle(["/payload", "pause"]), bundle(["/payload", "pause"])
    noted.config["annotations"] = {"a": "b"}
    capsule.create(plain)
    capsule.create(noted)
    text = capsule.list("--format=json").out
    assert text.startswith('[{"ociVersion":"1.') and text.count("\n") == 1
    found = {entry["id"]: entry for entry in capsule.list("-f", "json").json}
    keys = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"]
    assert [key for key in found[plain.id] if key not in ("annotations",)] == [*keys, "owner"]
    assert found[noted.id]["annotations"] == {"a": "b"}
    assert sorted(found) == [entry["id"] for entry in capsule.list("-f", "json").json]
    assert capsule.list("-q").out == "".join(f"{name}\n" for name in sorted(found))
    assert "invalid format" in capsule.list("--format", "xml", rc=FAILS).err


@pytest.mark.row(180)
def test_list_of_nothing(capsule, workdir):
    (workdir / "empty").mkdir()
    for flags, expected in (([], 1), (["-q"], 0)):
        result = capsule.call("--root", workdir / "empty", "list", *flags, root=False)
        assert len(result.lines) == expected
    assert capsule.call("--root", workdir / "empty", "list", "-f", "json", root=False).out in ("[]\n", "null\n", "null")
    capsule.call("--root", workdir / "none", "list", root=False, rc=FAILS)
    assert not (workdir / "none").exists()


@pytest.mark.row(180)
@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
@pytest.mark.rival(runc="built with criu", crun="other words")
def test_what_needs_criu_is_refused_and_says_so(capsule, bundle, workdir, verb):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    result = capsule.call(verb, "--image-path", workdir / "images", box.id, rc=1, cwd=workdir)
    assert "needs criu; not built yet" in result.err
    assert capsule.status(box) == "running"
    assert not (workdir / "images").exists()
    assert "needs criu" in capsule.call(verb, "--help", root=False).out


# Descriptors


@pytest.mark.row(181)
@pytest.mark.parametrize("verb", ["run", "create"])
def test_descriptors_of_socket_activation_reach_the_program(capsule, bundle, verb):
    """LISTEN_PID names the runtime, as systemd does it: the shell becomes the runtime."""
    box = bundle().shell("echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4")
    reader, writer = os.pipe()
    further, end = os.pipe()
    os.write(writer, b"activated\n")
    os.write(end, b"preserved\n")
    os.close(writer)
    os.close(end)
    script = f'exec 3<&{reader} 4<&{further}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"'
    words = capsule.words_for(verb, box, ["--preserve-fds", "1"])
    try:
        result = capsule.call(*words, scene=["/bin/bash", "-c", script], pass_fds=[reader, further])
    finally:
        os.close(reader)
        os.close(further)
    if verb == "create":
        capsule.start(box)
        capsule.wait_status(box, "stopped")
    assert result.lines == ["1 1", "activated", "preserved"]


@pytest.mark.row(181)
def test_descriptors_that_are_for_another_process_are_not_passed_on(capsule, bundle, payload):
    box = bundle().shell("echo ${LISTEN_FDS:-none}; ls /proc/self/fd | wc -l")
    (box.rootfs / "bin/wc").symlink_to("busybox")
    env = {"PATH": os.environ["PATH"], "LISTEN_FDS": "2", "LISTEN_PID": "1"}
    assert capsule.run(box, env=env).lines == ["none", "4"]


@pytest.mark.row(181)
@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.rival(runc="1.1.5 passes on descriptors of its own", crun="passes on descriptors of its own")
def test_descriptors_that_the_caller_has_not_opened_are_not_preserved(capsule, bundle, workdir, verb):
    """Their numbers are the runtime's: the state directory on the host would be open in the container."""
    box = bundle().shell("sleep 100") if verb == "exec" else bundle().shell("ls -l /proc/self/fd")
    if verb == "exec":
        capsule.start_container(box)
        words = ["exec", "--preserve-fds", "3", box.id, "ls", "-l", "/proc/self/fd"]
    else:
        words = capsule.words_for("run", box, ["--preserve-fds", "3"])
    result = capsule.call(*words, scene=["/bin/sh", "-c", 'exec 3</dev/null 4<&- 5<&-; exec "$0" "$@"'], rc=None)
    assert "preserve descriptors 3 to 5: descriptor 4 is not open" in result.err
    assert (result.rc, result.out) == (255 if verb == "exec" else 1, "")


# spec


@pytest.mark.row(180)
def test_spec_writes_into_the_bundle_it_is_given(capsule, workdir):
    (workdir / "bundle").mkdir()
    capsule.call("spec", "--bundle", "bundle", cwd=workdir, root=False)
    config = json.loads((workdir / "bundle" / "config.json").read_text())
    assert (config["process"]["args"], config["process"]["terminal"]) == (["sh"], True)
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert config["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    result = capsule.call("spec", "-b", "bundle", cwd=workdir, root=False, rc=FAILS)
    assert "Remove it first" in result.err


@pytest.mark.row(180)
def test_spec_rootless_maps_the_caller_and_asks_for_nothing_it_may_not(capsule, workdir):
    capsule.call("spec", "--rootless", cwd=workdir, root=False)
    config = json.loads((workdir / "config.json").read_text())
    linux = config["linux"]
    assert {"user", "mount", "pid"} <= {entry["type"] for entry in linux["namespaces"]}
    assert "network" not in {entry["type"] for entry in linux["namespaces"]}
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in linux
    mounts = {entry["destination"]: entry for entry in config["mounts"]}
    assert "rbind" in mounts["/sys"]["options"]
    assert not [option for option in mounts["/dev/pts"]["options"] if option.startswith("gid=")]
