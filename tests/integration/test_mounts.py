"""Mounts: the option words, order, sources and destinations, as mountinfo inside shows them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from helpers.payload import mountinfo
from helpers.requires import requires
from helpers.runtime import FAILS

pytestmark = requires("root", "runtime", "busybox", "gcc")

# options → (those that mountinfo must show, those that it must not)
WORDS = [
    (["defaults"], {"rw"}, {"ro", "nosuid", "nodev", "noexec"}),
    (["ro"], {"ro"}, {"rw"}),
    (["ro", "rw"], {"rw"}, {"ro"}),
    (["nosuid"], {"nosuid"}, set()),
    (["nosuid", "suid"], set(), {"nosuid"}),
    (["nodev"], {"nodev"}, set()),
    (["nodev", "dev"], set(), {"nodev"}),
    (["noexec"], {"noexec"}, set()),
    (["noexec", "exec"], set(), {"noexec"}),
    (["noatime"], {"noatime"}, {"relatime"}),
    (["noatime", "atime"], set(), {"noatime"}),
    (["relatime"], {"relatime"}, {"noatime"}),
    (["strictatime"], set(), {"relatime", "noatime"}),
    (["strictatime", "nostrictatime"], {"relatime"}, set()),
    (["nodiratime"], {"nodiratime"}, set()),
    (["nodiratime", "diratime"], set(), {"nodiratime"}),
    (["ro", "nosuid", "nodev", "noexec", "noatime"],
     {"ro", "nosuid", "nodev", "noexec", "noatime"}, set()),
]
SUPER_WORDS = [
    (["sync"], {"sync"}, set()),
    (["sync", "async"], set(), {"sync"}),
    (["dirsync"], {"dirsync"}, set()),
    (["lazytime"], {"lazytime"}, set()),
    (["lazytime", "nolazytime"], set(), {"lazytime"}),
    (["size=64k"], {"size=64k"}, set()),
    (["mode=0710"], {"mode=710"}, set()),
]


def join(words: list[str]) -> str:
    return ",".join(words)


@pytest.mark.parametrize(("words", "shown", "hidden"), WORDS[1:], ids=[join(row[0]) for row in WORDS[1:]])
@pytest.mark.row(32)
def test_a_word_on_a_file_system(capsule, bundle, words, shown, hidden):
    facts = capsule.probe(bundle().mount("/data", "tmpfs", "tmpfs", *words))
    options = mountinfo(facts)["/data"]["options"]
    assert shown <= options
    assert not hidden & options


@pytest.mark.rival(runc="1.1.5 passes it on as data")
@pytest.mark.row(32)
def test_the_word_defaults_on_a_file_system(capsule, bundle):
    options = mountinfo(capsule.probe(bundle().mount("/data", "tmpfs", "tmpfs", "defaults")))
    assert "rw" in options["/data"]["options"]


@pytest.mark.parametrize(("words", "shown", "hidden"), WORDS, ids=[join(row[0]) for row in WORDS])
@pytest.mark.row(32)
def test_a_word_on_a_bind_mount(capsule, bundle, workdir, words, shown, hidden):
    (workdir / "source").mkdir()
    facts = capsule.probe(bundle().bind(workdir / "source", "/data", "bind", *words))
    entry = mountinfo(facts)["/data"]
    assert shown <= entry["options"]
    assert not hidden & entry["options"]


@pytest.mark.parametrize(("words", "shown", "hidden"), SUPER_WORDS,
                         ids=[join(row[0]) for row in SUPER_WORDS])
@pytest.mark.row(32, 40)
def test_a_word_for_the_file_system_itself(capsule, bundle, words, shown, hidden):
    facts = capsule.probe(bundle().mount("/data", "tmpfs", "tmpfs", *words))
    options = mountinfo(facts)["/data"]["super"]
    assert shown <= options
    assert not hidden & options


@pytest.mark.rival(crun="does not know the word")
@pytest.mark.row(33)
def test_nosymfollow(capsule, bundle):
    box = bundle().mount("/data", "tmpfs", "tmpfs", "nosymfollow")
    assert "nosymfollow" in mountinfo(capsule.probe(box))["/data"]["options"]


@pytest.mark.parametrize(("word", "shown"), [
    ("shared", "shared:"), ("rshared", "shared:"), ("private", ""), ("rprivate", ""),
    ("unbindable", "unbindable"), ("runbindable", "unbindable")])
@pytest.mark.row(32)
def test_a_propagation_word(capsule, bundle, word, shown):
    box = bundle().mount("/data", "tmpfs", "tmpfs", word)
    found = mountinfo(capsule.probe(box))["/data"]["propagation"]
    assert [entry for entry in found if entry.startswith(shown)] if shown else found == []


@pytest.mark.parametrize("word", ["slave", "rslave"])
@pytest.mark.row(32)
def test_a_slave_mount_has_a_master(capsule, bundle, word):
    """A slave of a private mount is private: what counts is that no peer is left."""
    box = bundle().bind("/dev", "/data", "rbind", word)
    found = mountinfo(capsule.probe(box))["/data"]["propagation"]
    assert not [entry for entry in found if entry.startswith("shared:")]


RECURSIVE = [("rro", "ro", True), ("rnosuid", "nosuid", True), ("rnodev", "nodev", True),
             ("rnoexec", "noexec", True), ("rnoatime", "noatime", True), ("rrelatime", "relatime", True),
             ("rstrictatime", "relatime", False), ("rnodiratime", "nodiratime", True)]


@pytest.mark.parametrize(("word", "option", "shown"), RECURSIVE, ids=[row[0] for row in RECURSIVE])
@pytest.mark.row(34)
def test_a_recursive_word_reaches_every_mount_below(capsule, bundle, word, option, shown):
    box = bundle().bind("/dev", "/data", "rbind", word)
    points = mountinfo(capsule.probe(box))
    below = {point: entry["options"] for point, entry in points.items()
             if (point + "/").startswith("/data/")}
    assert len(below) > 1
    assert {point for point, options in below.items() if (option in options) != shown} == set()


@pytest.mark.row(34)
def test_a_plain_ro_leaves_the_mounts_below_writable(capsule, bundle):
    points = mountinfo(capsule.probe(bundle().bind("/dev", "/data", "rbind", "ro")))
    assert "ro" in points["/data"]["options"]
    assert "rw" in points["/data/shm"]["options"]


@pytest.mark.rival(runc="1.1.5 fails otherwise", crun="1.8.1 passes it on")
@pytest.mark.parametrize("word", ["nosiud", "size=1m"])
@pytest.mark.row(40)
def test_a_bind_mount_takes_no_data(capsule, bundle, word):
    box = bundle(["/payload", "exit", "0"]).bind("/dev/null", "/data/file", "bind", word)
    assert word.split("=")[0] in capsule.run(box, rc=1).err


# Order, sources, destinations

@pytest.mark.row(30)
def test_mounts_are_made_in_order(capsule, bundle):
    box = bundle().mount("/data", "tmpfs", "one").mount("/data/in", "tmpfs", "two")
    box.mount("/data/in/deep", "tmpfs", "three")
    points = mountinfo(capsule.probe(box))
    assert [points[point]["source"] for point in ("/data", "/data/in", "/data/in/deep")] == [
        "one", "two", "three"]
    assert points["/data/in"]["parent"] == points["/data"]["id"]


@pytest.mark.row(30)
def test_a_later_mount_covers_an_earlier_one(capsule, bundle):
    box = bundle().mount("/data", "tmpfs", "one").mount("/data", "tmpfs", "two")
    assert mountinfo(capsule.probe(box))["/data"]["source"] == "two"


@pytest.mark.row(31)
def test_a_directory_is_bound(capsule, bundle, workdir):
    (workdir / "source").mkdir()
    (workdir / "source/file").write_text("here")
    box = bundle().bind(workdir / "source", "/data").shell("cat /data/file; echo new > /data/made")
    assert capsule.run(box).out == "here"
    assert (workdir / "source/made").read_text() == "new\n"


@pytest.mark.row(41)
def test_a_file_is_bound_onto_a_destination_that_does_not_exist(capsule, bundle, workdir):
    (workdir / "file").write_text("text")
    box = bundle().bind(workdir / "file", "/new/deep/file", "bind", "ro").shell("cat /new/deep/file")
    assert capsule.run(box).out == "text"


@pytest.mark.row(46)
def test_a_fifo_a_socket_and_a_device_are_bound(capsule, bundle, workdir):

    os.mkfifo(workdir / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(workdir / "socket"))
        box = bundle().bind(workdir / "fifo", "/m/fifo", "bind")
        box.bind(workdir / "socket", "/m/socket", "bind").bind("/dev/full", "/m/full", "bind")
        found = capsule.attempts(box, "stat", "/m/fifo", "stat", "/m/socket", "stat", "/m/full")
    kinds = [stat.S_IFMT(entry["mode"]) for entry in found]
    assert kinds == [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR]


@pytest.mark.row(46)
def test_a_source_that_is_a_symlink_is_followed(capsule, bundle, workdir):
    (workdir / "real").mkdir()
    (workdir / "real/file").write_text("text")
    (workdir / "link").symlink_to("real")
    box = bundle().bind(workdir / "link", "/data").shell("cat /data/file")
    assert capsule.run(box).out == "text"


@pytest.mark.row(31)
def test_a_relative_source_belongs_to_the_bundle(capsule, bundle):
    box = bundle().bind("share", "/data").shell("cat /data/file")
    (box.path / "share").mkdir()
    (box.path / "share/file").write_text("text")
    assert capsule.run(box, cwd="/").out == "text"


@pytest.mark.row(31)
def test_the_type_may_be_absent_on_a_bind_mount(capsule, bundle, workdir):
    (workdir / "source").mkdir()
    box = bundle().mount("/data", None, str(workdir / "source"), "rbind")
    assert "/data" in mountinfo(capsule.probe(box))


@pytest.mark.row(30)
def test_a_relative_destination_is_below_the_root(capsule, bundle):
    box = bundle().mount("data/made", "tmpfs", "tmpfs")
    assert "/data/made" in mountinfo(capsule.probe(box))


@pytest.mark.row(41)
def test_a_missing_destination_is_made_with_ordinary_modes(capsule, bundle):
    box = bundle().mount("/new/deep", "tmpfs", "tmpfs", "mode=0700")
    (found,) = capsule.attempts(box, "stat", "/new")
    assert stat.S_IMODE(found["mode"]) == 0o755


@pytest.mark.row(41)
def test_a_destination_behind_a_symlink_stays_in_the_root(capsule, bundle, workdir):
    box = bundle().symlink("/way", "/data/real").mount("/way", "tmpfs", "tmpfs")
    (box.rootfs / "data/real").mkdir()
    assert "/data/real" in mountinfo(capsule.probe(box))


@pytest.mark.row(41)
def test_a_destination_of_dots_stays_in_the_root(capsule, bundle):
    box = bundle().mount("/../../../data/../data", "tmpfs", "tmpfs")
    assert "/data" in mountinfo(capsule.probe(box))


def test_tmpfs_takes_the_mode_of_its_mount_point(capsule, bundle):
    box = bundle().mount("/data", "tmpfs", "tmpfs")
    (box.rootfs / "data").chmod(0o1750)
    (found,) = capsule.attempts(box, "stat", "/data")
    assert stat.S_IMODE(found["mode"]) == 0o1750


@pytest.mark.row(38)
def test_tmpcopyup_copies_what_was_there(capsule, bundle):
    box = bundle().file("/data/dir/file", "text", 0o604).symlink("/data/link", "dir/file")
    os.chown(box.rootfs / "data/dir/file", 12, 34)
    box.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    entry, link = capsule.attempts(box, "read", "/data/dir/file", "readlink", "/data/link")
    assert (entry["text"], stat.S_IMODE(entry["mode"]), entry["uid"], entry["gid"]) == (
        "text", 0o604, 12, 34)
    assert link["text"] == "dir/file"


@pytest.mark.row(32)
def test_a_read_only_tmpfs(capsule, bundle):
    (found,) = capsule.attempts(bundle().mount("/data", "tmpfs", "tmpfs", "ro"), "mkdir", "/data/x")
    assert found["errno"] == 30  # EROFS


@requires("overlay")
@pytest.mark.row(40)
def test_an_overlay_of_two_directories(capsule, bundle, workdir):
    for name in ("low", "up", "work"):
        (workdir / name).mkdir()
    (workdir / "low/file").write_text("low")
    data = [f"lowerdir={workdir}/low", f"upperdir={workdir}/up", f"workdir={workdir}/work"]
    box = bundle().mount("/data", "overlay", "overlay", *data)
    assert capsule.run(box.shell("cat /data/file; echo > /data/new")).out == "low"
    assert (workdir / "up/new").exists()


@requires("cgroup1")
@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
@pytest.mark.row(44)
def test_the_cgroup_mount_shows_the_containers_own_groups(capsule, bundle, private):
    box = bundle().mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    if private:
        box.namespace("cgroup")
    box.shell("ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs")
    lines = capsule.run(box).lines
    assert {"pids", "memory", "freezer"} <= set(lines)
    assert "1" in lines


@requires("cgroup1")
@pytest.mark.row(44)
def test_a_read_only_cgroup_mount_is_read_only(capsule, bundle):
    box = bundle().mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    (found,) = capsule.attempts(box, "mkdir", "/sys/fs/cgroup/pids/mine")
    assert found["errno"] == 30


@pytest.mark.parametrize(("destination", "kind", "source"), [
    ("/data", "bind", "/no/such/source"), ("/data", "nosuchfs", "none"),
    ("/data", "tmpfs\n", "tmpfs")])
@pytest.mark.row(31)
def test_a_mount_that_cannot_be_made_is_an_error_that_names_it(capsule, bundle, destination, kind,
                                                               source):
    box = bundle().mount(destination, kind, source, *(["rbind"] if kind == "bind" else []))
    err = capsule.run(box, rc=1).err
    assert source in err or destination in err
    assert not capsule.exists(box)


def test_mounts_of_the_host_are_not_visible(capsule, bundle):
    box = bundle()
    points = mountinfo(capsule.probe(box))
    wanted = {"/", "/proc", "/sys", "/dev", *box.linux["maskedPaths"], *box.linux["readonlyPaths"]}
    strangers = {point for point in points
                 if point not in wanted and not point.startswith(("/dev/", "/proc/"))}
    assert strangers == set()


# The root

@pytest.mark.row(6)
def test_a_read_only_root(capsule, bundle):
    box = bundle()
    box.config["root"]["readonly"] = True
    tried = capsule.attempts(box, "create", "/file", "mkdir", "/data/x", "create", "/dev/shm/file")
    assert [entry["errno"] for entry in tried] == [30, 30, 0]
    assert not (box.rootfs / "file").exists()


@pytest.mark.row(6)
def test_a_writable_root(capsule, bundle):
    box = bundle()
    (tried,) = capsule.attempts(box, "create", "/file")
    assert tried["errno"] == 0
    assert (box.rootfs / "file").exists()


@pytest.mark.row(5)
def test_an_absolute_root_path(capsule, bundle):
    box = bundle()
    box.config["root"]["path"] = str(box.rootfs)
    capsule.run(box.args("/payload", "exit", "0"))


@pytest.mark.parametrize(("word", "shown"), [
    pytest.param("shared", "shared:", marks=pytest.mark.rival(runc="leaves it private")),
    ("private", ""),
    pytest.param("unbindable", "unbindable", marks=pytest.mark.rival(runc="cannot bind it then"))])
@pytest.mark.row(63)
def test_the_propagation_of_the_root(capsule, bundle, word, shown):
    box = bundle()
    box.linux["rootfsPropagation"] = word
    found = mountinfo(capsule.probe(box))["/"]["propagation"]
    assert [entry for entry in found if entry.startswith(shown)] if shown else found == []


@pytest.mark.row(63)
def test_the_root_propagates_nothing_to_the_host(capsule, bundle):
    box = bundle().capabilities("CAP_SYS_ADMIN")
    box.linux["rootfsPropagation"] = "rslave"
    (tried,) = capsule.attempts(box, "mount", "/data")
    assert tried["errno"] == 0  # the leak check sees the rest


# Masked and read-only paths, sysctl

@pytest.mark.row(64)
def test_masked_paths_are_empty(capsule, bundle):
    box = bundle().file("/data/secret", "text").file("/data/dir/secret", "text")
    box.linux["maskedPaths"] = ["/data/secret", "/data/dir", "/data/missing", "/proc/cpuinfo"]
    secret, directory, proc = capsule.attempts(
        box, "read", "/data/secret", "stat", "/data/dir/secret", "read", "/proc/cpuinfo")
    assert (secret["errno"], secret["text"]) == (0, "")
    assert (secret["major"], secret["minor"]) == (1, 3)
    assert directory["errno"] == 2
    assert proc["text"] == ""
    assert (box.rootfs / "data/secret").read_text() == "text"


@pytest.mark.row(64)
def test_a_masked_directory_is_read_only(capsule, bundle):
    box = bundle().file("/data/dir/secret")
    box.linux["maskedPaths"] = ["/data/dir"]
    (tried,) = capsule.attempts(box, "mkdir", "/data/dir/x")
    assert tried["errno"] == 30


@pytest.mark.row(64)
def test_read_only_paths(capsule, bundle):
    box = bundle()
    (box.rootfs / "data/fixed").mkdir()
    box.linux["readonlyPaths"] = ["/data/fixed", "/proc/sys", "/data/missing"]
    tried = capsule.attempts(box, "mkdir", "/data/fixed/x", "write", "/proc/sys/kernel/domainname",
                             "mkdir", "/data/x")
    assert [entry["errno"] for entry in tried] == [30, 30, 0]


@pytest.mark.row(64)
def test_masks_cannot_be_taken_off_without_privilege(capsule, bundle):
    tried = capsule.attempts(bundle(), "umount", "/proc/keys", "remount-rw", "/proc/sys")
    assert [entry["errno"] for entry in tried] == [1, 1]


@pytest.mark.row(66)
def test_sysctls_of_the_containers_namespaces(capsule, bundle):
    box = bundle()
    box.linux["sysctl"] = {"kernel.shmmax": "1234567", "net.ipv4.ip_forward": "1",
                           "kernel.msgmax": "4321", "net/ipv4/conf/all/rp_filter": "1"}
    names = ["kernel/shmmax", "net/ipv4/ip_forward", "kernel/msgmax", "net/ipv4/conf/all/rp_filter"]
    words = [word for name in names for word in ("read", f"/proc/sys/{name}")]
    found = [entry["text"].strip() for entry in capsule.attempts(box, *words)]
    assert found == ["1234567", "1", "4321", "1"]


@pytest.mark.parametrize("key", ["kernel.core_pattern", "vm.swappiness", "kernel.hostname",
                                 "fs.file-max", "kernel.shm_rmid_forced/../core_pattern",
                                 "net.ipv4/../../kernel/core_pattern", "", "user.max_net_namespaces"])
@pytest.mark.row(66)
def test_a_sysctl_of_the_whole_machine_is_refused(capsule, bundle, key):
    """The value is the one that is there, so that a runtime that fails changes nothing."""
    box = bundle()
    box.linux["sysctl"] = {key: Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").strip()}
    assert "linux.sysctl" in capsule.run(box, rc=FAILS).err or capsule.name != "capsule"
    assert not capsule.exists(box)


@requires("userns")
@pytest.mark.row(66)
@pytest.mark.rival(runc="1.1.5 refuses it", crun="refuses it", strict=False)
def test_a_sysctl_of_the_user_namespace(capsule, bundle):
    box = bundle().user_namespace()
    box.linux["sysctl"] = {"user.max_net_namespaces": "5"}
    (found,) = capsule.attempts(box, "read", "/proc/sys/user/max_net_namespaces")
    assert found["text"].strip() == "5"
    assert int(Path("/proc/sys/user/max_net_namespaces").read_text(encoding="ascii")) > 5


@pytest.mark.row(4, 66)
@pytest.mark.rival(runc="1.1.5 does not compare", crun="1.8.1 does not compare", strict=False)
@pytest.mark.parametrize(("key", "fields", "words"), [
    ("kernel.hostname", {}, "is set by the field hostname"),
    ("kernel.domainname", {"domainname": "here"}, "contradicts the field domainname"),
    ("kernel.domainname", {"hostname": None}, "needs a namespace of type uts"),
    ("net.core.somaxconn.", {}, "expected names joined by dots or by slashes"),
    ("net//core/somaxconn", {}, "expected names joined by dots or by slashes"),
    ("net.core.../x", {}, "expected names joined by dots or by slashes")])
def test_a_sysctl_that_a_field_says_otherwise_or_that_is_none(capsule, bundle, key, fields, words):
    box = bundle()
    box.config.update(fields)
    if "hostname" in fields:
        box.without_namespace("uts")
    box.linux["sysctl"] = {key: "box"}
    assert words in capsule.run(box, rc=1).err


@pytest.mark.row(66)
def test_a_network_sysctl_without_a_network_namespace_is_refused(capsule, bundle):
    box = bundle().without_namespace("network").without_mount("/sys")
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    err = capsule.run(box, rc=FAILS).err
    assert "needs a namespace of type network" in err or capsule.name != "capsule"
