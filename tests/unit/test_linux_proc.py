"""Readers of /proc: process identity and mounts."""

import os
import subprocess

from capsule.linux import mountinfo, proc_stat


def test_own_process_is_alive_under_its_start_time_only():
    state, start = proc_stat.read(os.getpid())
    assert state == "R"
    assert proc_stat.is_alive(os.getpid(), start)
    assert not proc_stat.is_alive(os.getpid(), start + 1)


def test_zombie_is_not_alive_and_reaped_process_is_not_there():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    state, start = proc_stat.read(child.pid)
    assert state == "Z"
    assert not proc_stat.is_alive(child.pid, start)
    child.wait()
    assert proc_stat.read(child.pid) is None
    assert not proc_stat.is_alive(0, 0)


def test_command_name_may_hold_anything():
    fields = b" ".join(str(n).encode() for n in range(4, 23))
    assert proc_stat.parse(b"12 (a) Z (1 2) R " + fields + b"\n") == ("R", 22)


TEXT = r"""22 27 0:21 / /proc rw,relatime shared:5 master:1 - proc proc rw
31 23 0:28 / /odd\040place\134x rw - tmpfs tm\011pfs rw,mode=755
32 31 0:29 /docker/a /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /mnt/\040-\040cgroup rw - ext4 /dev/vda rw
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""


def test_every_field_of_a_mount_is_parsed():
    first, second = mountinfo.parse(TEXT)[:2]
    assert first == (
        22, 27, "0:21", "/", "/proc", "rw,relatime", ["shared:5", "master:1"], "proc", "proc", "rw",
    )  # fmt: skip
    assert (second[mountinfo.MOUNT_POINT], second[mountinfo.SOURCE]) == ("/odd place\\x", "tm\tpfs")


def test_cgroup_mounts_are_found_among_others():
    found = [entry[mountinfo.MOUNT_POINT] for entry in mountinfo.parse_cgroups(TEXT)]
    assert found == ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"]


def test_own_mounts_are_all_read():
    text = mountinfo.read_text("/proc/self/mountinfo")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        assert text == file.read()
    assert any(entry[mountinfo.MOUNT_POINT] == "/" for entry in mountinfo.parse(text))
