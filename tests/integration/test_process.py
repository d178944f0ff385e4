"""The `process` object: what the payload finds of its user, limits, environment and directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.bundle import PATH
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")

KILL, CHOWN, BIND, SYS_ADMIN, AUDIT_WRITE = 1 << 5, 1 << 0, 1 << 10, 1 << 21, 1 << 29
NONE = {name: 0 for name in ("effective", "permitted", "inheritable", "bounding", "ambient")}


# User

@pytest.mark.row(14)
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (1000, 1000), (1, 2147483647), (2147483647, 7)])
def test_the_user_is_the_one_asked_for(capsule, bundle, uid, gid):
    facts = capsule.probe(bundle().user(uid, gid))
    assert (facts["uid"], facts["gid"]) == ([uid] * 3, [gid] * 3)


@pytest.mark.row(14, 16)
@pytest.mark.rival(runc="ends at 2147483647")
def test_ids_up_to_the_kernels_last(capsule, bundle):
    facts = capsule.probe(bundle().user(4294967294, 4294967294, 4294967293))
    assert (facts["uid"][0], facts["gid"][0]) == (4294967294, 4294967294)
    assert facts["groups"] == [4294967293]


@pytest.mark.row(16)
@pytest.mark.parametrize("groups", [(), (5,), (100, 65534, 7)])
def test_the_groups_are_those_listed_and_no_others(capsule, bundle, groups):
    facts = capsule.probe(bundle().user(1000, 1000, *groups))
    assert facts["groups"] == sorted(groups)


@pytest.mark.row(14)
def test_a_user_without_gid_gets_group_0(capsule, bundle):
    box = bundle()
    box.process["user"] = {"uid": 5}
    assert capsule.probe(box)["gid"] == [0, 0, 0]


@pytest.mark.row(15)
@pytest.mark.parametrize("umask", [0, 0o77, 0o777])
def test_the_umask_is_the_one_asked_for(capsule, bundle, umask):
    assert capsule.probe(bundle().user(0, 0, umask=umask))["umask"] == umask


@pytest.mark.row(15)
@pytest.mark.parametrize("caller", ["000", "077"])
def test_without_a_umask_it_is_022_whatever_the_callers(capsule, bundle, payload, caller):
    scene = [str(payload), "host", "umask", caller]
    assert capsule.probe(bundle(), scene=scene)["umask"] == 0o22


# Capabilities

@pytest.mark.row(18)
def test_capabilities_are_exactly_those_listed(capsule, bundle):
    box = bundle().capabilities(bounding=["CAP_KILL", "CAP_CHOWN"], permitted=["CAP_KILL"],
                                effective=["CAP_KILL"])
    box.process["noNewPrivileges"] = False
    caps = capsule.probe(box)["caps"]
    assert caps["bounding"] == KILL | CHOWN
    assert (caps["inheritable"], caps["ambient"]) == (0, 0)


@pytest.mark.row(18)
def test_no_capabilities_object_means_none(capsule, bundle):
    box = bundle().user(1000, 1000)
    del box.process["capabilities"]
    assert capsule.probe(box)["caps"] == NONE


@pytest.mark.row(18)
def test_an_ordinary_user_has_no_effective_capabilities_without_ambient_ones(capsule, bundle):
    caps = capsule.probe(bundle().user(1000, 1000).capabilities("CAP_KILL"))["caps"]
    assert caps == {**NONE, "bounding": KILL}


@pytest.mark.row(18)
def test_ambient_capabilities_reach_an_ordinary_user(capsule, bundle):
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    box = bundle().user(1000, 1000).capabilities(**{name: ["CAP_CHOWN"] for name in sets})
    assert capsule.probe(box)["caps"] == {name: CHOWN for name in sets}


@pytest.mark.row(18)
def test_the_inheritable_set_stays_empty_unless_listed(capsule, bundle):
    assert capsule.probe(bundle())["caps"]["inheritable"] == 0


@pytest.mark.row(18)
def test_root_without_new_privileges_limits_keeps_the_bounding_set(capsule, bundle):
    box = bundle().capabilities(bounding=["CAP_SYS_ADMIN"], permitted=["CAP_SYS_ADMIN", "CAP_KILL"],
                                effective=["CAP_SYS_ADMIN", "CAP_KILL"])
    caps = capsule.probe(box)["caps"]
    assert (caps["bounding"], caps["permitted"], caps["effective"]) == (SYS_ADMIN,) * 3


@pytest.mark.row(18, 176)
@pytest.mark.rival(crun="refuses unknown names")
def test_an_unknown_capability_is_a_warning(capsule, bundle):
    box = bundle(["/payload", "probe"]).capabilities("CAP_KILL", "CAP_NOT_YET_INVENTED")
    result = capsule.run(box)
    assert result.json["caps"]["effective"] == KILL
    assert "CAP_NOT_YET_INVENTED" in result.err


@pytest.mark.row(22)
@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(capsule, bundle, wanted):
    box = bundle()
    box.process["noNewPrivileges"] = wanted
    assert capsule.probe(box)["nnp"] == int(wanted)


def test_the_payload_is_an_ordinary_process(capsule, bundle):
    facts = capsule.probe(bundle())
    found = {key: facts[key] for key in ("dumpable", "keepcaps", "securebits",
                                         "subreaper", "sigblk", "sigign", "nice", "seccomp")}
    assert found == {"dumpable": 1, "keepcaps": 0, "securebits": 0,
                     "subreaper": 0, "sigblk": 0, "sigign": [], "nice": 0, "seccomp": 0}


def test_a_detached_program_outlives_whoever_started_it(capsule, bundle):
    box = bundle(["/payload", "record", "/data/facts"])
    capsule.run(box, "--detach")
    path = box.rootfs / "data/facts"
    text = wait_until(lambda: path.exists() and path.read_text().endswith("]\n") and path.read_text())
    assert json.loads(text)[1]["pdeathsig"] == 0


@pytest.mark.parametrize("number", [
    1, 2, pytest.param(13, marks=pytest.mark.rival(runc="leaves SIGPIPE blocked"))])
def test_signals_the_caller_ignores_or_blocks_are_reset(capsule, bundle, payload, number):
    facts = capsule.probe(bundle(), scene=[str(payload), "host", "ignore", str(number)])
    assert (facts["sigblk"], facts["sigign"]) == (0, [])


@pytest.mark.row(26)
@requires("cpus2")
@pytest.mark.rival(runc="1.1.5 passes the mask on", crun="passes the mask on")
def test_the_callers_cpu_mask_is_not_passed_on(capsule, bundle, payload):
    facts = capsule.probe(bundle(), scene=[str(payload), "host", "cpu", "0"])
    assert facts["cpus"] == os.cpu_count()


@pytest.mark.parametrize("score", [-500, 0, 1000])
def test_the_oom_score(capsule, bundle, score):
    if score < 0:
        box = bundle()
        box.process["oomScoreAdj"] = score
        capsule.run(box, rc=None)  # lowering needs CAP_SYS_RESOURCE, which not every root has
        return
    box = bundle()
    box.process["oomScoreAdj"] = score
    assert capsule.probe(box)["oom_score_adj"].strip() == str(score)


@pytest.mark.row(21)
def test_the_oom_score_is_left_alone_when_unset(capsule, bundle):
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        ours = file.read()
    assert capsule.probe(bundle())["oom_score_adj"] == ours


# Limits

@pytest.mark.row(23)
def test_rlimits(capsule, bundle):
    box = bundle()
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                              {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                              {"type": "RLIMIT_CPU", "soft": 60, "hard": 2**64 - 1}]
    limits = capsule.probe(box)["rlimits"]
    assert limits["RLIMIT_NOFILE"] == [100, 200]
    assert limits["RLIMIT_CORE"] == [0, 0]
    assert limits["RLIMIT_CPU"] == [60, 2**64 - 1]


@pytest.mark.row(23)
@requires("sys_resource")
def test_an_rlimit_may_be_above_the_callers(capsule, bundle, payload):
    box = bundle()
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 4096, "hard": 8192}]
    facts = capsule.probe(box, scene=[str(payload), "host", "nofile", "1024"])
    assert facts["rlimits"]["RLIMIT_NOFILE"] == [4096, 8192]


@pytest.mark.row(23)
def test_the_callers_limits_pass_through_unchanged(capsule, bundle, payload):
    facts = capsule.probe(bundle(), scene=[str(payload), "host", "nofile", "777"])
    assert facts["rlimits"]["RLIMIT_NOFILE"] == [777, 777]


@pytest.mark.rival(runc="needs descriptors after it has set the limit")
def test_a_tiny_file_limit_does_not_break_the_set_up(capsule, bundle):
    box = bundle()
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 4, "hard": 4}]
    assert capsule.run(box.args("/payload", "exit", "9"), rc=9)


# Environment and arguments

@pytest.mark.row(11)
def test_the_environment_is_the_configured_one(capsule, bundle):
    facts = capsule.probe(bundle().env("ONE=1", "TWO=a=b", "EMPTY="), env={"SECRET": "host"})
    assert set(facts["env"]) == {PATH, "TERM=xterm", "ONE=1", "TWO=a=b", "EMPTY=", "HOME=/root"}


@pytest.mark.row(11)
@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/user"), (4242, "/")])
def test_home_comes_from_the_containers_passwd(capsule, bundle, uid, home):
    assert f"HOME={home}" in capsule.probe(bundle().user(uid, uid))["env"]


@pytest.mark.row(11)
def test_a_configured_home_stays(capsule, bundle):
    env = capsule.probe(bundle().env("HOME=/elsewhere"))["env"]
    assert [entry for entry in env if entry.startswith("HOME=")] == ["HOME=/elsewhere"]


@pytest.mark.row(11)
@pytest.mark.rival(crun="leaves it empty")
def test_an_empty_home_is_replaced(capsule, bundle):
    env = capsule.probe(bundle().env("HOME="))["env"]
    assert [entry for entry in env if entry.startswith("HOME=")] == ["HOME=/root"]


@pytest.mark.row(11)
@pytest.mark.rival(crun="keeps both")
def test_of_two_values_of_a_variable_the_last_wins(capsule, bundle):
    env = capsule.probe(bundle().env("A=1", "B=2", "A=3"))["env"]
    assert [entry for entry in env if entry.startswith("A=")] == ["A=3"]


@pytest.mark.row(11)
def test_a_value_with_newlines_and_unicode_survives(capsule, bundle):
    env = capsule.probe(bundle().env("TEXT=one\ntwo\u00e4\u4e2d"))["env"]
    assert "TEXT=one\ntwo\u00e4\u4e2d".encode().decode("latin-1") in env


@pytest.mark.rival(runc="waits for a writer for ever")
def test_home_survives_a_passwd_that_is_no_file(capsule, bundle):
    box = bundle()
    (box.rootfs / "etc/passwd").unlink()
    os.mkfifo(box.rootfs / "etc/passwd")
    assert "HOME=/" in capsule.probe(box)["env"]


@pytest.mark.rival(runc="gives it to the container's user", crun="gives it to the container's user", strict=False)
def test_a_named_pipe_of_the_host_keeps_its_owner(capsule, bundle, workdir):
    """Only a pipe without a name is the container's alone (CVE-2026-88265's class)."""
    os.mkfifo(workdir / "fifo", 0o600)
    fd = os.open(workdir / "fifo", os.O_RDWR)
    try:
        capsule.run(bundle(["/payload", "exit", "0"]).user(1000, 1000), stdin=fd)
    finally:
        os.close(fd)
    assert os.stat(workdir / "fifo").st_uid == os.geteuid()


@pytest.mark.rival(runc="puts a pipe between where it stays in the foreground", crun="leaves it as it is")
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_output_to_a_null_device_that_is_read_only_is_no_error(capsule, bundle, verb):
    """containerd gives such a device to a container whose output nobody wants."""
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        box = bundle(["/payload", "record", "/tmp/facts"])
        if verb == "run":
            capsule.run(box, stdout=fd, stderr=fd)
        else:
            capsule.start_container(box.args("/payload", "pause"))
            capsule.exec(box, "/payload", "record", "/tmp/facts", stdout=fd, stderr=fd)
    finally:
        os.close(fd)
    _, facts = json.loads((box.rootfs / "tmp/facts").read_text())
    error = next(entry for entry in facts["fds"] if entry["fd"] == 2)
    assert error["rdev"] == os.makedev(1, 3)
    assert error["flags"] & os.O_ACCMODE == os.O_RDWR


@requires("strace")
@pytest.mark.rival(runc="not looked into", crun="not looked into", strict=False)
def test_what_a_container_calls_its_null_device_is_never_opened(capsule, bundle, workdir):
    """Opening alone sets some devices off, a watchdog for one; no device rules of the container hold for S2."""
    box = bundle(["/payload", "pause"])
    null = Path(f"/proc/{capsule.start_container(box)}/root/dev/null")
    null.unlink()
    os.mknod(null, 0o020666, os.makedev(1, 5))
    with open("/dev/null", "rb") as output:
        trace = ["strace", "-f", "-yy", "-e", "trace=openat,openat2", "-o", str(workdir / "trace")]
        capsule.exec(box, "/payload", "exit", "0", stdout=output.fileno(), stderr=output.fileno(), scene=trace)
    assert "/dev/null<char 1:3>" in (workdir / "trace").read_text()
    assert "<char 1:5>" not in (workdir / "trace").read_text()


@pytest.mark.row(12)
def test_arguments_are_passed_verbatim(capsule, bundle):
    words = ["", " ", "a b", "\u00e4", "-x", "--", "*", "'\""]
    box = bundle(["/payload", "probe", *words])
    argv = capsule.run(box).json["argv"]
    assert argv == [word.encode().decode("latin-1") for word in words]


@pytest.mark.row(11, 12)
def test_many_arguments_and_a_large_environment(capsule, bundle):
    words = [f"argument-{number}" for number in range(5000)]
    box = bundle(["/payload", "probe", *words]).env("BIG=" + "x" * 100_000)
    facts = capsule.run(box).json
    assert facts["argv"] == words
    assert "BIG=" + "x" * 100_000 in facts["env"]


@pytest.mark.row(12)
def test_the_program_is_looked_for_in_the_containers_path(capsule, bundle):
    box = bundle(["true"])
    capsule.run(box)
    box = bundle(["payload", "exit", "4"])
    box.process["env"] = ["PATH=/nowhere:/"]
    capsule.run(box, rc=4)


@pytest.mark.row(12)
def test_a_relative_program_is_found_from_the_working_directory(capsule, bundle):
    box = bundle(["./busybox", "true"])
    box.process["cwd"] = "/bin"
    capsule.run(box)


@pytest.mark.row(12)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_program_that_is_not_in_path_is_an_error_engines_know(capsule, bundle, verb):
    box = bundle(["no-such-program"])
    result = getattr(capsule, verb)(box, rc=1)
    assert "executable file not found in $PATH" in result.err
    assert not capsule.exists(box)


def test_a_program_that_does_not_exist_is_an_error_engines_know(capsule, bundle):
    box = bundle(["/no/such/program"])
    assert "no such file or directory" in capsule.run(box, rc=FAILS).err
    assert not capsule.exists(box)


def test_a_program_that_may_not_be_executed_is_an_error_engines_know(capsule, bundle):
    box = bundle(["/data/plain"]).file("/data/plain", "text", 0o644)
    assert "permission denied" in capsule.run(box, rc=FAILS).err
    assert not capsule.exists(box)


def test_a_script_whose_interpreter_is_missing_is_an_error(capsule, bundle):
    box = bundle(["/data/script"]).file("/data/script", "#!/missing\n", 0o755)
    assert "no such file or directory" in capsule.run(box, rc=FAILS).err
    assert not capsule.exists(box)


def test_a_file_of_no_known_format_is_an_error(capsule, bundle):
    box = bundle(["/data/noise"]).file("/data/noise", b"\x00\x01\x02", 0o755)
    assert "exec format error" in capsule.run(box, rc=FAILS).err


# Working directory

@pytest.mark.row(10)
def test_the_working_directory(capsule, bundle):
    box = bundle()
    box.process["cwd"] = "/usr/bin"
    assert capsule.probe(box)["cwd"] == "/usr/bin"


@pytest.mark.row(10)
def test_a_missing_working_directory_is_made(capsule, bundle):
    box = bundle()
    box.process["cwd"] = "/data/new/deep"
    assert capsule.probe(box)["cwd"] == "/data/new/deep"


@pytest.mark.row(10)
def test_a_working_directory_that_is_a_symlink_is_followed(capsule, bundle):
    box = bundle().symlink("/link", "/usr/bin")
    box.process["cwd"] = "/link"
    assert capsule.probe(box)["cwd"] == "/usr/bin"


@pytest.mark.row(10)
def test_a_working_directory_only_the_user_may_enter(capsule, bundle):
    box = bundle().user(1000, 1000)
    directory = box.rootfs / "data/private"
    directory.mkdir(mode=0o700)
    os.chown(directory, 1000, 1000)
    box.process["cwd"] = "/data/private"
    assert capsule.probe(box)["cwd"] == "/data/private"


@pytest.mark.row(10)
def test_a_working_directory_only_the_runtime_may_enter(capsule, bundle):
    box = bundle().user(1000, 1000)
    (box.rootfs / "data/private").mkdir(mode=0o700)
    box.process["cwd"] = "/data/private"
    assert capsule.probe(box)["cwd"] == "/data/private"


def test_a_working_directory_that_is_a_file_is_an_error(capsule, bundle):
    box = bundle().file("/data/file")
    box.process["cwd"] = "/data/file"
    capsule.run(box, rc=FAILS)
    assert not capsule.exists(box)


# Names, keyring, descriptors

@pytest.mark.row(3)
def test_the_hostname_and_domainname(capsule, bundle):
    box = bundle()
    box.config["hostname"] = "a-name"
    assert capsule.probe(box)["hostname"] == "a-name"


@pytest.mark.row(4)
@pytest.mark.rival(runc="1.1.5 does not know domainname")
def test_the_domainname(capsule, bundle):
    box = bundle()
    box.config["domainname"] = "example.org"
    assert capsule.probe(box)["domainname"] == "example.org"


def test_a_session_keyring_of_its_own(capsule, bundle):
    box = bundle()
    facts = capsule.probe(box)
    assert f"_ses.{box.id}" in facts["keyring"]["description"]


@pytest.mark.rival(crun="has no --no-new-keyring before 1.9")
def test_no_new_keyring_leaves_the_callers(capsule, bundle):
    box = bundle()
    facts = capsule.probe(box, "--no-new-keyring")
    assert f"_ses.{box.id}" not in (facts["keyring"]["description"] or "")


def test_only_stdio_reaches_the_program(capsule, bundle):
    assert [entry["fd"] for entry in capsule.probe(bundle())["fds"]] == [0, 1, 2]


def test_the_program_leads_a_session_without_a_terminal(capsule, bundle):
    facts = capsule.probe(bundle())
    assert (facts["pid"], facts["sid"], facts["pgrp"]) == (1, 1, 1)
    assert facts["tty"]["controlling"] is False


@pytest.mark.row(181)
def test_preserved_descriptors_reach_the_program_and_no_others(capsule, bundle, payload):
    scene = [str(payload), "host", "directories", "3"]
    facts = capsule.probe(bundle(), "--preserve-fds", "2", scene=scene)
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2, 3, 4]


def test_descriptors_of_the_caller_are_not_passed_on(capsule, bundle, payload):
    facts = capsule.probe(bundle(), scene=[str(payload), "host", "directories", "20"])
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]
