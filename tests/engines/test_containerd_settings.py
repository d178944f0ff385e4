"""containerd: what flags of `ctr run` become inside the container."""

from __future__ import annotations

import json

import pytest
from helpers.requires import requires

from .kit.containerd import NAMESPACE, Containerd

ENGINE = Containerd
pytestmark = requires(*Containerd.NEEDS)

# name: (flags, script, what it prints)
FACTS = {
    "cwd": (["--cwd", "/made/here"], "pwd", "/made/here\n"),
    "env": (["--env", "A=1"], "echo $A $FROM_IMAGE", "1 yes\n"),
    "read-only": (["--read-only"], "touch /x 2>/dev/null || echo refused", "refused\n"),
    "net-host": (["--net-host"], "ls /sys/class/net", "lo\n"),
    "cap-drop": (["--cap-drop", "CAP_CHOWN"], "chown 1 /data 2>/dev/null || echo refused", "refused\n"),
    "cap-add": (["--cap-add", "CAP_SYS_TIME"], "grep CapBnd /proc/self/status", "CapBnd:\t00000000aa0425fb\n"),
    "no-new-privileges": ([], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
    "allow-new-privileges": (["--allow-new-privs"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0\n"),
    "seccomp": (["--seccomp"], "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"),
    "seccomp-denies": (["--seccomp"], "unshare -r true 2>/dev/null || echo refused", "refused\n"),
    "privileged": (["--privileged"], "mount -t tmpfs x /data && echo mounted", "mounted\n"),
    "device": (["--device", "/dev/kmsg"], "test -c /dev/kmsg && echo there", "there\n"),
    "tmpfs": (["--mount", "type=tmpfs,src=tmpfs,dst=/data,options=size=1m"],
              "df -k /data | tail -1 | awk '{print $2}'", "1024\n"),
    "annotation": (["--annotation", "a=b"], "echo annotated", "annotated\n"),
    "no-pivot": (["--no-pivot"], "ls /payload", "/payload\n"),
    "user-namespace": (["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
                       "awk '{print $1, $2, $3}' /proc/self/uid_map", "0 100000 65536\n"),
}
# name: (flags, file below the container's cgroup v1 controller, what it holds)
LIMITS = {
    "memory": (["--memory-limit", str(64 << 20)], "memory/memory.limit_in_bytes", str(64 << 20)),
    "cpus": (["--cpus", "0.5"], "cpu/cpu.cfs_quota_us", "50000"),
    "cpu-shares": (["--cpu-shares", "333"], "cpu/cpu.shares", "333"),
    "cpu-quota": (["--cpu-quota", "25000", "--cpu-period", "50000"], "cpu/cpu.cfs_period_us", "50000"),
}


@pytest.mark.parametrize("fact", FACTS)
def test_option(engine, fact):
    options, script, expected = FACTS[fact]
    assert engine.sh(script, *options) == expected


@pytest.mark.parametrize("limit", LIMITS)
def test_limit(engine, limit):
    options, path, expected = LIMITS[limit]
    name = engine.detached(options=options)
    controller, knob = path.split("/")
    assert engine.box.path(f"/sys/fs/cgroup/{controller}/{NAMESPACE}/{name}/{knob}").read_text().strip() == expected


def test_a_bind_mount(engine):
    source = engine.directory / "bound"
    source.mkdir(exist_ok=True)
    engine.sh("echo x >/v/x", "--mount", f"type=bind,src={source},dst=/v,options=rbind:rw")
    assert (source / "x").read_text() == "x\n"


def test_a_read_only_bind_mount(engine):
    source = engine.directory / "bound"
    source.mkdir(exist_ok=True)
    mount = f"type=bind,src={source},dst=/v,options=rbind:ro"
    assert engine.sh("touch /v/y 2>/dev/null || echo refused", "--mount", mount) == "refused\n"


def test_a_namespace_of_another_container(engine):
    name = engine.detached()
    pid, _ = engine.task(name)
    inside = engine.exec(name, "readlink", "/proc/self/ns/net").word
    assert engine.sh("readlink /proc/self/ns/net", "--with-ns", f"network:/proc/{pid}/ns/net").strip() == inside


def test_the_probe_finds_no_descriptor_of_the_runtime(engine):
    facts = json.loads(engine.run("/payload", "probe").out)
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]
