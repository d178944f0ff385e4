"""Rules of config.json's top level and `process`: what is refused, in which words, and that nothing is left."""

from __future__ import annotations

import json
import os

import pytest
from helpers.process import is_alive
from helpers.requires import requires
from helpers.runtime import FAILS, one_line

pytestmark = requires("root", "runtime", "busybox", "gcc")

LIMIT = {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}


REFUSED = [
    pytest.param("ociVersion", "is required", lambda c: c.pop("ociVersion")),
    pytest.param("ociVersion", "expected major version 1", lambda c: c.update(ociVersion="2.0.0")),
    pytest.param("ociVersion", "semantic version", lambda c: c.update(ociVersion="1.0")),
    pytest.param("annotations", "keys that are not empty", lambda c: c.update(annotations={"": "v"})),
    pytest.param('annotations["a.b"]', "a string", lambda c: c.update(annotations={"a.b": 1})),
    pytest.param("hostname", "needs a uts namespace", lambda c: c["linux"].update(namespaces=[{"type": "mount"}])),
    pytest.param("domainname", "kernel.domainname", lambda c: (c.update(domainname="one"), c["linux"].update(
        sysctl={"kernel.domainname": "two"}))),
    pytest.param("root.path", "is required", lambda c: c["root"].pop("path")),
    pytest.param("root.path", "no such file or directory", lambda c: c["root"].update(path="/no/such")),
    pytest.param("process.consoleSize.width", "from 0 to 65535", lambda c: c["process"].update(
        terminal=True, consoleSize={"height": 1, "width": 65536})),
    pytest.param("process.cwd", "expected an absolute path", lambda c: c["process"].update(cwd="tmp")),
    pytest.param("process.cwd", "is required", lambda c: c["process"].pop("cwd")),
    pytest.param("process.env[0]", "expected NAME=value", lambda c: c["process"].update(env=["=x"])),
    pytest.param("process.args", "at least one argument", lambda c: c["process"].update(args=[])),
    pytest.param("process.args", "at least one argument", lambda c: c["process"].pop("args")),
    *[pytest.param(f"process.user.{key}", "from 0 to 4294967294", lambda c, key=key, value=value:
                   c["process"]["user"].update({key: value}), id=f"{key} {value}")
      for key in ("uid", "gid") for value in (4294967295, -1, 4294967296)],
    pytest.param("process.user.umask", "from 0 to 511", lambda c: c["process"]["user"].update(umask=0o1000)),
    pytest.param("process.user.additionalGids[1]", "from 0 to 4294967294", lambda c: c["process"]["user"].update(
        additionalGids=[1, 4294967295])),
    pytest.param("process.oomScoreAdj", "from -1000 to 1000", lambda c: c["process"].update(oomScoreAdj=-1001)),
    pytest.param("process.noNewPrivileges", "true or false", lambda c: c["process"].update(noNewPrivileges=1)),
    pytest.param("process.rlimits[1].type", "RLIMIT_NOFILE is given twice", lambda c: c["process"].update(
        rlimits=[LIMIT, {**LIMIT, "soft": 5}])),
    pytest.param("process.rlimits[0].type", "expected one of RLIMIT_CPU", lambda c: c["process"].update(
        rlimits=[{**LIMIT, "type": "RLIMIT_FUN"}])),
    pytest.param("process.rlimits[0].soft", "at most the hard limit", lambda c: c["process"].update(
        rlimits=[{**LIMIT, "soft": 11}])),
    pytest.param("hooks.poststop[0].path", "absolute", lambda c: c.update(hooks={"poststop": [{"path": "x"}]})),
    pytest.param("hooks.prestart[0].timeout", "from 1", lambda c: c.update(
        hooks={"prestart": [{"path": "/x", "timeout": 0}]})),
    pytest.param("linux.seccomp.defaultAction", "is required", lambda c: c["linux"].update(
        seccomp={"syscalls": []})),
    pytest.param("linux.seccomp.syscalls[0].errnoRet", "from 0 to 4095", lambda c: c["linux"].update(
        seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70000}]})),
    pytest.param("linux.seccomp.defaultErrnoRet", "from 0 to 4095", lambda c: c["linux"].update(
        seccomp={"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096})),
    pytest.param("linux.seccomp.syscalls[0].errnoRet", "the action SCMP_ACT_ALLOW takes no errno",
                 lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                     {"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}]})),
    *[pytest.param("linux.seccomp.defaultErrnoRet", f"the action {action} takes no errno", lambda c, action=action:
                   c["linux"].update(seccomp={"defaultAction": action, "defaultErrnoRet": 1}),
                   id=f"errno of {action}")
      for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRAP")],
    pytest.param("linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_TSYNC", lambda c: c["linux"].update(
        seccomp={"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FUN"]})),
    pytest.param("linux.seccomp.architectures[0]", "SCMP_ARCH_LOONGARCH64", lambda c: c["linux"].update(
        seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]})),
    *[pytest.param(f"linux.seccomp.syscalls[0].args[0].{key}", words, lambda c, key=key, value=value:
                   c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                       {"names": ["socket"], "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ", key: value}]}]}),
                   id=f"{key} {value}")
      for key, value, words in (("index", 6, "from 0 to 5"), ("op", "SCMP_CMP_NO", "SCMP_CMP_MASKED_EQ"),
                                ("value", 2**64, "from 0 to 18446744073709551615"), ("value", 1.5, "an integer"),
                                ("value", -1, "an integer"))],
]


@pytest.mark.row(1, 2, 3, 4, 5, 9, 10, 11, 12, 14, 15, 16, 21, 22, 23, 120, 121, 122, 123, 124, 125, 151, 172)
@pytest.mark.rival(runc="refuses less, in other words", crun="refuses less, in other words", strict=False)
@pytest.mark.parametrize(("path", "words", "change"), REFUSED)
def test_a_value_that_the_specification_forbids_is_refused_with_its_path(capsule, bundle, path, words, change):
    box = bundle(["/payload", "exit", "0"]).edit(change)
    line = one_line(capsule.create(box, rc=1)).replace('\\"', '"')
    assert path in line and words in line, line
    assert not capsule.exists(box)


@pytest.mark.row(1, 13, 17)
@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.7"])
def test_versions_and_properties_that_are_not_ours_to_know(capsule, bundle, version):
    box = bundle(["/payload", "exit", "7"])
    box.config.update({"ociVersion": version, "windows": {"layerFolders": ["x"]}, "vm": 1, "x-vendor": {"any": [None]}})
    box.process.update(commandLine="cmd.exe", x={"y": 1})
    box.process["user"]["username"] = "ContainerAdministrator"
    capsule.create(box)
    assert capsule.state(box)["ociVersion"] == version
    capsule.start(box)


@pytest.mark.row(1)
@pytest.mark.rival(crun="matches keys exactly", strict=False)
def test_keys_match_in_any_case_as_go_reads_them(capsule, bundle):
    box = bundle()
    box.config["Hostname"] = box.config.pop("hostname")
    box.process["CWD"] = box.process.pop("cwd") + "tmp"
    box.process["noNewprivileges"] = box.process.pop("noNewPrivileges")
    facts = capsule.probe(box)
    assert (facts["hostname"], facts["cwd"], facts["nnp"]) == ("box", "/tmp", 1)


@pytest.mark.row(1)
@pytest.mark.rival(runc="takes the last", crun="takes the exact one", strict=False)
def test_a_key_in_two_spellings_is_refused(capsule, bundle):
    box = bundle()
    box.process["Cwd"] = "/tmp"
    assert '"Cwd\\" is given twice, in different case' in one_line(capsule.run(box, rc=1))


@pytest.mark.row(2, 170)
def test_annotations_are_the_states(capsule, bundle):
    box = bundle(["/payload", "pause"])
    box.config["annotations"] = {"org.example.key": "value", "a": "", "\u00e4 b": "\n"}
    capsule.create(box)
    assert capsule.state(box)["annotations"] == box.config["annotations"]


@pytest.mark.row(7)
@pytest.mark.rival(runc="refuses the config", crun="fails create late")
def test_without_a_process_create_works_and_start_fails_before_anything_runs(capsule, bundle):
    box = bundle()
    del box.config["process"]
    capsule.create(box)
    state = capsule.state(box)
    assert state["status"] == "created" and is_alive(state["pid"])
    for _ in range(2):
        line = one_line(capsule.start(box, rc=FAILS))
        assert f"start {box.id}: its config has no process to start" in line
    assert capsule.state(box) == state
    capsule.delete(box, "--force")
    assert not is_alive(state["pid"])


@pytest.mark.row(7)
@pytest.mark.rival(runc="refuses the config", crun="fails create late", strict=False)
def test_a_run_without_a_process_leaves_nothing(capsule, bundle):
    box = bundle()
    del box.config["process"]
    assert "no process to start" in one_line(capsule.run(box, rc=FAILS))
    assert not capsule.exists(box)


@pytest.mark.row(7)
@pytest.mark.rival(runc="refuses the config", crun="fails create late")
def test_an_exec_into_a_container_without_a_process(capsule, bundle, workdir):
    """It has nothing to inherit, so its own process.json says all."""
    box = bundle()
    process = {**box.config.pop("process"), "args": ["/payload", "probe"]}
    capsule.create(box)
    (workdir / "process.json").write_text(json.dumps(process))
    facts = capsule.call("exec", "--process", workdir / "process.json", box.id).json
    assert facts["ns"]["net"] == os.stat(f"/proc/{capsule.pid(box)}/ns/net").st_ino


@pytest.mark.row(18, 176)
@pytest.mark.rival(crun="refuses unknown names")
@pytest.mark.parametrize("form", ["text", "json"])
def test_an_unknown_capability_is_in_the_log_and_changes_nothing(capsule, bundle, workdir, form):
    box = bundle(["/payload", "probe"]).capabilities("CAP_KILL", "CAP_NOT_YET_INVENTED")
    log = workdir / "log"
    result = capsule.call("--log", log, "--log-format", form, *capsule.words_for("run", box))
    assert result.json["caps"]["effective"] == 1 << 5
    lines = [line for line in log.read_text().splitlines() if "CAP_NOT_YET_INVENTED" in line]
    assert len(lines) == 1
    if form == "json":
        record = json.loads(lines[0])
        assert record["level"] == "warning" and "CAP_NOT_YET_INVENTED" in record["msg"]
    else:
        assert "warning" in lines[0]


@pytest.mark.row(9)
def test_a_console_size_without_a_terminal_is_ignored(capsule, bundle):
    box = bundle()
    box.process["consoleSize"] = {"height": 1, "width": 70000}
    assert capsule.probe(box)["tty"]["stdin"] is False


@pytest.mark.row(155)
@pytest.mark.rival(runc="1.1.5 leaves the container running", crun="differs", strict=False)
def test_a_failing_poststart_hook_ends_in_nothing_left(capsule, bundle, workdir, payload):
    """Stopped, removed, poststop hooks run."""
    box = bundle(["/payload", "pause"]).hook("poststart", "/bin/false")
    box.hook("poststop", str(payload), "append", str(workdir / "said"), "poststop")
    capsule.create(box)
    pid = capsule.pid(box)
    assert "poststart" in one_line(capsule.start(box, rc=FAILS))
    assert not capsule.exists(box) and not is_alive(pid)
    assert (workdir / "said").read_text() == "poststop\n"


@pytest.mark.row(158)
@pytest.mark.rival(runc="1.1.5 runs poststart hooks in create", strict=False)
@pytest.mark.parametrize("how", ["run", "create and start"])
def test_poststart_runs_once_and_after_the_program_was_executed(capsule, bundle, workdir, payload, how):
    """The hook looks at the program of the pid that it is told."""
    said = workdir / "said"
    script = ('read -r state; pid=${state#*\\"pid\\":}; pid=${pid%%[,\\}]*};'
              f"tr '\\0' ' ' < /proc/$((pid))/cmdline >> {said}; echo >> {said}")
    box = bundle(["/payload", "pause"])
    box.hook("poststart", "/bin/sh", "-c", script, env=["PATH=/usr/bin:/bin"])
    if how == "run":
        capsule.run(box, "--detach")
    else:
        capsule.create(box)
        assert not said.exists()
        capsule.start(box)
    assert said.read_text() == "/payload pause \n"


# Seccomp

@pytest.mark.row(125)
def test_u64_arguments_are_exact(capsule, bundle):
    """2**63 + 1 is no float; the difference of one must count."""
    value = 2**63 + 1
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
            "args": [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}]}

    def answer(argument: int) -> int:
        box = bundle(["/payload", "syscall", "135", "0xffffffff", str(argument - 2**64)])
        return capsule.run(box.seccomp("SCMP_ACT_ALLOW", rule)).json["errno"]
    assert (answer(value), answer(value + 1), answer(value - 1)) == (77, 0, 0)


@pytest.mark.row(125)
def test_two_conditions_on_one_argument_are_alternatives(capsule, bundle):
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [
        {"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}
    found = [capsule.run(bundle(["/payload", "syscall", "135", "0xffffffff", str(word)]).seccomp(
        "SCMP_ACT_ALLOW", rule)).json["errno"] for word in (5, 9, 7)]
    assert found == [77, 77, 0]


@pytest.mark.row(121)
@pytest.mark.parametrize(("given", "answer"), [({}, 1), ({"errnoRet": 0}, 0), ({"errnoRet": 4095}, 4095)])
def test_errno_values_up_to_the_kernels_last(capsule, bundle, given, answer):
    box = bundle(["/payload", "syscall", "135", "0"]).seccomp(
        "SCMP_ACT_ALLOW", {"names": ["personality"], "action": "SCMP_ACT_ERRNO", **given})
    assert capsule.run(box).json["errno"] == answer
