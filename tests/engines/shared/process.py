"""What a container's processes are: users, rights, limits, terminals, and programs run beside the first."""

from __future__ import annotations

import json

import pytest
from helpers.wait import wait_until

from ..kit.facts import capability_mask

EPERM, EROFS = 1, 30
DEFAULT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
                        "NET_BIND_SERVICE", "SYS_CHROOT", "SETFCAP")
# Docker asks for every capability of the kernel, podman for those that its own caller has.
ALL_OR_NONE = "applies all capabilities or fails, and this root does not have all"
SYSCALL_KEXEC_LOAD = "246"  # x86-64; refused by every engine's profile, and harmless with these arguments


class Process:
    def test_user_and_groups(self, engine):
        facts = engine.probe("--user", "1000:1000", "--group-add", "2000")
        assert (facts["uid"], facts["gid"]) == ([1000] * 3, [1000] * 3)
        assert 2000 in facts["groups"]
        assert facts["caps"]["effective"] == 0

    def test_a_user_by_name(self, engine):
        assert engine.sh("id -un; id -u; echo $HOME", "--user", "user").split() == ["user", "1000", "/home/user"]

    def test_an_unknown_user_is_refused(self, engine):
        assert engine.call("run", "--rm", *engine.OFFLINE, "--user", "nobody-here", engine.IMAGE, "true",
                           rc=None).rc in (125, 126)

    def test_working_directory_environment_and_host_name(self, engine):
        facts = engine.probe("--workdir", "/home/user", "--env", "WORD=two words", "--hostname", "named")
        assert facts["cwd"] == "/home/user"
        assert {"WORD=two words", "FROM_IMAGE=yes"} <= set(facts["env"])
        assert facts["hostname"] == "named"

    def test_entry_point(self, engine):
        assert engine.run("%s-%s", "a", "b", options=["--entrypoint", "/bin/printf"]) == "a-b"

    def test_the_default_capabilities(self, engine):
        caps = engine.probe()["caps"]
        assert caps["effective"] == caps["bounding"] == caps["permitted"]
        wanted = capability_mask(*DEFAULT_CAPABILITIES)
        assert caps["effective"] & wanted == wanted
        assert not caps["effective"] & capability_mask("SYS_TIME", "NET_ADMIN")

    def test_all_capabilities_dropped_but_one(self, engine):
        caps = engine.probe("--cap-drop", "ALL", "--cap-add", "NET_ADMIN")["caps"]
        assert caps["effective"] == caps["bounding"] == capability_mask("NET_ADMIN")

    def test_a_capability_added(self, engine):
        assert engine.probe("--cap-add", "SYS_TIME")["caps"]["effective"] & capability_mask("SYS_TIME")

    @pytest.mark.smoke
    def test_the_default_seccomp_profile(self, engine):
        assert engine.probe()["seccomp"] == 2
        out = engine.run("/payload", "syscall", SYSCALL_KEXEC_LOAD, "0", "0", "0", "0")
        assert json.loads(out)["errno"] == EPERM

    def test_a_container_without_a_profile(self, engine):
        assert engine.probe("--security-opt", "seccomp=unconfined")["seccomp"] == 0

    def test_a_profile_of_ones_own(self, engine):
        profile = engine.directory / "profile.json"
        profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 17}]}))
        assert engine.denied("mkdir", "/new", options=["--security-opt", f"seccomp={profile}"]) == [17]

    def test_no_new_privileges(self, engine):
        assert engine.probe()["nnp"] == 0
        assert engine.probe("--security-opt", "no-new-privileges")["nnp"] == 1

    def test_masked_and_read_only_paths(self, engine):
        assert engine.denied("write", "/proc/sys/kernel/domainname", "create", "/sys/new") == [EROFS, EROFS]
        script = "for name in kcore keys timer_list; do [ ! -e /proc/$name ] || wc -c < /proc/$name; done"
        assert set(engine.sh(script).split()) == {"0"}
        assert engine.sh("ls /sys/firmware") == ""

    @pytest.mark.known(runc=ALL_OR_NONE, crun=ALL_OR_NONE)
    def test_a_privileged_container(self, engine):
        facts = engine.probe("--privileged")
        assert facts["seccomp"] == 0
        assert facts["caps"]["effective"] & capability_mask("SYS_ADMIN")
        assert "rw" in {word for line in facts["mountinfo"].splitlines() if " /sys " in line
                        for word in line.split()[5].split(",")}

    def test_limits_of_resources(self, engine):
        limits = engine.probe("--ulimit", "nofile=321:654", "--ulimit", "core=0", "--ulimit", "nproc=99:999")["rlimits"]
        assert limits["RLIMIT_NOFILE"] == [321, 654]
        assert limits["RLIMIT_CORE"] == [0, 0]
        assert limits["RLIMIT_NPROC"] == [99, 999]

    def test_a_sysctl(self, engine):
        assert engine.sh("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax",
                         "--sysctl", "net.ipv4.ip_default_ttl=77", "--sysctl", "kernel.msgmax=9999").split() == [
                             "77", "9999"]

    def test_oom_score_adjustment(self, engine):
        assert engine.probe("--oom-score-adj", "555")["oom_score_adj"] == "555\n"

    def test_the_namespaces_are_the_containers_own(self, engine):
        name = engine.detached()
        own = {kind: engine.proc(name, "../1/task/1/comm") and
               str(engine.box.path(f"/proc/{engine.pid(name)}/ns/{kind}").readlink())
               for kind in ("mnt", "pid", "net", "ipc", "uts")}
        outer = {kind: str(engine.box.path(f"/proc/1/ns/{kind}").readlink()) for kind in own}
        assert not set(own.values()) & set(outer.values())

    @pytest.mark.parametrize("kind, option", [("pid", "--pid"), ("ipc", "--ipc"), ("uts", "--uts"),
                                              ("net", "--network")])
    def test_a_namespace_of_the_host(self, engine, kind, option):
        out = engine.run("readlink", f"/proc/self/ns/{kind}", options=[option, "host"])
        assert out.strip() == str(engine.box.path(f"/proc/1/ns/{kind}").readlink())

    def test_a_pid_namespace_of_another_container(self, engine):
        name = engine.detached("sleep", "777")
        assert "sleep 777" in engine.sh("ps -o args", "--pid", f"container:{name}")

    def test_init_reaps_orphans(self, engine):
        name = engine.detached("sh", "-c", "(sh -c 'sleep 0.1 & exec true' &); sleep 1000", options=["--init"])
        comm = engine.exec(name, "cat", "/proc/1/cmdline").out
        assert "init" in comm.split("\0")[0]

        def only_two() -> bool:
            states = engine.exec(name, "sh", "-c", "cat /proc/[0-9]*/stat").lines
            return not [line for line in states if line.split(") ")[-1].startswith("Z")]

        wait_until(only_two, 10)

    def test_exec_has_the_containers_environment_and_rights(self, engine):
        name = engine.detached(options=["--env", "WORD=kept", "--cap-drop", "CHOWN"])
        facts = json.loads(engine.exec(name, "/payload", "probe").out)
        assert "WORD=kept" in facts["env"]
        assert not facts["caps"]["effective"] & capability_mask("CHOWN")
        assert facts["seccomp"] == 2

    def test_exec_with_user_directory_and_environment(self, engine):
        name = engine.detached()
        facts = json.loads(engine.exec(name, "/payload", "probe", options=[
            "--user", "1000", "--workdir", "/tmp", "--env", "MORE=yes"]).out)
        assert facts["uid"] == [1000] * 3
        assert facts["cwd"] == "/tmp"
        assert "MORE=yes" in facts["env"]
        assert facts["caps"]["effective"] == 0

    @pytest.mark.smoke
    def test_exec_returns_the_programs_status(self, engine):
        name = engine.detached()
        engine.exec(name, "sh", "-c", "exit 9", rc=9)

    @pytest.mark.parametrize("program", ["no-such-program", "/no/such/program"])
    def test_exec_of_a_missing_program(self, engine, program):
        name = engine.detached()
        engine.exec(name, program, rc=engine.EXEC_MISSING)
        assert engine.exec(name, "echo", "still").out == "still\n"

    def test_exec_of_a_program_that_may_not_be_executed(self, engine):
        engine.exec(engine.detached(), "/etc/plain", rc=126)

    def test_exec_passes_standard_input(self, engine):
        name = engine.detached()
        assert engine.exec(name, "cat", options=["--interactive"], data=b"words\n" * 3000).out == "words\n" * 3000

    def test_exec_in_the_background(self, engine):
        name = engine.detached()
        engine.exec(name, "sh", "-c", "echo done > /tmp/mark", options=["--detach"])
        wait_until(lambda: engine.exec(name, "cat", "/tmp/mark", rc=None).out == "done\n")

    @pytest.mark.known(runc=ALL_OR_NONE, crun=ALL_OR_NONE)
    def test_exec_privileged(self, engine):
        name = engine.detached()
        facts = json.loads(engine.exec(name, "/payload", "probe", options=["--privileged"]).out)
        assert facts["caps"]["effective"] & capability_mask("SYS_ADMIN")

    def test_exec_in_a_stopped_container_is_refused(self, engine):
        name = engine.create("true")
        assert engine.exec(name, "true", rc=None).rc not in (0, 127)

    def test_exec_joins_the_containers_cgroup(self, engine):
        name = engine.detached()
        assert engine.exec(name, "cat", "/proc/self/cgroup").out == engine.exec(name, "cat", "/proc/1/cgroup").out

    @pytest.mark.smoke
    def test_a_terminal(self, engine):
        with engine.terminal("run", "--rm", "--tty", "--interactive", *engine.OFFLINE, engine.IMAGE, "sh", "-c",
                             "tty; stty size; read word; echo got-$word", rows=33, columns=99) as pty:
            assert b"/dev/pts/0" in pty.read_until("/dev/pts/0")
            pty.read_until("\n")
            pty.type("typed\n")
            pty.read_until("got-typed")

    def test_the_size_of_a_terminal_arrives(self, engine):
        script = "while [ \"$(stty size)\" != '33 99' ]; do sleep 0.05; done; echo the-size"
        with engine.terminal("run", "--rm", "--tty", *engine.OFFLINE, engine.IMAGE, "sh", "-c", script,
                             rows=33, columns=99) as pty:
            pty.read_until("the-size")

    def test_ctrl_c_on_a_terminal(self, engine):
        script = "trap 'echo interrupted; exit 4' INT; echo waiting; while :; do sleep 0.1; done"
        with engine.terminal("run", "--rm", "--tty", "--interactive", *engine.OFFLINE, engine.IMAGE, "sh", "-c",
                             script, rc=4) as pty:
            pty.read_until("waiting")
            pty.type(b"\x03")
            pty.read_until("interrupted")

    def test_exec_on_a_terminal(self, engine):
        name = engine.detached()
        with engine.terminal("exec", "--tty", "--interactive", name, "sh", "-c", "tty; exit 6", rc=6) as pty:
            pty.read_until("/dev/pts/0")
