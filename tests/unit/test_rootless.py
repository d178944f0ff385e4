"""What is decided for who is not root: ids, programs, directories, cgroups, and doctor's causes of what fails."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys

import pytest
from helpers.ordinary import let_in
from helpers.requires import requires

from capsule._ext import openbeneath
from capsule.cgroups import unprivileged
from capsule.cgroups.layout import Hierarchy
from capsule.cgroups.manager import Manager
from capsule.errors import CgroupError, StateError, Unsupported
from capsule.linux import subids
from capsule.runtime import doctor_user, idmap_programs
from capsule.state import roots

NOBODY = 65534


@contextlib.contextmanager
def somebody():
    """Have the kernel judge file permissions as an ordinary user's."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# Subordinate ids


@pytest.fixture
def root_fd(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("me:x:1000:1000::/home/me:/bin/sh\n")
    fd = openbeneath.open_host(str(tmp_path), openbeneath.O_PATH | openbeneath.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("me:100000:65536\n", [(100000, 65536)]),
        ("1000:5:6\nother:1:2\nme:7:8\n", [(5, 6), (7, 8)]),
        ("me:x:65536\nme:1\nme:1:2:3\nme:-1:5\nme:3:0\n:1:2\n", []),
        ("me:99999999999:1\n", []),
        ("", []),
    ],
)
def test_the_rows_of_a_user(tmp_path, root_fd, text, found):
    (tmp_path / "etc" / "subuid").write_text(text)
    assert subids.ranges(root_fd, "uid", 1000) == found


def test_without_the_file_there_are_no_rows(root_fd):
    assert subids.ranges(root_fd, "gid", 1000) == []


@pytest.mark.parametrize(
    ("mappings", "missing"),
    [
        ([(0, 1000, 1), (1, 100000, 65536)], []),
        ([(0, 1000, 2)], [(1000, 1001)]),
        ([(0, 100000, 65537)], [(100000, 165536)]),
        ([(0, 165535, 2)], [(165535, 165536)]),
        ([(0, 0, 1), (1, 100000, 1)], [(0, 0)]),
    ],
)
def test_ranges_that_no_row_gives(mappings, missing):
    assert subids.lacking(mappings, 1000, [(100000, 65536), (165536, 10)]) == missing


def test_a_map_of_all_that_is_granted():
    assert subids.suggest(1000, []) == [(0, 1000, 1)]
    assert subids.suggest(1000, [(5, 6), (20, 30)]) == [(0, 1000, 1), (1, 5, 6), (7, 20, 30)]


@pytest.mark.parametrize(("own", "rows", "mapped"), [
    (1000, [(100000, 65536), (100000, 65536)], [(1, 100000, 65536)]),
    (1000, [(100000, 10), (100005, 10)], [(1, 100000, 10), (11, 100010, 5)]),
    (1000, [(100005, 10), (100000, 20)], [(1, 100005, 10), (11, 100000, 5), (16, 100015, 5)]),
    (1000, [(990, 20)], [(1, 990, 10), (11, 1001, 9)]),
    (1000, [(1000, 1)], []),
])
def test_no_id_is_mapped_twice(own, rows, mapped):
    assert subids.suggest(own, rows) == [(0, own, 1), *mapped]


def test_a_map_has_no_more_rows_than_the_kernel_takes():
    assert len(subids.suggest(1000, [(100000 + 2 * index, 1) for index in range(400)])) == 340


@pytest.mark.parametrize(("missing", "text", "words"), [
    ((100000, 165535), "", "usermod --add-subuids 100000-165535 me"),
    ((300000, 300009), "other:100000:65536\n", "usermod --add-subuids 300000-300009 me"),
    # The machine's root and accounts, another's containers, an account further up:
    ((0, 65535), "", "these uids are not to be had, map others: usermod --add-subuids 100000-165535 me"),
    ((1, 1), "", "these uids are not to be had, map others: usermod --add-subuids 100000-165535 me"),
    ((165535, 165536), "other:100000:65536\n",
     "these uids are not to be had, map others: usermod --add-subuids 165536-231071 me"),
    ((900000, 900001), "", "these uids are not to be had, map others: usermod --add-subuids 100000-165535 me"),
    # No row at all:
    (None, "", "usermod --add-subuids 100000-165535 me"),
    (None, "b:165536:65536\na:100000:65536\nc:240000:1\n", "usermod --add-subuids 240001-305536 me"),
    (None, "a:100000:4000000000\n", ""),
])
def test_nobody_is_told_to_take_ids_that_somebody_has(tmp_path, root_fd, missing, text, words):
    with (tmp_path / "etc" / "passwd").open("a") as file:
        file.write("far:x:900001:900001::/:/bin/sh\n")
    (tmp_path / "etc" / "subuid").write_text(text)
    assert idmap_programs.repair_in(root_fd, "uid", 1000, missing) == words


def test_who_has_no_account_gets_a_line_to_add(root_fd):
    words = "add the line 4711:100000:65536 to /etc/subgid"
    assert idmap_programs.repair_in(root_fd, "gid", 4711, None) == words


# newuidmap


@pytest.mark.parametrize("mode", [0o757, 0o775])
def test_a_program_that_others_may_write_is_passed_over(tmp_path, mode):
    program = tmp_path / "newuidmap"
    program.write_text("")
    program.chmod(mode)
    with pytest.raises(Unsupported, match="others than root may write to it"):
        idmap_programs.find("newuidmap", (str(tmp_path),))


@requires("root")
def test_a_program_of_another_user_is_passed_over_for_the_next(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "newuidmap").write_text("")
        (tmp_path / name / "newuidmap").chmod(0o755)
    os.chown(tmp_path / "a" / "newuidmap", 1000, 0)
    assert idmap_programs.find("newuidmap", (f"{tmp_path}/a", f"{tmp_path}/b")) == f"{tmp_path}/b/newuidmap"


def test_no_program_names_the_package(tmp_path):
    with pytest.raises(Unsupported, match="no newgidmap is installed; apt-get install uidmap"):
        idmap_programs.find("newgidmap", (str(tmp_path),))


def test_what_the_programs_are_looked_for_in_is_fixed(monkeypatch, tmp_path):
    (tmp_path / "newuidmap").write_text("")
    (tmp_path / "newuidmap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with contextlib.suppress(Unsupported):
        assert not idmap_programs.find("newuidmap").startswith(str(tmp_path))


# Directories of records


@pytest.fixture
def private(tmp_path):
    place = tmp_path / "run"
    place.mkdir(mode=0o700)
    return place


def test_a_directory_of_ones_own(private):
    assert roots.private_root(f"{private}/") == f"{private}/capsule"


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_a_directory_that_others_may_write_to(private, mode):
    private.chmod(mode)
    with pytest.raises(StateError, match="others may write to it"):
        roots.private_root(str(private))


def test_a_link_to_a_directory_of_ones_own(private, tmp_path):
    (tmp_path / "link").symlink_to(private)
    with pytest.raises(StateError, match="it is not a directory"):
        roots.private_root(str(tmp_path / "link"))


@requires("root")
def test_a_directory_of_another(private):
    os.chown(private, 1000, 0)
    with pytest.raises(StateError, match="it belongs to uid 1000"):
        roots.private_root(str(private))


# Control groups


@pytest.fixture
def tree(tmp_path):
    """Give a hierarchy of directories: a (root's) / mine (nobody's), where a container would lie."""
    for name in ("a", "a/mine", "a/mine/own"):
        (tmp_path / name).mkdir(mode=0o755)
        (tmp_path / name / "cgroup.procs").write_text("")
    for name in ("a/mine", "a/mine/own"):
        os.chown(tmp_path / name, NOBODY, NOBODY)
        os.chown(tmp_path / name / "cgroup.procs", NOBODY, NOBODY)
    let_in(tmp_path)
    return tmp_path


_SETTLE = """
import sys
from capsule.cgroups import unprivileged
from capsule.cgroups.layout import Hierarchy
from capsule.cgroups.manager import Manager
from capsule.errors import CgroupError
tree = sys.argv[1]
made = Hierarchy([""], tree, "/", tree + "/a")
made.leaf = tree + "/a/c1"
manager = Manager({"": made.leaf}, [], fresh=True)
manager.hierarchies = [made]
try:
    unprivileged.settle(manager, {"pids": {"limit": 5}}, path_given=False, private_pids=True)
except CgroupError as err:
    print(err)
"""


def hierarchy(tree, own: str, leaf: str, controllers=("",)) -> Hierarchy:
    made = Hierarchy(list(controllers), str(tree), "/", f"{tree}/{own}")
    made.leaf = f"{tree}/{leaf}"
    return made


def manager(*hierarchies: Hierarchy) -> Manager:
    made = Manager({name: each.leaf for each in hierarchies for name in each.controllers}, [], fresh=True)
    made.hierarchies = list(hierarchies)
    return made


@requires("root")
@pytest.mark.parametrize(
    ("own", "leaf", "obstacle"),
    [
        ("a/mine/own", "a/mine/c1", ""),
        ("a/mine/own", "a/mine/deep/c1", ""),
        ("a/mine/own", "a/c1", "a"),
        ("a", "a/mine/c1", "a"),  # nobody may take a process out of a
        ("a/mine/own", "a/mine", ""),
        ("a/mine/own", "a", "a"),
    ],
)
def test_what_keeps_a_user_from_a_cgroup(tree, own, leaf, obstacle):
    with somebody():
        found = unprivileged.obstacle(hierarchy(tree, own, leaf))
    assert found == (f"{tree}/{obstacle}" if obstacle else "")


@requires("root")
def test_a_limit_is_never_lost_with_its_cgroup(tree):
    made = manager(hierarchy(tree, "a", "a/c1"))
    with somebody(), pytest.raises(CgroupError) as caught:
        unprivileged.settle(made, {"pids": {"limit": 5}}, path_given=False, private_pids=True)
    text = str(caught.value)
    assert text.startswith("cannot set pids limit: container could not join or create cgroup")
    assert f"{tree}/a belongs to uid 0 (mode 0755) and we are uid {NOBODY}" in text
    assert "user@.service.d/delegate.conf" in text and "Delegate=cpu cpuset io memory pids" in text


@requires("root")
@pytest.mark.parametrize(("controllers", "limits", "named"), [
    (["cpu", "cpuacct"], {"cpus": "0"}, ""), (["cpuset"], {"cpus": "0"}, "cpuset"), (["cpuset"], {"shares": 5}, ""),
    (["cpu"], {"cpus": "0", "shares": 5}, "cpu"), ([""], {"mems": "0"}, "cpuset"),
    ([""], {"mems": "0", "quota": 5}, "cpu"),
])
def test_of_processors_and_their_time_the_one_that_is_lost_is_named(tree, controllers, limits, named):
    made = manager(hierarchy(tree, "a", "a/c1", controllers))
    with somebody():
        if not named:
            unprivileged.settle(made, {"cpu": limits}, path_given=False, private_pids=True)
            return
        with pytest.raises(CgroupError, match=f"^cannot set {named} limit"):
            unprivileged.settle(made, {"cpu": limits}, path_given=False, private_pids=True)


@requires("root")
def test_a_cgroup_that_the_config_names_is_not_given_up(tree):
    with somebody(), pytest.raises(CgroupError, match="unable to apply cgroup configuration .*permission denied"):
        unprivileged.settle(manager(hierarchy(tree, "a", "a/c1")), {}, path_given=True, private_pids=True)


@requires("root")
def test_of_several_hierarchies_those_remain_that_are_ours(tree):
    made = manager(hierarchy(tree, "a/mine/own", "a/mine/c1", ["pids"]), hierarchy(tree, "a", "a/c1", ["memory"]))
    with somebody():
        unprivileged.settle(made, {"pids": {"limit": 5}, "devices": [{}]}, path_given=False, private_pids=True)
    assert made.paths == {"pids": f"{tree}/a/mine/c1"}
    assert made.hierarchies[1].leaf == f"{tree}/a"  # for the cgroup mount: the runtime's own
    with somebody(), pytest.raises(CgroupError, match="cannot set memory limit"):
        unprivileged.settle(made, {"memory": {"limit": 5}}, path_given=False, private_pids=True)


@requires("root")
def test_root_may_do_everything(tree):
    made = manager(hierarchy(tree, "a", "a/c1"))
    unprivileged.settle(made, {"pids": {"limit": 5}}, path_given=True, private_pids=True)
    assert made.paths == {"": f"{tree}/a/c1"}


def test_the_directory_that_keeps_a_controller_is_named(tree):
    rows = (("a", "cpu memory pids", "memory"), ("a/mine", "memory", "memory"), ("a/mine/own", "memory", ""))
    for name, has, hands in rows:
        (tree / name / "cgroup.controllers").write_text(has)
        (tree / name / "cgroup.subtree_control").write_text(hands)
    text = unprivileged.not_handed_down(f"{tree}/a/mine/own", "pids", str(tree))
    assert text.startswith(f"{tree}/a does not hand the pids controller down: {tree}/a belongs to uid ")
    none = unprivileged.not_handed_down(f"{tree}/a/mine", "rdma", str(tree))
    assert none == "the kernel offers no rdma controller here"


def test_the_words_that_delegate_can_be_run(tmp_path):
    words = unprivileged.delegation().removeprefix("delegate it as root: ").removesuffix(", then log in anew")
    assert words.count(" /etc/") == 2 and "/etc/systemd/system/user@.service.d/delegate.conf" in words
    (tmp_path / "etc/systemd/system").mkdir(parents=True)  # as a stock system has it
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "systemctl").write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/said\n")
    (tmp_path / "bin" / "systemctl").chmod(0o755)

    subprocess.run(["/bin/sh", "-c", words.replace(" /etc/", f" {tmp_path}/etc/")], check=True,
                   env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})

    drop_in = tmp_path / "etc/systemd/system/user@.service.d/delegate.conf"
    assert drop_in.read_text() == "[Service]\nDelegate=cpu cpuset io memory pids\n"
    assert (tmp_path / "said").read_text() == "daemon-reload\n"


@requires("root")
def test_a_cgroup_file_system_that_is_read_only_is_called_so(tree):
    """As engines mount it into containers: of whom it is does not matter then."""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(["unshare", "-m", "/bin/sh", "-c", script, "sh", tree, sys.executable, _SETTLE],
                          check=True, capture_output=True, text=True)

    assert done.stdout.splitlines() == [
        f"cannot set pids limit: container could not join or create cgroup: the cgroup file system at {tree}/a is "
        "mounted read-only here, so the pids controller is not ours; have it mounted writable, or run without limits"]


def test_only_what_systemd_can_delegate_is_repaired_by_a_drop_in():
    assert "Delegate=cpu cpuset io memory pids\\n" in unprivileged.delegation("memory")
    assert unprivileged.delegation("hugetlb") == "systemd cannot delegate hugetlb to users: run as root"


# Doctor, where the machine has not the fault


def diagnosed(monkeypatch, results: dict, settings: dict) -> tuple[str, str]:
    monkeypatch.setattr(doctor_user.trial, "run", lambda name, fd, own: results[name])
    monkeypatch.setattr(doctor_user, "sysctl", lambda name: settings.get(name, ""))
    finding = doctor_user._user_namespace()
    assert finding.status == doctor_user.FAILS
    return finding.detail, finding.repair


def test_debians_switch(monkeypatch):
    detail, repair = diagnosed(monkeypatch, {"user": errno.EPERM}, {"kernel/unprivileged_userns_clone": "0"})
    assert "kernel.unprivileged_userns_clone is 0" in detail
    assert repair == "sysctl -w kernel.unprivileged_userns_clone=1"


@pytest.mark.parametrize(
    "results", [{"user": errno.EPERM}, {"user": 0, "uts": errno.EPERM}, {"user": 0, "uts": errno.EACCES}])
def test_apparmors_restriction(monkeypatch, results):
    detail, repair = diagnosed(monkeypatch, results, {"kernel/apparmor_restrict_unprivileged_userns": "1"})
    assert "kernel.apparmor_restrict_unprivileged_userns is 1" in detail
    assert "userns," in repair and "apparmor_parser -r /etc/apparmor.d/capsule" in repair
    assert os.readlink("/proc/self/exe") in repair


def test_no_room(monkeypatch):
    detail, repair = diagnosed(monkeypatch, {"user": errno.ENOSPC}, {"user/max_user_namespaces": "0"})
    assert "user.max_user_namespaces is 0" in detail
    assert repair == "sysctl -w user.max_user_namespaces=15000"


def test_a_kernel_without(monkeypatch):
    assert diagnosed(monkeypatch, {"user": errno.EINVAL}, {})[1] == "kernel with CONFIG_USER_NS"


def test_somebody_else_forbids_it(monkeypatch):
    assert "seccomp filter that denies it" in diagnosed(monkeypatch, {"user": errno.EPERM}, {})[1]
