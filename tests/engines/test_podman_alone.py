"""podman: what Docker has no word for, or another one."""

from __future__ import annotations

import json
import os

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

from .kit.podman import Podman

ENGINE = Podman
pytestmark = requires(*Podman.NEEDS)


def test_the_runtime_is_the_one_asked_for(engine, runtime):
    name = engine.detached()
    assert engine.inspect(name, ".OCIRuntime") == runtime
    assert [name] == [entry for entry in os.listdir(engine.box.path(f"/run/{runtime}")) if entry[0] != "."]


def test_init_makes_a_container_that_waits(engine):
    name = engine.create("echo", "late")
    engine.call("init", name)
    assert engine.status(name) == "initialized"
    assert engine.call("logs", name).out == ""
    engine.call("start", name)
    engine.wait_log(name, "late")


def test_a_container_whose_time_is_over(engine):
    engine.sh("while :; do sleep 0.1; done", "--timeout", "1", "--init", rc=None)
    assert engine.call("ps", "--all", "--quiet").out == ""


def test_run_replaces_a_container_of_the_same_name(engine):
    first = engine.detached(options=["--name", "one"])
    second = engine.detached(options=["--name", "one", "--replace"]).split()[-1]
    assert engine.call("ps", "--quiet", "--no-trunc").lines == [second] != [first]


def test_wait_for_a_condition(engine):
    name = engine.create("sleep", "1000")
    waiting = engine.start("wait", "--condition", "running", name)
    engine.call("start", name)
    engine.finish(waiting)


def test_a_health_check(engine):
    name = engine.detached(options=["--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable"])
    assert engine.call("healthcheck", "run", name, rc=1).rc == 1
    engine.exec(name, "touch", "/tmp/healthy")
    engine.call("healthcheck", "run", name)


def test_stop_all(engine):
    names = [engine.detached("/payload", "trap") for _ in range(3)]
    for name in names:
        engine.wait_log(name, "ready")
    engine.call("stop", "--all")
    assert [engine.inspect(name, ".State.ExitCode") for name in names] == ["42"] * 3


def test_ids_mapped_to_others(engine):
    name = engine.detached(options=["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"])
    assert engine.proc(name, "uid_map").split() == ["0", "100000", "65536"]
    assert engine.exec(name, "stat", "-c", "%u:%g", "/bin/busybox").word == "0:0"
    assert engine.box.path(f"/proc/{engine.pid(name)}").stat().st_uid == 100000


def test_preserved_descriptors(engine):
    with open(engine.directory / "given", "w+b") as given:
        given.write(b"through a descriptor")
        given.seek(0)
        script = 'exec 3<"$1"; shift; exec "$@"'  # the shell puts the file where the engine expects it
        words = engine.argv("run", "--rm", "--preserve-fds", "1", *engine.OFFLINE, engine.IMAGE, "cat",
                            "/proc/self/fd/3")
        done = engine.box.call("sh", "-c", script, "sh", given.name, *words, env=engine.environment())
    assert done.out == "through a descriptor"


def test_a_root_without_an_image(engine, bundle):
    out = engine.call("run", "--rm", *engine.OFFLINE, "--rootfs", str(bundle().rootfs), "echo", "plain").out
    assert out == "plain\n"


def test_an_image_mounted_as_volume(engine):
    out = engine.sh("cat /image/etc/plain", "--mount", f"type=image,source={engine.IMAGE},target=/image")
    assert out == "not executable\n"


def test_a_secret(engine):
    source = engine.directory / "secret"
    source.write_text("hidden words")
    engine.call("secret", "create", "mine", str(source))
    try:
        assert engine.sh("cat /run/secrets/mine", "--secret", "mine") == "hidden words"
    finally:
        engine.call("secret", "rm", "mine")


def test_timezone_umask_and_personality_of_files(engine):
    assert engine.sh("umask; touch /tmp/new; stat -c %a /tmp/new", "--umask", "0077").split() == ["0077", "600"]


def test_paths_masked_and_unmasked(engine):
    assert engine.sh("wc -c < /etc/plain", "--security-opt", "mask=/etc/plain").strip() == "0"
    assert "ro" in engine.sh("grep ' /proc/sys ' /proc/self/mountinfo").split()[5].split(",")
    assert engine.sh("grep -c ' /proc/sys ' /proc/self/mountinfo", "--security-opt", "unmask=ALL", rc=1).strip() == "0"


def test_a_cgroup_namespace_of_its_own(engine):
    out = engine.sh("cut -d: -f3 /proc/self/cgroup", "--cgroupns", "private")
    assert set(out.split()) == {"/"}


def test_update_of_several_limits_is_seen_by_inspect(engine):
    name = engine.detached(options=["--memory", "64m"])
    engine.call("update", "--memory", "32m", name)
    assert engine.knob(name, "memory", "memory.limit_in_bytes") == str(32 << 20)
    assert engine.exec(name, "echo", "alive").out == "alive\n"


def test_top_with_descriptors(engine):
    name = engine.detached("sleep", "777")
    assert engine.call("top", name, "pid", "user", "args").lines[1].split() == ["1", "root", "sleep", "777"]


def test_events_are_told(engine):
    name = engine.detached("true")
    engine.call("wait", name)

    def told() -> list[str]:
        return engine.call("events", "--stream=false", "--filter", f"container={name}", "--format", "{{.Status}}").lines

    wait_until(lambda: {"create", "start", "died"} <= set(told()))


class TestPods:
    """Pods: containers that share the namespaces of a first one."""

    @pytest.fixture
    def pod(self, engine) -> str:
        return engine.call("pod", "create", "--name", "box", "--network", "none").word

    def inside(self, engine, *words: str) -> str:
        return engine.detached(*words, options=["--pod", "box"])

    @pytest.mark.smoke
    def test_members_share_namespaces(self, engine, pod):
        first, second = self.inside(engine), self.inside(engine)
        for kind in ("net", "ipc", "uts"):
            links = {engine.box.path(f"/proc/{engine.pid(name)}/ns/{kind}").readlink() for name in (first, second)}
            assert len(links) == 1
        assert engine.proc(first, "ns/../comm") and engine.pid(first) != engine.pid(second)
        assert engine.exec(first, "hostname").out == engine.exec(second, "hostname").out == "box\n"

    def test_members_talk_over_the_loopback(self, engine, pod):
        self.inside(engine, "sh", "-c", "mkdir /www; echo member > /www/index.html; exec httpd -f -h /www")
        name = self.inside(engine)
        wait_until(lambda: engine.exec(name, "wget", "-q", "-O", "-", "http://127.0.0.1/", rc=None).out == "member\n")

    def test_a_shared_pid_namespace(self, engine):
        engine.call("pod", "create", "--name", "box", "--network", "none", "--share", "+pid")
        self.inside(engine, "sleep", "777")
        assert "sleep 777" in engine.exec(self.inside(engine), "ps", "-o", "args").out

    def test_members_are_grouped(self, engine, pod):
        name = self.inside(engine)
        assert pod in str(engine.group(name, "pids"))

    def test_pause_and_unpause(self, engine, pod):
        name = self.inside(engine)
        engine.call("pod", "pause", "box")
        assert engine.knob(name, "freezer", "freezer.state") == "FROZEN"
        engine.call("pod", "unpause", "box")
        assert engine.exec(name, "echo", "on").out == "on\n"

    def test_stop_and_start(self, engine, pod):
        name = self.inside(engine, "/payload", "trap")
        engine.wait_log(name, "ready")
        engine.call("pod", "stop", "box")
        assert engine.inspect(name, ".State.ExitCode") == "42"
        engine.call("pod", "start", "box")
        engine.wait_status(name, "running")

    def test_kill(self, engine, pod):
        name = self.inside(engine, "/payload", "trap")
        engine.wait_log(name, "ready")
        engine.call("pod", "kill", "--signal", "USR1", "box", rc=None)
        engine.wait_log(name, "signal 10 ")

    def test_published_ports(self, engine):
        engine.call("pod", "create", "--name", "box", "--publish", "8090:80")
        self.inside(engine, "sh", "-c", "mkdir /www; echo pod > /www/index.html; exec httpd -f -h /www")
        wait_until(lambda: engine.inside("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8090/", rc=None).out
                   == "pod\n")

    def test_a_pod_of_a_kubernetes_description(self, engine):
        file = engine.directory / "pod.yaml"
        file.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "described"},
            "spec": {"containers": [{
                "name": "member", "image": engine.IMAGE, "imagePullPolicy": "Never",
                "command": ["/payload", "trap"], "env": [{"name": "WORD", "value": "given"}],
                "resources": {"limits": {"memory": "64Mi"}}}]}}))
        engine.call("pod", "ps")  # pods are cleaned up after a scenario that uses the word
        engine.call("play", "kube", "--network", "none", str(file))
        engine.wait_log("described-member", "ready")
        assert "WORD=given" in engine.proc("described-member", "environ").split("\0")
        assert engine.knob("described-member", "memory", "memory.limit_in_bytes") == str(64 << 20)
        engine.call("play", "kube", "--down", str(file))
