"""Limits against a model of the kernel files: what is written, in which order, and what is refused."""

import errno

import pytest
from hypothesis import given, settings, strategies as st

from capsule.cgroups import cgroupfs, limits
from capsule.cgroups.v1 import cpu, hugetlb, memory
from capsule.errors import CgroupError, SpecError, Unsupported

CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma", "devices")


@pytest.fixture
def tree(tmp_path):
    """Give paths of every controller to empty directories; write() needs the file to be there."""
    paths = {}
    for name in CONTROLLERS:
        (tmp_path / name).mkdir()
        paths[name] = str(tmp_path / name)
    return paths


@pytest.fixture
def written(monkeypatch):
    """Record (file, value) of every write instead of writing."""
    log = []

    def write_all(directory, name, values):
        log.extend((name, value) for value in values)

    monkeypatch.setattr(cgroupfs, "write_all", write_all)
    return log


def apply(tree, resources):
    limits.check(tree, resources, update=False)
    limits.apply_early(tree, resources)
    limits.apply_late(tree, resources)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, []),
        ({"pids": {"limit": 0}}, [("pids.max", "1")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        ({"pids": {"limit": 7}}, [("pids.max", "7")]),
        ({"pids": {}}, []),
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
        ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}}, []),
        ({"cpu": {"burst": 0, "idle": 0}}, [("cpu.idle", "0"), ("cpu.cfs_burst_us", "0")]),
        ({"memory": {"reservation": 9, "swappiness": 0}},
         [("memory.soft_limit_in_bytes", "9"), ("memory.swappiness", "0")]),
        ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")]),
        ({"memory": {"disableOOMKiller": False, "limit": 0, "swap": 0}}, []),
        ({"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}, {"name": "e", "priority": 0}]}},
         [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "lo 5"), ("net_prio.ifpriomap", "e 0")]),
        ({"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 0}, "mlx5_1": {"hcaObjects": 7}}},
         [("rdma.max", "mlx5_0 hca_handle=3 hca_object=0"), ("rdma.max", "mlx5_1 hca_object=7")]),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 2**64 - 1}]},
         [("hugetlb.2MB.limit_in_bytes", "18446744073709551615")]),
        ({"blockIO": {"weight": 333, "leafWeight": 0, "weightDevice": [{"major": 8, "minor": 0, "weight": 444}]}},
         [("blkio.bfq.weight", "333"), ("blkio.bfq.weight_device", "8:0 444")]),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2**64 - 1}],
                      "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 2**53 + 1}]}},
         [("blkio.throttle.read_bps_device", "8:0 18446744073709551615"),
          ("blkio.throttle.write_iops_device", "8:16 9007199254740993")]),
    ],
)  # fmt: skip
@pytest.mark.row(82, 85, 86, 93, 95, 96, 98, 99, 100, 101, 102)
def test_setting_reaches_its_file(tree, written, resources, expected):
    apply(tree, resources)
    assert written == expected


@pytest.mark.row(100)
def test_reserved_huge_pages_are_limited_where_the_kernel_can(tree, written, tmp_path):
    (tmp_path / "hugetlb" / "hugetlb.1GB.rsvd.limit_in_bytes").touch()
    apply(tree, {"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]})
    assert written == [("hugetlb.1GB.limit_in_bytes", "0"), ("hugetlb.1GB.rsvd.limit_in_bytes", "0")]


def test_missing_file_is_named_and_never_made(tree, tmp_path):
    with pytest.raises(CgroupError, match=r"open .*/pids/pids.max: no such file or directory") as caught:
        apply(tree, {"pids": {"limit": 3}})
    assert caught.value.errno == errno.ENOENT
    assert list((tmp_path / "pids").iterdir()) == []


@pytest.mark.parametrize(
    ("resources", "controller"),
    [
        ({"memory": {"limit": 1}}, "memory"),
        ({"memory": {"swappiness": 0}}, "memory"),
        ({"pids": {"limit": 5}}, "pids"),
        ({"cpu": {"shares": 5}}, "cpu"),
        ({"cpu": {"mems": "0"}}, "cpuset"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "hugetlb"),
        ({"blockIO": {"weight": 10}}, "blkio"),
        ({"network": {"classID": 1}}, "net_cls"),
        ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "net_prio"),
        ({"rdma": {"mlx": {"hcaHandles": 1}}}, "rdma"),
        ({"devices": [{"allow": False, "access": "rwm"}]}, "devices"),
    ],
)
@pytest.mark.row(107, 108)
def test_limit_without_its_controller_is_refused_and_named(tree, resources, controller):
    del tree[controller]
    with pytest.raises(CgroupError, match=f"the {controller} controller is not mounted"):
        limits.check(tree, resources, update=False)


@pytest.mark.row(105)
def test_no_limit_needs_no_controller(written):
    resources = {"pids": {"limit": -1}, "memory": {"kernel": -1}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}}
    apply({"freezer": "/nowhere"}, resources)
    assert written == []


@pytest.mark.parametrize(
    ("resources", "path"),
    [
        ({"memory": {"limit": 10, "swap": 9}}, "memory.swap"),
        ({"memory": {"swap": 9}}, "memory.swap"),
        ({"memory": {"limit": -1, "swap": 9}}, "memory.swap"),
        ({"memory": {"swappiness": 101}}, "memory.swappiness"),
        ({"unified": {"memory.max": "1"}}, "unified"),
        ({"hugepageLimits": [{"pageSize": "../../2MB", "limit": 1}]}, r"hugepageLimits\[0\].pageSize"),
    ],
)
def test_contradiction_is_an_invalid_configuration(tree, resources, path):
    with pytest.raises(SpecError, match=f"invalid configuration linux.resources.{path}"):
        limits.check(tree, resources, update=False)


@pytest.mark.parametrize("size", ["", "B", "MB", "0MB", "02MB", "2mb", "2M", "2 MB", "-2MB", "2TB", "2MB/", "²MB"])
@pytest.mark.row(100)
def test_page_size_that_is_none_is_refused(size):
    with pytest.raises(SpecError):
        hugetlb.check({"hugetlb": "/x"}, [{"pageSize": size, "limit": 1}], update=False)


def test_update_compares_swap_with_the_limit_in_force(tree):
    limits.check(tree, {"memory": {"swap": 9}}, update=True)


def test_update_does_not_touch_devices(tree):
    with pytest.raises(Unsupported, match="linux.resources.devices"):
        limits.check(tree, {"devices": [{"allow": True, "access": "rwm"}]}, update=True)


@pytest.mark.row(84)
@pytest.mark.parametrize("key", ["kernel", "kernelTCP"])
@pytest.mark.parametrize("update", [False, True])
def test_kernel_memory_is_refused_where_it_limits(tree, key, update):
    with pytest.raises(Unsupported, match=f"linux.resources.memory.{key}: kernel memory cannot be limited by itself"):
        limits.check(tree, {"memory": {key: 1}}, update=update)
    for none in (0, -1):
        limits.check(tree, {"memory": {key: none}}, update=update)


class MemoryFiles:
    """The v1 rule: memory <= memory plus swap, at every moment; -1 is the largest."""

    MOST = 2**63 - 4096

    def __init__(self, limit, swap, usage=0):
        self.files = {memory.LIMIT: limit, memory.SWAP: swap, memory.USAGE: usage, memory.SWAP_USAGE: usage}

    def write(self, directory, name, value):
        number = int(value)
        files = self.files | {name: self.MOST if number == -1 else number}
        if files[memory.LIMIT] > files[memory.SWAP]:
            raise CgroupError("write", name, errno=errno.EINVAL)
        if files[name] < self.files[memory.USAGE]:
            raise CgroupError("write", name, errno=errno.EBUSY)
        self.files = files

    def read(self, directory, name):
        return str(self.files[name])

    def has(self, directory, name):
        return True

    def install(self, monkeypatch):
        for name in ("write", "read", "has"):
            monkeypatch.setattr(cgroupfs, name, getattr(self, name))


SIZES = st.sampled_from([-1, 4096, 8192, 12288, 16384])


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, SIZES)
@pytest.mark.row(83)
def test_memory_and_swap_move_between_any_two_pairs(limit, swap, new_limit, new_swap):
    def most(value):
        return MemoryFiles.MOST if value == -1 else value

    if most(limit) > most(swap) or most(new_limit) > most(new_swap):
        return
    kernel = MemoryFiles(most(limit), most(swap))
    with pytest.MonkeyPatch.context() as monkeypatch:
        kernel.install(monkeypatch)
        memory.apply({"memory": "/m"}, {"limit": new_limit, "swap": new_swap})
    assert (kernel.files[memory.LIMIT], kernel.files[memory.SWAP]) == (most(new_limit), most(new_swap))


@pytest.mark.row(83)
def test_unlimited_memory_lifts_swap_too(monkeypatch):
    kernel = MemoryFiles(4096, 8192)
    kernel.install(monkeypatch)
    memory.apply({"memory": "/m"}, {"limit": -1})
    assert kernel.files[memory.SWAP] == kernel.files[memory.LIMIT] == MemoryFiles.MOST


@pytest.mark.row(81)
def test_limit_below_the_usage_says_how_much_is_used(monkeypatch):
    MemoryFiles(16384, 16384, usage=8192).install(monkeypatch)
    with pytest.raises(CgroupError, match="8192 bytes are in use"):
        memory.apply({"memory": "/m"}, {"limit": 4096})


@pytest.mark.row(88)
def test_check_before_update_rejects_first(monkeypatch):
    kernel = MemoryFiles(16384, 16384, usage=8192)
    kernel.install(monkeypatch)
    with pytest.raises(CgroupError, match="rejecting memory limit 4096"):
        memory.apply({"memory": "/m"}, {"limit": 4096, "checkBeforeUpdate": True})
    with pytest.raises(CgroupError, match=r"rejecting memory\+swap limit 4096"):
        memory.apply({"memory": "/m"}, {"limit": 0, "swap": 4096, "checkBeforeUpdate": True})
    assert kernel.files[memory.LIMIT] == 16384


class CpuFiles:
    """The v1 rules: quota/period within the parent's, burst within the quota."""

    def __init__(self, period, quota, burst=0, parent=0.5):
        self.files = {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota, "cpu.cfs_burst_us": burst}
        self.parent = parent

    def write_all(self, directory, name, values):
        for value in values:
            self.write(directory, name, value)

    def write(self, directory, name, value):
        files = self.files | {name: int(value)}
        quota, burst = files["cpu.cfs_quota_us"], files["cpu.cfs_burst_us"]
        if quota > 0 and quota / files["cpu.cfs_period_us"] > self.parent:
            raise CgroupError("write", name, errno=errno.EINVAL)
        if (quota > 0 and burst > quota) or files["cpu.cfs_period_us"] < 1000:
            raise CgroupError("write", name, errno=errno.EINVAL)
        self.files = files


PERIODS = st.sampled_from([1000, 10000, 100000])
SHARE = st.sampled_from([0.1, 0.3, 0.5])


@settings(deadline=None)
@given(PERIODS, SHARE, PERIODS, SHARE, st.booleans())
@pytest.mark.row(90, 91)
def test_period_and_quota_move_under_a_limited_parent(period, share, new_period, new_share, with_burst):
    kernel = CpuFiles(period, int(period * share))
    given_values = {"period": new_period, "quota": int(new_period * new_share)}
    if with_burst:
        given_values["burst"] = given_values["quota"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(cgroupfs, "write_all", kernel.write_all)
        cpu.apply({"cpu": "/c"}, given_values)
    for key, value in given_values.items():
        assert kernel.files[f"cpu.cfs_{key}_us"] == value


@pytest.mark.parametrize("values", [{"period": 100}, {"quota": 90000}, {"period": 1000, "quota": 900}])
@pytest.mark.row(90)
def test_cpu_time_the_kernel_refuses_is_an_error(monkeypatch, values):
    monkeypatch.setattr(cgroupfs, "write_all", CpuFiles(100000, 10000).write_all)
    with pytest.raises(CgroupError) as caught:
        cpu.apply({"cpu": "/c"}, values)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(("idle", "order"), [(1, ["cpu.shares", "cpu.idle"]), (0, ["cpu.idle", "cpu.shares"])])
@pytest.mark.row(89, 94)
def test_shares_are_written_while_the_cgroup_is_not_idle(tree, written, tmp_path, idle, order):
    (tmp_path / "cpu" / "cpu.shares").write_text("512\n")
    apply(tree, {"cpu": {"shares": 512, "idle": idle}})
    assert [name for name, _ in written] == order


@pytest.mark.row(89)
def test_shares_out_of_the_kernels_range_are_an_error(tree, written, tmp_path):
    (tmp_path / "cpu" / "cpu.shares").write_text("262144\n")
    with pytest.raises(CgroupError, match="the maximum is 262144"):
        apply(tree, {"cpu": {"shares": 300000}})
