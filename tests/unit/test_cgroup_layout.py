"""Where a container's cgroups lie, from the texts of /proc/self/cgroup and mountinfo alone."""

import pytest

from capsule.cgroups import enter, layout
from capsule.errors import CgroupError, SpecError

V1 = """\
30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
"""
HYBRID = V1 + "34 30 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
V1_SELF = "4:cpu,cpuacct:/a/b\n3:memory:/\n2:pids:/\n1:name=systemd:/init.scope\n0::/u\n"
V2 = "31 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


def leaves(cgroup_text, mountinfo_text, path, container_id="web"):
    hierarchies = layout.detect(cgroup_text, mountinfo_text)
    layout.place(hierarchies, path, container_id)
    return {name: hierarchy.leaf for hierarchy in hierarchies for name in hierarchy.controllers}


@pytest.mark.row(61, 108)
def test_absolute_path_lies_below_every_mount_point():
    assert leaves(V1_SELF, HYBRID, "/pod//x/./y/") == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/pod/x/y",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/pod/x/y",
        "memory": "/sys/fs/cgroup/memory/pod/x/y",
        "name=systemd": "/sys/fs/cgroup/systemd/pod/x/y",
        "": "/sys/fs/cgroup/unified/pod/x/y",
    }


@pytest.mark.parametrize("path", [None, ""])
@pytest.mark.row(61)
def test_without_a_path_the_id_lies_below_the_own_cgroup(path):
    assert leaves(V1_SELF, V1, path) == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/a/b/web",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a/b/web",
        "memory": "/sys/fs/cgroup/memory/web",
        "name=systemd": "/sys/fs/cgroup/systemd/init.scope/web",
    }


@pytest.mark.row(61)
def test_systemd_notation_is_a_plain_relative_path():
    assert leaves(V1_SELF, V1, "test.slice:cri:ab")["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/a/b/test.slice:cri:ab"


@pytest.mark.parametrize("path", ["..", "/..", "a/../b", "../a", "/", "//", ".", "a\0b", "a\nb"])
@pytest.mark.row(61)
def test_path_that_leaves_or_is_the_root_is_refused(path):
    with pytest.raises(SpecError, match="linux.cgroupsPath"):
        leaves(V1_SELF, V1, path)


def test_path_that_is_too_deep_is_refused():
    assert leaves("0::/\n", V2, "a/" * 100) == {"": "/sys/fs/cgroup" + "/a" * 100}
    with pytest.raises(SpecError, match="linux.cgroupsPath: 1500 directories deep, where 100 are the most"):
        leaves("0::/\n", V2, "a/" * 1500)


def test_pure_v2_starts_beside_the_own_cgroup():
    assert leaves("0::/user.slice/shell.scope\n", V2, "x") == {"": "/sys/fs/cgroup/user.slice/x"}
    assert leaves("0::/\n", V2, "x") == {"": "/sys/fs/cgroup/x"}
    assert leaves("0::/user.slice\n", V2, "/x") == {"": "/sys/fs/cgroup/x"}


def test_mount_of_a_part_of_the_hierarchy_is_accounted_for():
    text = "31 30 0:29 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    assert leaves("3:memory:/docker/ab/c\n", text, "x") == {"memory": "/sys/fs/cgroup/memory/c/x"}
    assert leaves("3:memory:/docker/ab\n", text, "x") == {"memory": "/sys/fs/cgroup/memory/x"}
    assert leaves("3:memory:/docker/abc\n", text, "x") == {"memory": "/sys/fs/cgroup/memory/x"}


def test_own_cgroup_out_of_sight_gives_the_mount_point():
    assert leaves("3:memory:/../..\n0::/..\n", HYBRID, "x") == {
        "memory": "/sys/fs/cgroup/memory/x",
        "": "/sys/fs/cgroup/unified/x",
    }


def test_bind_mount_into_a_container_is_not_taken_for_the_hierarchy():
    inner = "40 1 0:30 /docker/ab /var/lib/x/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    for text in (inner + V1, V1 + inner):
        assert leaves("3:memory:/\n", text, "/x") == {"memory": "/sys/fs/cgroup/memory/x"}


def test_machine_without_cgroups_is_an_error():
    with pytest.raises(CgroupError, match="no cgroup file system is mounted"):
        layout.detect("0::/\n", "31 30 0:29 / / rw - ext4 /dev/vda rw\n")


def test_v2_cgroup_of_a_process_is_found_below_the_mount():
    assert layout.unified_directory(V1_SELF, HYBRID) == "/sys/fs/cgroup/unified/u"
    assert layout.unified_directory("0::/..\n", HYBRID) is None
    assert layout.unified_directory("3:memory:/\n", HYBRID) is None


PATHS = {"cpu": "/c/x", "cpuacct": "/c/x", "memory": "/m/x", "": "/u/x"}


@pytest.mark.parametrize(
    ("sub", "expected"),
    [
        (None, PATHS),
        ({}, PATHS),
        ({"": "/"}, PATHS),
        ({"": "a/b"}, {"cpu": "/c/x/a/b", "cpuacct": "/c/x/a/b", "memory": "/m/x/a/b", "": "/u/x"}),
        ({"memory": "/a"}, PATHS | {"memory": "/m/x/a"}),
        ({"cpu": "a"}, PATHS | {"cpu": "/c/x/a", "cpuacct": "/c/x/a"}),
        ([], PATHS),
        (["cpu,memory:a"], PATHS | {"cpu": "/c/x/a", "cpuacct": "/c/x/a", "memory": "/m/x/a"}),
        (["a", "memory:b"], {"cpu": "/c/x/a", "cpuacct": "/c/x/a", "memory": "/m/x/b", "": "/u/x"}),
    ],
)
def test_exec_joins_the_sub_cgroup_that_was_named(sub, expected):
    assert enter.targets(PATHS, sub, 0) == expected


@pytest.mark.parametrize("path", ["..", "../..", "a/../../b", "a/..", "a\0"])
def test_exec_refuses_a_sub_cgroup_outside(path):
    with pytest.raises(CgroupError, match="bad sub cgroup path"):
        enter.targets(PATHS, {"memory": path}, 0)


def test_exec_refuses_an_unknown_controller():
    with pytest.raises(CgroupError, match="unknown controller mem"):
        enter.targets(PATHS, {"mem": "a"}, 0)
