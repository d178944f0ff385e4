"""Docker: what options of run become inside the container."""

from __future__ import annotations

import pytest
from helpers.requires import requires

from .kit.docker import Docker

ENGINE = Docker
pytestmark = requires(*Docker.NEEDS)

# name: (options of run, script, what it prints)
FACTS = {
    "user": (["--user", "1000:2000"], "id -u; id -g", "1000\n2000\n"),
    "user-by-name": (["--user", "user"], "id -un; id -G", "user\n1000 2000\n"),
    "groups": (["--user", "1000", "--group-add", "77"], "id -G | tr ' ' '\\n' | grep -x 77", "77\n"),
    "workdir": (["--workdir", "/made/here"], "pwd", "/made/here\n"),
    "environment": (["--env", "A=1", "--env", "B=two words"], "echo $A $B $FROM_IMAGE", "1 two words yes\n"),
    "hostname": (["--hostname", "box"], "hostname", "box\n"),
    "domainname": (["--domainname", "corp"], "cat /proc/sys/kernel/domainname", "corp\n"),
    "init": (["--init"], "cat /proc/1/comm", "docker-init\n"),
    "read-only": (["--read-only"], "touch /x 2>/dev/null || echo refused", "refused\n"),
    "read-only-tmpfs": (["--read-only", "--tmpfs", "/data"], "echo x >/data/x && cat /data/x", "x\n"),
    "tmpfs-size": (["--tmpfs", "/data:size=1m"], "df -k /data | tail -1 | awk '{print $2}'", "1024\n"),
    "cap-drop": (["--cap-drop", "CHOWN"], "chown 1 /data 2>/dev/null || echo refused", "refused\n"),
    "cap-add": (["--cap-add", "SYS_TIME"], "grep CapBnd /proc/self/status", "CapBnd:\t00000000aa0425fb\n"),
    "cap-drop-all": (["--cap-drop", "ALL"], "grep CapPrm /proc/self/status", "CapPrm:\t0000000000000000\n"),
    "no-new-privileges": (["--security-opt", "no-new-privileges"],
                          "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
    "default-seccomp": ([], "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"),
    "seccomp-denies": ([], "unshare -r true 2>/dev/null || echo refused", "refused\n"),
    "seccomp-off": (["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
    "ulimit": (["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn", "100\n200\n"),
    "sysctl": (["--sysctl", "net.core.somaxconn=99"], "cat /proc/sys/net/core/somaxconn", "99\n"),
    "shm-size": (["--shm-size", "2m"], "df -k /dev/shm | tail -1 | awk '{print $2}'", "2048\n"),
    "device": (["--device", "/dev/null:/dev/other:r"], "test -c /dev/other && echo there", "there\n"),
    "oom-score": (["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500\n"),
    "add-host": (["--add-host", "other:10.1.2.3"], "grep other /etc/hosts", "10.1.2.3\tother\n"),
    "network-none": (["--network", "none"], "ls /sys/class/net", "lo\n"),
    "host-pid": (["--pid", "host"], "cat /proc/1/comm | grep -c python", "1\n"),
    "host-ipc": (["--ipc", "host"], "df /dev/shm | grep -c shm", "1\n"),
    "host-uts": (["--uts", "host"], "test $(cat /proc/sys/kernel/hostname) && echo some", "some\n"),
    "private-cgroup": (["--cgroupns", "private"], "grep -c docker /proc/1/cgroup; true", "0\n"),
    "host-cgroup": (["--cgroupns", "host"], "grep -q docker /proc/1/cgroup && echo seen", "seen\n"),
    "masked": ([], "wc -c </proc/timer_list; cat /proc/keys | wc -c", "0\n0\n"),
    "readonly-proc": ([], "echo 1 >/proc/sys/vm/drop_caches 2>/dev/null || echo refused", "refused\n"),
    "privileged": (["--privileged"], "mount -t tmpfs x /data && echo mounted", "mounted\n"),
    "entrypoint": (["--entrypoint", "sh"], "echo entered", "entered\n"),
    "label": (["--label", "a=b"], "echo labelled", "labelled\n"),
}
# name: (options of run, file below the container's cgroup v1 controller, what it holds)
LIMITS = {
    "memory": (["--memory", "64m"], "memory/memory.limit_in_bytes", str(64 << 20)),
    "memory-swap": (["--memory", "64m", "--memory-reservation", "32m"], "memory/memory.soft_limit_in_bytes",
                    str(32 << 20)),
    "cpu-shares": (["--cpu-shares", "333"], "cpu/cpu.shares", "333"),
    "cpus": (["--cpus", "0.5"], "cpu/cpu.cfs_quota_us", "50000"),
    "cpu-period": (["--cpu-period", "50000", "--cpu-quota", "25000"], "cpu/cpu.cfs_period_us", "50000"),
    "cpuset": (["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "0"),
    "pids": (["--pids-limit", "33"], "pids/pids.max", "33"),
}


@pytest.mark.parametrize("fact", FACTS)
def test_option(engine, fact):
    options, script, expected = FACTS[fact]
    words = ["-c", script] if fact == "entrypoint" else ["sh", "-c", script]
    assert engine.run(*words, options=tuple(options)) == expected


def group_file(engine, name: str, path: str):
    """Return a file of a container's cgroup v1."""
    controller, knob = path.split("/")
    return engine.box.path(f"/sys/fs/cgroup/{controller}/docker/{engine.inspect(name, '.Id')}/{knob}")


@pytest.mark.parametrize("limit", LIMITS)
def test_limit(engine, limit):
    options, path, expected = LIMITS[limit]
    name = engine.detached(options=tuple(options))
    assert group_file(engine, name, path).read_text().strip() == expected


def test_update_changes_the_limits_of_a_running_container(engine):
    name = engine.detached(options=("--memory", "64m", "--memory-swap", "128m"))
    engine.call("update", "--memory", "32m", "--memory-swap", "96m", "--cpu-shares", "77", "--pids-limit", "44", name)
    assert group_file(engine, name, "memory/memory.limit_in_bytes").read_text().strip() == str(32 << 20)
    assert group_file(engine, name, "cpu/cpu.shares").read_text().strip() == "77"
    assert group_file(engine, name, "pids/pids.max").read_text().strip() == "44"
