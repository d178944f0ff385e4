"""`spec --explain`: the steps of create and start, from the plans themselves; none of them is done."""

from __future__ import annotations

import pytest
from helpers.runtime import one_line

pytestmark = [
    pytest.mark.requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="has no spec --explain", crun="has no spec --explain", strict=False),
]


def explain(capsule, box) -> list[dict]:
    found = capsule.call("spec", "--explain", "--bundle", box.write(), "--format", "json").json
    assert isinstance(found, list)
    return found


def texts(steps: list[dict], kind: str) -> list[str]:
    return [step["text"] for step in steps if step["step"] == kind]


def test_every_subject_stands_in_the_order_in_which_it_is_done(capsule, bundle):
    box = bundle(["/bin/true"]).hook("createRuntime", "/bin/true").hook("startContainer", "/bin/sh", "-c", ":")
    box.linux["resources"] = {"memory": {"limit": 1 << 26}, "cpu": {"shares": 512}}
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}]
    steps = [(step["step"], step["text"]) for step in explain(capsule, box)]
    expected = [
        ("limit", "cpu: shares 512"), ("namespace", "make namespaces: ipc, uts, network, pid, mount"),
        ("mount", "mount proc on /proc"),
        ("hook", "createRuntime hook #0: /bin/true as the runtime, in its namespaces"),
        ("root", f"change root to {box.rootfs}"), ("name", "set hostname box"),
        ("sysctl", "write 1 to /proc/sys/net/ipv4/ip_forward"), ("rlimit", "RLIMIT_NOFILE soft 5, hard 6"),
        ("limit", "memory: limit 67108864"), ("wait", "wait for start"),
        ("hook", "startContainer hook #0: /bin/sh -c : as the container's user"),
        ("user", "uid 0, gid 0, groups none, umask 0022"), ("security", "no new privileges"),
        ("exec", "enter / and execute /bin/true"),
    ]
    assert [step for step in steps if step in expected] == expected


def test_flags_are_said_in_the_words_of_mount(capsule, bundle):
    box = bundle().bind("/tmp", "/data", "rbind", "ro", "nosuid", "rprivate", "rnoexec")
    assert "bind /tmp on /data (ro,nosuid,rnoexec,rprivate)" in texts(explain(capsule, box), "mount")
    assert "set propagation rslave on the host's tree" in texts(explain(capsule, box), "rootfs")


def test_the_plan_is_what_the_container_then_has(capsule, bundle):
    """What is told of capabilities is what the kernel has of the program that then runs."""
    box = bundle().capabilities("CAP_KILL", "CAP_CHOWN").user(1000, 1000, 7)
    steps = explain(capsule, box)
    told = next(step["capabilities"] for step in steps if step.get("set") == "bounding")
    assert sorted(told) == ["CAP_CHOWN", "CAP_KILL"]
    assert capsule.probe(box)["caps"]["bounding"] == 1 << 0 | 1 << 5


def test_a_user_namespace_and_its_maps(capsule, bundle):
    steps = explain(capsule, bundle().user_namespace())
    assert texts(steps, "map") == ["write 0 100000 65536 to uid_map", "write 0 100000 65536 to gid_map"]


def test_people_read_one_line_a_step(capsule, bundle):
    lines = capsule.call("spec", "--explain", "-b", bundle(["/bin/true"]).write()).lines
    assert lines[-1].split(maxsplit=1) == ["exec", "enter / and execute /bin/true"]
    assert all(line[0] != " " for line in lines)


def test_what_create_refuses_is_refused(capsule, bundle):
    box = bundle()
    box.config["root"]["path"] = "none"
    assert "root.path" in one_line(capsule.call("spec", "--explain", "-b", box.write(), rc=1))


def test_nothing_is_done(capsule, bundle, workdir):
    capsule.call("spec", "--explain", "-b", bundle().hook("createRuntime", "/bin/touch", str(workdir / "ran")).write())
    assert not (workdir / "ran").exists() and not capsule.root.exists()


def test_what_few_configs_have_is_told_too(capsule, bundle):
    box = bundle().bind("/tmp", "/data", "rbind", "idmap")
    box.config["mounts"][-1].update({key: [{"containerID": 0, "hostID": 5000, "size": 10}]
                                     for key in ("uidMappings", "gidMappings")})
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 3}
    box.linux["personality"] = {"domain": "LINUX32"}
    box.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    steps = explain(capsule, box)
    told = texts(steps, "attribute")
    assert told[0] == "execution domain LINUX32"
    assert told[1].startswith("memory policy MPOL_BIND")
    assert told[2].startswith("scheduler ") and "SCHED_BATCH" in told[2]
    assert told[3] == "I/O priority IOPRIO_CLASS_BE 3"
    assert "bind /tmp on /data with mapped ids" in texts(steps, "mount")


def test_a_network_device_that_cannot_move_is_refused(capsule, bundle):
    box = bundle()
    box.linux["netDevices"] = {"lo": {"name": "eth9"}}
    refused = capsule.call("spec", "--explain", "--bundle", box.write(), rc=1)
    assert "lo" in one_line(refused)


@pytest.mark.requires("ip")
def test_a_network_device_is_told_with_both_names(capsule, bundle):
    box = bundle()
    box.linux["netDevices"] = {"told0": {"name": "eth9"}}
    world = ["unshare", "--net", "sh", "-c", 'ip link add told0 type veth peer told1 && exec "$@"', "sh"]
    steps = capsule.call("spec", "--explain", "--bundle", box.write(), "--format", "json", scene=world).json
    assert texts(steps, "network") == ["move told0 into the container as eth9"]
