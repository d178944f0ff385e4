"""exec: more processes in a container, with the container's confinement and their own wishes."""

from __future__ import annotations

import json
import os
import signal

import pytest
from helpers.bundle import PATH
from helpers.process import is_alive
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")

KILL, CHOWN, SYSLOG = 1 << 5, 1 << 0, 1 << 34


@pytest.fixture
def box(capsule, bundle):
    """Give a bundle whose container runs."""
    made = bundle(["/payload", "pause"])
    capsule.start_container(made)
    return made


def process(**fields) -> dict:
    return {"args": ["/payload", "probe"], "cwd": "/", "env": [PATH], "user": {"uid": 0, "gid": 0},
            **fields}


@pytest.fixture
def probe_process(capsule, box, workdir):
    """Return a function that runs a process.json with the given fields and returns the facts."""
    def run(**fields):
        (workdir / "process.json").write_text(json.dumps(process(**fields)))
        return capsule.exec(box, flags=["--process", workdir / "process.json"]).json
    return run


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exec_returns_the_status_of_its_program(capsule, box, status):
    capsule.exec(box, "/payload", "exit", str(status), rc=status)


def test_exec_returns_128_and_the_signal(capsule, box):
    running = capsule.spawn_exec(box, "/bin/sleep", "100")
    pids = wait_until(lambda: [pid for pid in capsule.ps(box, "--format", "json").json
                               if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "busybox"])
    os.kill(pids[0], signal.SIGKILL)
    assert running.wait().rc == 137


def test_exec_joins_every_namespace_and_cgroup_of_the_container(capsule, box):
    pid = capsule.pid(box)
    facts = capsule.probe_exec(box)
    for name in ("ipc", "mnt", "net", "pid", "uts", "cgroup", "user"):
        assert facts["ns"][name] == os.stat(f"/proc/{pid}/ns/{name}").st_ino
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        assert facts["cgroup"] == file.read()


def test_exec_sees_the_containers_root(capsule, box):
    assert capsule.exec(box, "/bin/cat", "/etc/passwd").out.startswith("root:x:0:0:root:/root")


def test_exec_passes_stdio(capsule, box):
    assert capsule.exec(box, "/payload", "cat", stdin=b"text" * 50000).raw == b"text" * 50000
    result = capsule.exec(box, "/bin/sh", "-c", "echo err >&2; echo out")
    assert (result.out, result.err) == ("out\n", "err\n")


def test_exec_in_a_created_container_leaves_it_created(capsule, bundle):
    made = bundle(["/payload", "pause"])
    capsule.create(made)
    capsule.exec(made, "/payload", "exit", "3", rc=3)
    assert capsule.status(made) == "created"


@pytest.mark.row(179)
@pytest.mark.rival(runc="1.1.5 forgets the umask")
def test_exec_has_the_containers_user_umask_limits_and_groups(capsule, bundle):
    made = bundle(["/payload", "pause"]).user(1000, 1001, 7, umask=0o27)
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 70, "hard": 80}]
    capsule.start_container(made)
    facts = capsule.probe_exec(made)
    assert (facts["uid"][0], facts["gid"][0], facts["groups"]) == (1000, 1001, [7])
    assert facts["umask"] == 0o27
    assert facts["rlimits"]["RLIMIT_NOFILE"] == [70, 80]


def test_exec_is_confined_like_the_container(capsule, box):
    first, facts = capsule.pid(box), capsule.probe_exec(box)
    with open(f"/proc/{first}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    assert facts["caps"]["effective"] == int(status["CapEff"], 16)
    assert facts["caps"]["bounding"] == int(status["CapBnd"], 16)
    assert facts["caps"]["inheritable"] == facts["caps"]["ambient"] == 0
    assert facts["nnp"] == int(status["NoNewPrivs"])
    assert (facts["dumpable"], facts["sigblk"]) == (1, 0)


def test_exec_has_stdio_and_no_other_descriptor(capsule, box, payload):
    facts = capsule.probe_exec(box, scene=[str(payload), "host", "directories", "10"])
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]


# Flags

@pytest.mark.row(179)
def test_cwd(capsule, box):
    assert capsule.probe_exec(box, ["--cwd", "/usr/bin"])["cwd"] == "/usr/bin"


def test_without_cwd_it_is_the_containers(capsule, bundle):
    made = bundle(["/payload", "pause"])
    made.process["cwd"] = "/etc"
    capsule.start_container(made)
    assert capsule.probe_exec(made)["cwd"] == "/etc"


@pytest.mark.row(179)
def test_env_adds_to_the_containers(capsule, box):
    env = capsule.probe_exec(box, ["--env", "ONE=1", "--env", "TWO=a=b"], env={"SECRET": "x"})["env"]
    assert set(env) == {PATH, "TERM=xterm", "HOME=/root", "ONE=1", "TWO=a=b"}


@pytest.mark.row(179)
@pytest.mark.parametrize(("word", "uid", "gid"), [
    ("1000:1001", 1000, 1001), ("1000", 1000, 0), ("0", 0, 0), ("2147483647:5", 2147483647, 5)])
def test_user(capsule, box, word, uid, gid):
    facts = capsule.probe_exec(box, ["--user", word])
    assert (facts["uid"], facts["gid"]) == ([uid] * 3, [gid] * 3)


def test_the_home_of_user_comes_from_the_containers_passwd(capsule, box):
    assert "HOME=/home/user" in capsule.probe_exec(box, ["--user", "1000"])["env"]


@pytest.mark.row(179)
@pytest.mark.rival(crun="1.8.1 has no such flag")
def test_additional_gids(capsule, box):
    flags = ["--user", "1000:1000", "--additional-gids", "100", "--additional-gids", "65534"]
    assert capsule.probe_exec(box, flags)["groups"] == [100, 65534]


@pytest.mark.row(179)
def test_cap_adds_a_capability_and_never_an_inheritable_one(capsule, box):
    before = capsule.probe_exec(box)["caps"]
    caps = capsule.probe_exec(box, ["--cap", "CAP_SYSLOG"])["caps"]
    assert caps["effective"] == before["effective"] | SYSLOG
    assert caps["bounding"] == before["bounding"] | SYSLOG
    assert caps["inheritable"] == caps["ambient"] == 0


def test_flags_end_at_the_id(capsule, box):
    assert capsule.exec(box, "/bin/echo", "--cwd", "-e", "--", "-x").out == "--cwd -e -- -x\n"


@pytest.mark.row(179, 181)
def test_preserved_descriptors(capsule, box, payload):
    scene = [str(payload), "host", "directories", "4"]
    facts = capsule.probe_exec(box, ["--preserve-fds", "2"], scene=scene)
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2, 3, 4]


@pytest.mark.row(179)
def test_detach_returns_while_the_program_runs(capsule, box, workdir):
    capsule.exec(box, "/payload", "pause", flags=["--detach", "--pid-file", workdir / "pid"])
    pid = int((workdir / "pid").read_text())
    assert is_alive(pid)
    assert pid != capsule.pid(box)
    assert pid in capsule.ps(box, "--format", "json").json


@pytest.mark.row(179)
def test_the_pid_file_is_the_execs_pid_in_the_callers_directory(capsule, box, workdir):
    running = capsule.spawn_exec(box, "/payload", "pause", flags=["--pid-file", "pid"], cwd=workdir)
    pid = wait_until(lambda: (workdir / "pid").exists() and (workdir / "pid").read_text())
    assert int(pid) in capsule.ps(box, "--format", "json").json
    os.kill(int(pid), signal.SIGKILL)
    assert running.wait().rc == 137


@pytest.mark.row(179)
@pytest.mark.rival(runc="1.1.5 forgets the umask")
# --process

@pytest.mark.row(179)
def test_a_process_file_is_the_whole_process(probe_process):
    facts = probe_process(user={"uid": 7, "gid": 8, "additionalGids": [9], "umask": 0o77},
                          cwd="/usr", env=["ONE=1", "HOME=/h"],
                          capabilities={"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"],
                                        "permitted": ["CAP_KILL"]})
    assert (facts["uid"][0], facts["gid"][0], facts["groups"], facts["umask"]) == (7, 8, [9], 0o77)
    assert facts["cwd"] == "/usr"
    assert sorted(facts["env"]) == ["HOME=/h", "ONE=1"]
    assert facts["caps"]["bounding"] == KILL


def test_a_process_file_with_rlimits_and_no_new_privileges(probe_process):
    facts = probe_process(rlimits=[{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}], noNewPrivileges=True)
    assert facts["rlimits"]["RLIMIT_CORE"] == [1, 2]
    assert facts["nnp"] == 1


def test_a_process_without_env_has_a_home(capsule, box, workdir):
    text = process()
    del text["env"]
    (workdir / "process.json").write_text(json.dumps(text))
    facts = capsule.exec(box, flags=["--process", workdir / "process.json"]).json
    assert facts["env"] == ["HOME=/root"]


@pytest.mark.row(179)
def test_a_process_file_may_be_a_pipe(capsule, box):
    reader, writer = os.pipe()
    os.write(writer, json.dumps(process(args=["/payload", "exit", "6"])).encode())
    os.close(writer)
    try:
        capsule.exec(box, flags=["--process", f"/dev/fd/{reader}"], pass_fds=[reader], rc=6)
    finally:
        os.close(reader)


@pytest.mark.row(179)
def test_a_process_file_may_be_standard_input_or_a_named_pipe(capsule, box, workdir):
    text = json.dumps(process(args=["/payload", "exit", "7"])).encode()
    capsule.exec(box, flags=["--process", "/dev/stdin"], stdin=text, rc=7)
    os.mkfifo(workdir / "fifo")
    running = capsule.spawn_exec(box, flags=["--process", workdir / "fifo"])
    (workdir / "fifo").write_bytes(text)  # opens when the runtime has
    assert running.wait().rc == 7


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"args": ["x"], "cwd": "relative"}',
                                  b'{"cwd": "/"}', b'{"args": [], "cwd": "/"}'])
def test_a_bad_process_file_is_refused(capsule, box, workdir, text):
    (workdir / "process.json").write_bytes(text)
    result = capsule.exec(box, flags=["--process", workdir / "process.json"], rc=FAILS)
    assert "Traceback" not in result.err
    assert capsule.status(box) == "running"


# Failures

def test_a_missing_program_is_255_in_the_words_engines_know(capsule, box):
    assert "executable file not found in $PATH" in capsule.exec(box, "nothing", rc=255).err
    assert "no such file or directory" in capsule.exec(box, "/no/thing", rc=255).err
    assert "permission denied" in capsule.exec(box, "/etc/passwd", rc=255).err


def test_an_unknown_container_is_255(capsule):
    assert "does not exist" in capsule.exec("nobody", "true", rc=255).err


def test_a_stopped_container_is_255(capsule, bundle):
    made = bundle(["/payload", "exit", "0"])
    capsule.create(made)
    capsule.start(made)
    capsule.wait_status(made, "stopped")
    capsule.exec(made, "/payload", "exit", "0", rc=255)


def test_a_pid_file_that_cannot_be_made_is_255(capsule, box):
    capsule.exec(box, "/payload", "exit", "0", flags=["--pid-file", "/no/such/pid"], rc=255)


@pytest.mark.parametrize("word", [
    "x", pytest.param("4294967296", marks=pytest.mark.rival(runc="1.1.5 wraps it around")), "-1", "1:x", "0x1", "1e3",
    " 1", "root:root", "\u0663"])
def test_a_user_that_is_no_number_in_range_is_refused(capsule, box, word):
    capsule.exec(box, "/payload", "exit", "0", flags=["--user", word], rc=FAILS)


@pytest.mark.parametrize("word", ["ONE", "=1", ""])
def test_a_variable_without_name_or_value_is_refused(capsule, box, word):
    capsule.exec(box, "/payload", "exit", "0", flags=["--env", word], rc=FAILS)


def test_no_command_is_refused(capsule, box):
    capsule.exec(box, rc=FAILS)


@pytest.mark.row(179)
@requires("cgroup1")
def test_a_paused_container_refuses_exec_until_it_is_resumed(capsule, box):
    capsule.call("pause", box.id)
    assert capsule.status(box) == "paused"
    result = capsule.exec(box, "/bin/true", rc=255, timeout=10)
    assert "cannot exec in a paused container" in result.err
    capsule.call("resume", box.id)
    capsule.exec(box, "/bin/true")


@requires("cgroup1")
def test_delete_force_of_a_paused_container(capsule, box):
    capsule.call("pause", box.id)
    capsule.delete(box, "--force")
    assert not capsule.exists(box)


@requires("userns")
def test_exec_in_a_user_namespace(capsule, bundle):
    made = bundle(["/payload", "pause"]).user_namespace()
    pid = capsule.start_container(made)
    facts = capsule.probe_exec(made, ["--user", "5:6"])
    assert facts["ns"]["user"] == os.stat(f"/proc/{pid}/ns/user").st_ino
    assert (facts["uid"][0], facts["gid"][0]) == (5, 6)
    assert capsule.probe_exec(made)["uid"] == [0, 0, 0]


def test_an_exec_that_is_running_dies_with_the_container(capsule, box):
    running = capsule.spawn_exec(box, "/payload", "pause")
    wait_until(lambda: len(capsule.ps(box, "--format", "json").json) == 2)
    capsule.kill(box, "KILL")
    assert running.wait().rc == 137


def test_ten_execs_at_once(capsule, box):
    running = [capsule.spawn_exec(box, "/payload", "exit", str(number)) for number in range(10)]
    assert [one.wait().rc for one in running] == list(range(10))
