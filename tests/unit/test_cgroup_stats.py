"""Statistics read from files as the kernel writes them, v2 and what this machine's v1 lacks; taking limits back."""

import pytest

from capsule.cgroups import cgroupfs, stats, undo
from capsule.errors import CgroupError

GIB = 1 << 30


@pytest.fixture
def cgroup(tmp_path):
    """Give a maker of a directory with files."""

    def make(files: dict) -> str:
        for name, text in {"cgroup.procs": "", **files}.items():
            (tmp_path / name).write_text(text)
        return str(tmp_path)

    return make


PRESSURE = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"


def test_v2_speaks_v1s_words(cgroup):
    directory = cgroup({
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 2\nthrottled_usec 9\n",
        "cpu.pressure": PRESSURE,
        "memory.current": "4096\n", "memory.max": f"{GIB}\n", "memory.peak": "8192\n",
        "memory.swap.current": "100\n", "memory.swap.max": "max\n", "memory.swap.peak": "200\n",
        "memory.stat": "anon 1\nfile 2\nkernel 3\nsock 4\n",
        "memory.events": "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n",
        "memory.swap.events": "high 0\nmax 5\nfail 0\n",
        "pids.current": "3\n", "pids.max": "max\n",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:0 \n",
        "hugetlb.2MB.current": "2097152\n", "hugetlb.2MB.rsvd.current": "0\n", "hugetlb.2MB.events": "max 8\n",
    })
    data = stats.collect({"": directory})
    psi = {"some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 12345},
           "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 7}}
    assert data["cpu"] == {
        "usage": {"total": 30000, "kernel": 10000, "user": 20000},
        "throttling": {"periods": 4, "throttledPeriods": 2, "throttledTime": 9000}, "psi": psi}
    assert data["memory"]["usage"] == {"limit": GIB, "usage": 4096, "max": 8192, "failcnt": 6}
    assert data["memory"]["swap"] == {"limit": stats.UNLIMITED, "usage": 4196, "max": 8392, "failcnt": 5}
    assert (data["memory"]["cache"], data["memory"]["raw"]["anon"]) == (2, 1)
    assert data["pids"] == {"current": 3}
    assert data["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write", "value": 2}],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 3}, {"major": 8, "op": "Write", "value": 4}]}
    assert data["hugetlb"] == {"2MB": {"usage": 2097152, "failcnt": 8}}


def test_v2_without_controllers_is_full_of_nothing(cgroup):
    data = stats.collect({"": cgroup({"cpu.stat": "usage_usec 0\n"})})
    assert data["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    assert (data["pids"], data["blkio"], data["hugetlb"]) == ({}, {}, {})


def test_v1_huge_pages_and_block_io(cgroup):
    directory = cgroup({
        "hugetlb.2MB.usage_in_bytes": "2097152\n", "hugetlb.2MB.max_usage_in_bytes": "4194304\n",
        "hugetlb.2MB.failcnt": "1\n", "hugetlb.2MB.rsvd.usage_in_bytes": "0\n",
        "blkio.bfq.io_serviced_recursive": "Total 0\n",
        "blkio.throttle.io_serviced_recursive": "8:16 Read 5\n8:16 Write 0\n8:16 Total 5\nTotal 5\n",
        "blkio.throttle.io_service_bytes_recursive": "8:16 Read 4096\nTotal 4096\n",
    })
    data = stats.collect({"hugetlb": directory, "blkio": directory})
    assert data["hugetlb"] == {"2MB": {"usage": 2097152, "max": 4194304, "failcnt": 1}}
    assert data["blkio"]["ioServicedRecursive"] == [
        {"major": 8, "minor": 16, "op": "Read", "value": 5}, {"major": 8, "minor": 16, "op": "Write"},
        {"major": 8, "minor": 16, "op": "Total", "value": 5}]


def test_a_cgroup_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(CgroupError):
        stats.collect({"pids": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("name", "text", "keys", "expected"),
    [
        ("cpu.shares", "512", [], ["512"]),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3", [], ["0"]),
        ("blkio.throttle.read_bps_device", "7:0 100\n7:10 200", ["7:1", "7:10"], ["7:1 0", "7:10 200"]),
        ("io.max", "", ["8:0"], ["8:0 rbps=max wbps=max riops=max wiops=max"]),
        ("blkio.bfq.weight_device", "default 100\n8:0 200", ["8:0", "8:1"], ["8:0 200", "8:1 default"]),
        ("net_prio.ifpriomap", "lo 0\neth0 4", ["eth0"], ["eth0 4"]),
    ],
)
def test_what_puts_a_file_back(name, text, keys, expected):
    assert undo.lines_before(name, text, keys) == expected


def test_undo_goes_backwards_and_only_after_an_error(cgroup, tmp_path):
    directory = cgroup({"a": "1", "b": "2"})
    with undo.Undo():
        cgroupfs.write(directory, "a", "5")
    assert (tmp_path / "a").read_text() == "5"
    with pytest.raises(CgroupError), undo.Undo():
        cgroupfs.write(directory, "a", "6")
        cgroupfs.write(directory, "b", "7")
        cgroupfs.write(directory, "a", "8")
        cgroupfs.write(directory, "none", "9")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("5", "2")
    assert cgroupfs.before_write is None
