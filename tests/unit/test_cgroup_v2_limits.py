"""Limits on cgroup v2 over directories with the kernel's file names: what is written, and what is refused."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from capsule import log
from capsule.cgroups import cgroupfs, limits, undo
from capsule.cgroups.v2 import controllers, convert, cpu, memory
from capsule.errors import CgroupError, SpecError, Unsupported

ALL = "cpuset cpu io memory hugetlb pids rdma misc"
FILES = {
    "cpu.max": "max 100000", "memory.max": "max", "memory.low": "0", "memory.current": "0", "memory.swap.max": "max",
    "memory.swap.current": "0", "pids.max": "max", "cpu.weight": "100", "cpu.idle": "0", "cpu.max.burst": "0",
    "cpuset.cpus": "", "cpuset.mems": "", "io.max": "", "io.weight": "default 100", "hugetlb.2MB.max": "max",
    "rdma.max": "", "misc.max": "", "memory.high": "max", "io.bfq.weight": "100", "hugetlb.1GB.max": "max",
    "cgroup.type": "domain", "cgroup.procs": "", "cgroup.max.depth": "max",
}


class Tree:
    """A hierarchy of plain directories: top (the mount point), middle, and the container's leaf."""

    def __init__(self, place: Path) -> None:
        self.top = place / "top"
        self.middle = self.top / "middle"
        self.leaf = self.middle / "leaf"
        self.leaf.mkdir(parents=True)
        for directory in (self.top, self.middle, self.leaf):
            self.put(directory, "cgroup.controllers", ALL)
            self.put(directory, "cgroup.subtree_control", ALL)
        for directory in (self.middle, self.leaf):
            for name, text in FILES.items():
                self.put(directory, name, text)
        self.paths = {"": str(self.leaf)}

    def put(self, directory: Path, name: str, text: str) -> None:
        (directory / name).write_text(text + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record (file, value) of every write instead of writing."""
    found: list[tuple[str, str]] = []

    def write_all(directory: str, name: str, values) -> None:
        if not cgroupfs.has(directory, name):
            raise CgroupError("open", f"{directory}/{name}", errno=errno.ENOENT)
        found.extend((name, value) for value in values)

    monkeypatch.setattr(cgroupfs, "write_all", write_all)
    return found


@pytest.fixture
def warnings():
    seen: list[str] = []
    log.configure(lambda level, message: seen.append(message) if level == "warning" else None)
    yield seen
    log.configure(None)


def apply(tree: Tree, resources: dict) -> None:
    limits.check(tree.paths, resources, update=False)
    limits.apply_early(tree.paths, resources)
    limits.apply_late(tree.paths, resources)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, []),
        ({"pids": {"limit": 0}}, [("pids.max", "1")]),
        ({"pids": {"limit": 1}}, [("pids.max", "1")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        ({"pids": {}}, []),
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
        ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}}, []),
        ({"cpu": {"shares": 1024}}, [("cpu.weight", "100")]),
        ({"cpu": {"shares": 1}}, [("cpu.weight", "1")]),
        ({"cpu": {"shares": 2**40}}, [("cpu.weight", "10000")]),
        ({"cpu": {"shares": 512, "idle": 1}}, [("cpu.idle", "1")]),
        ({"cpu": {"shares": 1024, "idle": 0}}, [("cpu.idle", "0"), ("cpu.weight", "100")]),
        ({"cpu": {"quota": 50000}}, [("cpu.max", "50000 100000")]),
        ({"cpu": {"period": 50000}}, [("cpu.max", "max 50000")]),
        ({"cpu": {"quota": -1}}, [("cpu.max", "max 100000")]),
        ({"cpu": {"quota": 40000, "period": 80000, "burst": 0}}, [("cpu.max", "40000 80000"), ("cpu.max.burst", "0")]),
        ({"memory": {"limit": 2**63 - 1, "reservation": 9}}, [("memory.max", str(2**63 - 1)), ("memory.low", "9")]),
        ({"memory": {"limit": 30, "swap": 50}}, [("memory.swap.max", "20"), ("memory.max", "30")]),
        ({"memory": {"limit": 30, "swap": 30}}, [("memory.swap.max", "0"), ("memory.max", "30")]),
        ({"memory": {"limit": 30, "swap": -1}}, [("memory.swap.max", "max"), ("memory.max", "30")]),
        ({"memory": {"limit": -1}}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"memory": {"reservation": -1}}, [("memory.low", "max")]),
        ({"memory": {"disableOOMKiller": False, "useHierarchy": True, "limit": 0, "swap": 0, "kernel": -1}}, []),
        ({"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 0}}}, [("rdma.max", "mlx5_0 hca_handle=3 hca_object=0")]),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 2**64 - 1}]}, [("hugetlb.2MB.max", "18446744073709551615")]),
        ({"blockIO": {"weight": 333, "weightDevice": [{"major": 8, "minor": 0, "weight": 444}]}},
         [("io.bfq.weight", "333"), ("io.bfq.weight", "8:0 444")]),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2**64 - 1}],
                      "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}],
                      "throttleReadIOPSDevice": [{"major": 8, "minor": 16, "rate": 2**53 + 1}],
                      "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 7}]}},
         [("io.max", "8:0 rbps=18446744073709551615"), ("io.max", "8:0 wbps=max"),
          ("io.max", "8:16 riops=9007199254740993"), ("io.max", "8:16 wiops=7")]),
        ({"unified": {"memory.high": "10M", "misc.max": "res_a 5\nres_b max\n", "cgroup.max.depth": "3"}},
         [("misc.max", "res_a 5"), ("misc.max", "res_b max"), ("cgroup.max.depth", "3"), ("memory.high", "10M")]),
        ({"unified": {"cpuset.cpus": ""}}, [("cpuset.cpus", "\n")]),
    ],
)  # fmt: skip
@pytest.mark.row(81, 82, 83, 89, 90, 91, 93, 94, 95, 96, 98, 99, 100, 102, 103)
def test_setting_reaches_its_file(tree, written, resources, expected):
    apply(tree, resources)
    assert written == expected


@pytest.mark.row(96, 98)
def test_weights_go_to_the_cost_model_where_there_is_no_bfq(tree, written):
    os.unlink(tree.leaf / "io.bfq.weight")
    apply(tree, {"blockIO": {"weight": 750, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}})
    assert written == [("io.weight", "7475"), ("io.weight", "8:0 1")]


@pytest.mark.row(96)
def test_a_weight_that_nothing_takes_is_an_error(tree, written):
    os.unlink(tree.leaf / "io.bfq.weight")
    os.unlink(tree.leaf / "io.weight")
    with pytest.raises(CgroupError, match="blockIO weight: neither io.bfq.weight .* nor io.weight .* is in"):
        apply(tree, {"blockIO": {"weight": 750}})


@pytest.mark.row(100)
def test_reserved_huge_pages_are_limited_where_the_kernel_can(tree, written):
    tree.put(tree.leaf, "hugetlb.1GB.rsvd.max", "max")
    apply(tree, {"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]})
    assert written == [("hugetlb.1GB.max", "0"), ("hugetlb.1GB.rsvd.max", "0")]


@pytest.mark.row(100)
def test_a_page_size_that_the_machine_has_not_is_told(tree, written):
    with pytest.raises(CgroupError, match=r"hugetlb.64KB.max: the machine has huge pages of 1GB, 2MB"):
        apply(tree, {"hugepageLimits": [{"pageSize": "64KB", "limit": 0}]})


@pytest.mark.row(103)
def test_unified_wins_and_says_so(tree, written, warnings):
    apply(tree, {"pids": {"limit": 9}, "memory": {"limit": 5}, "unified": {"pids.max": "7"}})
    assert written == [("memory.max", "5"), ("pids.max", "9"), ("pids.max", "7")]
    assert warnings == ["linux.resources.pids.limit: linux.resources.unified['pids.max'] is used instead"]


@pytest.mark.parametrize("name", ["", ".", "memory", ".max", "../memory.max", "memory/x.max", "cgroup.procs",
                                  "cgroup.kill", "cgroup.freeze", "cgroup.threads", "cgroup.type",
                                  "cgroup.subtree_control"])
@pytest.mark.row(103)
def test_what_is_no_setting_is_refused(tree, name):
    with pytest.raises(SpecError, match="linux.resources.unified"):
        limits.check(tree.paths, {"unified": {name: "1"}}, update=False)


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_no_value_is_refused(tree, value):
    with pytest.raises(SpecError, match=r"unified\['memory.max'\]: has no value"):
        limits.check(tree.paths, {"unified": {"memory.max": value}}, update=False)


@pytest.mark.parametrize(("resources", "key"), [
    ({"cpu": {"realtimeRuntime": 1}}, "cpu.realtimeRuntime"),
    ({"cpu": {"realtimePeriod": 1}}, "cpu.realtimePeriod"),
    ({"memory": {"swappiness": 0}}, "memory.swappiness"),
    ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
    ({"memory": {"kernel": 5}}, "memory.kernel"),
    ({"memory": {"kernelTCP": 5}}, "memory.kernelTCP"),
    ({"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
    ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}}, "blockIO.leafWeight"),
    ({"network": {"classID": 1}}, "network.classID"),
    ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "network.priorities"),
])
@pytest.mark.row(84, 85, 86, 92, 97, 101)
def test_what_v2_has_not_is_refused_by_name(tree, resources, key):
    with pytest.raises(Unsupported, match=f"apply linux.resources.{key}: "):
        limits.check(tree.paths, resources, update=False)


@pytest.mark.parametrize(("resources", "path"), [
    ({"memory": {"limit": 10, "swap": 9}}, "memory.swap"),
    ({"memory": {"swap": 9}}, "memory.swap"),
    ({"memory": {"limit": -1, "swap": 9}}, "memory.swap"),
    ({"hugepageLimits": [{"pageSize": "../../2MB", "limit": 1}]}, r"hugepageLimits\[0\].pageSize"),
])
def test_contradiction_is_an_invalid_configuration(tree, resources, path):
    with pytest.raises(SpecError, match=f"invalid configuration linux.resources.{path}"):
        limits.check(tree.paths, resources, update=False)


@pytest.mark.row(83)
def test_an_update_of_swap_alone_counts_with_the_limit_in_force(tree, written):
    tree.put(tree.leaf, "memory.max", "30")
    limits.check(tree.paths, {"memory": {"swap": 50}}, update=True)
    memory.apply(tree.paths, {"swap": 50})
    assert written == [("memory.swap.max", "20")]
    with pytest.raises(SpecError, match="29 is less than the memory limit 30"):
        memory.apply(tree.paths, {"swap": 29})
    tree.put(tree.leaf, "memory.max", "max")
    with pytest.raises(SpecError, match="unlimited memory limit"):
        memory.apply(tree.paths, {"swap": 50})


@pytest.mark.row(83)
def test_no_swap_at_all_needs_no_accounting_but_less_swap_does(tree, written, warnings, monkeypatch):
    os.unlink(tree.leaf / "memory.swap.max")
    monkeypatch.setattr(memory, "_swaps", lambda: False)
    memory.apply(tree.paths, {"limit": 30, "swap": 30})
    assert written == [("memory.max", "30")]
    assert "swap is not counted here" in warnings[0]
    memory.apply(tree.paths, {"limit": 30, "swap": -1})
    with pytest.raises(CgroupError, match="memory.swap.max: no such file"):
        memory.apply(tree.paths, {"limit": 30, "swap": 31})
    monkeypatch.setattr(memory, "_swaps", lambda: True)
    with pytest.raises(CgroupError, match="memory.swap.max: no such file"):
        memory.apply(tree.paths, {"limit": 30, "swap": 30})


@pytest.mark.row(88)
def test_check_before_update_rejects_first(tree, written):
    tree.put(tree.leaf, "memory.current", "8192")
    tree.put(tree.leaf, "memory.swap.current", "100")
    with pytest.raises(CgroupError, match="rejecting memory limit 4096: 8192 bytes are in use"):
        memory.apply(tree.paths, {"limit": 4096, "checkBeforeUpdate": True})
    with pytest.raises(CgroupError, match=r"rejecting memory\+swap limit 8200: 8292 bytes are in use"):
        memory.apply(tree.paths, {"limit": 8192, "swap": 8200, "checkBeforeUpdate": True})
    assert written == []


@pytest.mark.row(90)
def test_one_of_quota_and_period_keeps_the_other(tree, written):
    tree.put(tree.leaf, "cpu.max", "20000 50000")
    cpu.apply(tree.paths, {"quota": 30000})
    cpu.apply(tree.paths, {"period": 60000})
    assert written == [("cpu.max", "30000 50000"), ("cpu.max", "20000 60000")]


class Bandwidth:
    """The kernel's rule: the burst is within the quota at every moment."""

    def __init__(self, quota: str, burst: int) -> None:
        self.quota, self.burst = quota, burst

    def read(self, directory, name):
        return f"{self.quota} 100000"

    def write_all(self, directory, name, values):
        quota = values[0].split()[0] if name == "cpu.max" else self.quota
        burst = int(values[0]) if name == "cpu.max.burst" else self.burst
        if quota != "max" and burst > int(quota):
            raise CgroupError("write", name, errno=errno.EINVAL)
        self.quota, self.burst = quota, burst


QUOTAS = st.sampled_from(["max", "1000", "20000", "90000"])


@settings(deadline=None)
@given(QUOTAS, st.sampled_from([0, 1000, 15000]), QUOTAS, st.sampled_from([0, 1000, 15000]))
@pytest.mark.row(91)
def test_quota_and_burst_move_between_any_two_pairs(quota, burst, new_quota, new_burst):
    def is_possible(quota, burst):
        return quota == "max" or burst <= int(quota)

    if not is_possible(quota, burst) or not is_possible(new_quota, new_burst):
        return
    kernel = Bandwidth(quota, burst)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(cgroupfs, "read", kernel.read)
        monkeypatch.setattr(cgroupfs, "write_all", kernel.write_all)
        monkeypatch.setattr(cgroupfs, "has", lambda directory, name: True)
        cpu.apply({"": "/c"}, {"quota": -1 if new_quota == "max" else int(new_quota), "burst": new_burst})
    assert (kernel.quota, kernel.burst) == (new_quota, new_burst)


@pytest.mark.row(89)
def test_weight_is_the_curve_that_all_runtimes_use():
    assert [convert.cpu_weight(shares) for shares in (2, 1024, 262144)] == [1, 100, 10000]
    last = 0
    for shares in [*range(3, 6000), *range(6000, 262144, 997)]:
        length = math.log2(shares)
        exact = 10 ** ((length * length + 125 * length) / 612 - 7 / 34)
        weight = convert.cpu_weight(shares)
        assert weight == (100 if shares == 1024 else math.ceil(exact)), shares
        assert last <= weight
        last = weight


def test_what_failed_is_taken_back_also_where_a_value_has_two_words(tree, monkeypatch):
    tree.put(tree.leaf, "cpu.max", "20000 50000")
    tree.put(tree.leaf, "io.max", "8:0 rbps=5 wbps=max riops=max wiops=max")
    texts = {"cpu.max": "20000 50000", "io.max": "8:0 rbps=5 wbps=max riops=max wiops=max", "cpuset.cpus": "\n"}
    real, seen = cgroupfs.write_all, {}

    def write_all(directory, name, values):
        if name == "pids.max":
            raise CgroupError("write", name, errno=errno.EIO)
        seen.setdefault(name, []).extend(values)
        cgroupfs.before_write and cgroupfs.before_write(directory, name, values)

    monkeypatch.setattr(cgroupfs, "write_all", write_all)
    with pytest.raises(CgroupError), undo.Undo():
        apply(tree, {"cpu": {"quota": 7000, "cpus": "0"}, "pids": {"limit": 3},
                     "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]}})
    assert {name: values[-1] for name, values in seen.items()} == texts
    assert real is not write_all


def test_the_weight_is_put_back_after_the_idle_state(tree, monkeypatch):
    """Leaving it resets the weight."""
    tree.put(tree.leaf, "cpu.weight", "59")
    real = cgroupfs.write_all

    def write_all(directory, name, values):
        if name == "cpu.max":
            raise CgroupError("write", name, errno=errno.EINVAL)
        real(directory, name, values)
        if name == "cpu.idle":
            tree.put(tree.leaf, "cpu.weight", "0" if values[0] == "1" else "100")

    monkeypatch.setattr(cgroupfs, "write_all", write_all)
    with pytest.raises(CgroupError), undo.Undo():
        apply(tree, {"cpu": {"idle": 1, "quota": 1}})
    assert [(tree.leaf / name).read_text()[:2] for name in ("cpu.idle", "cpu.weight")] == ["0\n", "59"]


# Controllers


@pytest.mark.parametrize(("resources", "controller"), [
    ({"memory": {"limit": 1}}, "memory"),
    ({"pids": {"limit": 5}}, "pids"),
    ({"cpu": {"shares": 5}}, "cpu"),
    ({"cpu": {"mems": "0"}}, "cpuset"),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "hugetlb"),
    ({"blockIO": {"weight": 10}}, "io"),
    ({"rdma": {"mlx": {"hcaHandles": 1}}}, "rdma"),
    ({"unified": {"misc.max": "a 1"}}, "misc"),
    ({"unified": {"nonsense.max": "1"}}, "nonsense"),
])
@pytest.mark.row(103, 107)
def test_a_controller_that_the_hierarchy_has_not_is_named(tree, resources, controller):
    for directory in (tree.top, tree.middle, tree.leaf):
        tree.put(directory, "cgroup.controllers", ALL.replace(controller, "").replace("set", ""))
    with pytest.raises(CgroupError, match=rf"{controller}: {tree.top}/cgroup.controllers has not {controller}"):
        limits.check(tree.paths, resources, update=False)


@pytest.mark.row(105)
def test_no_limit_needs_no_controller(tree, written):
    for directory in (tree.top, tree.middle, tree.leaf):
        tree.put(directory, "cgroup.controllers", "")
        tree.put(directory, "cgroup.subtree_control", "")
    for name in FILES:
        if not name.startswith("cgroup."):
            os.unlink(tree.leaf / name)
    apply(tree, {"pids": {"limit": -1}, "memory": {"limit": -1, "swap": -1}, "cpu": {"shares": 0, "quota": -1},
                 "blockIO": {"weight": 0}, "hugepageLimits": [], "unified": {}})
    assert written == []


class Kernel:
    """Hands controllers down as the kernel does: subtree_control of a cgroup becomes controllers of those below."""

    def __init__(self, tree: Tree, monkeypatch: pytest.MonkeyPatch, refuse: dict | None = None) -> None:
        self.tree, self.refuse, self.writes = tree, refuse or {}, []
        self.real = cgroupfs.write_all
        for directory in (tree.middle, tree.leaf):
            tree.put(directory, "cgroup.controllers", "")
        for directory in (tree.top, tree.middle):
            tree.put(directory, "cgroup.subtree_control", "")
        monkeypatch.setattr(cgroupfs, "write_all", self.write_all)

    def write_all(self, directory, name, values):
        self.writes.append((os.path.basename(directory), name, *values))
        if name != "cgroup.subtree_control":
            return
        for word in values[0].split():
            number = self.refuse.get((os.path.basename(directory), word[1:]))
            if number:
                raise CgroupError("write", f"{directory}/{name}", errno=number)
        here = Path(directory)
        handed = {*(here / name).read_text().split(), *(word[1:] for word in values[0].split())}
        self.tree.put(here, name, " ".join(sorted(handed)))
        for below in here.iterdir():
            if below.is_dir():
                self.tree.put(below, "cgroup.controllers", " ".join(sorted(handed)))


@pytest.mark.row(103, 107)
def test_controllers_are_handed_down_the_whole_path(tree, monkeypatch):
    kernel = Kernel(tree, monkeypatch)
    apply(tree, {"pids": {"limit": 5}})
    assert [(place, name) for place, name, _ in kernel.writes] == [
        ("top", "cgroup.subtree_control"), ("middle", "cgroup.subtree_control"), ("leaf", "pids.max")]
    for _, _, value in kernel.writes[:2]:
        assert sorted(value.split()) == sorted(f"+{name}" for name in ALL.split())


def test_one_that_is_refused_and_not_needed_is_left_out(tree, monkeypatch):
    kernel = Kernel(tree, monkeypatch, {("top", "cpu"): errno.EINVAL})
    apply(tree, {"pids": {"limit": 5}})
    assert kernel.writes[-1] == ("leaf", "pids.max", "5")
    assert set(controllers.enabled(str(tree.leaf))) == set(ALL.split()) - {"cpu"}


@pytest.mark.parametrize(("number", "words"), [
    (errno.EACCES, r"/middle belongs to uid \d+ .* and we are uid \d+; delegate it as root: .*pids"),
    (errno.EROFS, "mounted read-only"),
    (errno.EBUSY, "processes are in it"),
    (errno.ENOSPC, "no space left"),
])
@pytest.mark.row(107)
def test_one_that_is_needed_and_refused_says_why(tree, monkeypatch, number, words):
    Kernel(tree, monkeypatch, {("middle", "pids"): number})
    with pytest.raises(CgroupError, match=f"enable controller pids in {tree.middle}/cgroup.subtree_control: .*{words}"):
        apply(tree, {"pids": {"limit": 5}})


@pytest.mark.row(107)
def test_a_threaded_cgroup_is_explained(tree, monkeypatch):
    tree.put(tree.middle, "cgroup.type", "threaded")
    Kernel(tree, monkeypatch, {("middle", "memory"): errno.EOPNOTSUPP})
    with pytest.raises(CgroupError, match='cgroup.type is "threaded": in a threaded subtree only cpu, cpuset'):
        apply(tree, {"memory": {"limit": 5}})


@pytest.mark.row(107)
def test_a_cgroup_with_processes_is_told_beforehand_and_never_made_threaded(tree, monkeypatch):
    kernel = Kernel(tree, monkeypatch)
    tree.put(tree.middle, "cgroup.procs", "1234")
    with pytest.raises(CgroupError, match=r"cannot set cpu shares limit: .*/middle/.*: processes are in it"):
        limits.check(tree.paths, {"cpu": {"shares": 5}}, update=False)
    assert kernel.writes == []
    limits.apply_early(tree.paths, {"memory": {"limit": -1}})
    assert [row[0] for row in kernel.writes] == ["top"]


@pytest.mark.row(107)
def test_a_directory_of_somebody_else_is_told_beforehand(tree, monkeypatch):
    Kernel(tree, monkeypatch)
    monkeypatch.setattr(controllers, "_why_not_writable", lambda directory: errno.EACCES)
    monkeypatch.setattr(controllers.posix, "access", lambda path, mode, **how: "effective_ids" not in how
                        and os.access(path, mode))
    with pytest.raises(CgroupError, match="there is no pids.max: .*/(middle|top) belongs to uid"):
        limits.check(tree.paths, {"pids": {"limit": 5}}, update=False)


def test_a_cgroup_that_nothing_can_join_is_told(tree):
    tree.put(tree.leaf, "cgroup.type", "domain invalid")
    with pytest.raises(CgroupError, match='join cgroup .*/leaf: its cgroup.type is "domain invalid"'):
        controllers.check_type(str(tree.leaf))


# Beside v1


@pytest.mark.row(108)
def test_beside_v1_a_controller_is_used_where_it_is(tree, written, tmp_path):
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "pids.max").write_text("max\n")
    paths = {"pids": str(tmp_path / "pids"), **tree.paths}
    resources = {"pids": {"limit": 3}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
    limits.check(paths, resources, update=False)
    limits.apply_early(paths, resources)
    limits.apply_late(paths, resources)
    assert written == [("hugetlb.2MB.max", "0"), ("pids.max", "3")]
    with pytest.raises(SpecError, match="it needs cgroup v2 alone"):
        limits.check(paths, {"unified": {"memory.max": "1"}}, update=False)
    with pytest.raises(CgroupError, match="the net_cls controller is not mounted"):
        limits.check(paths, {"network": {"classID": 1}}, update=False)


@pytest.mark.row(108)
def test_beside_v1_a_controller_that_neither_has_is_refused(tree, tmp_path):
    tree.put(tree.top, "cgroup.controllers", "hugetlb")
    with pytest.raises(CgroupError, match="the memory controller is not mounted"):
        limits.check({"pids": str(tmp_path), **tree.paths}, {"memory": {"limit": 5}}, update=False)
