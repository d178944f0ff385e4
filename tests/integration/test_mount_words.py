"""Every option word of the specification on a new file system and on a bind mount, as the kernel shows it.

runtime-spec config.md#linux-mount-options. A word about the superblock changes no bind: the source stays as it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.payload import mountinfo, parse_mountinfo
from helpers.requires import requires

pytestmark = [
    requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="1.1.5 knows fewer words", crun="1.8.1 knows fewer words", strict=False),
]

# word → (words before it, what mountinfo shows of the mount, what it does not show)
MOUNT = {
    "atime": (["noatime"], "relatime", "noatime"),
    "defaults": ([], "rw", "ro"),
    "dev": (["nodev"], "rw", "nodev"),
    "diratime": (["nodiratime"], "relatime", "nodiratime"),
    "exec": (["noexec"], "rw", "noexec"),
    "noatime": ([], "noatime", "relatime"),
    "nodev": ([], "nodev", "dev"),
    "nodiratime": ([], "nodiratime", "diratime"),
    "noexec": ([], "noexec", "exec"),
    "norelatime": (["nosuid"], "nosuid", "norelatime"),
    "nostrictatime": (["strictatime"], "relatime", "noatime"),
    "nosuid": ([], "nosuid", "suid"),
    "relatime": (["noatime"], "rw", "strictatime"),
    "ro": ([], "ro", "rw"),
    "rw": (["ro"], "rw", "ro"),
    "strictatime": ([], "rw", "relatime"),
    "suid": (["nosuid"], "rw", "nosuid"),
    "nosymfollow": ([], "nosymfollow", "symfollow"),
    "symfollow": (["nosymfollow"], "rw", "nosymfollow"),
}
# word → (words before it, what mountinfo shows of the superblock, what it does not show)
SUPERBLOCK = {
    "async": (["sync"], "rw", "sync"),
    "dirsync": ([], "dirsync", "sync"),
    "iversion": ([], "rw", "iversion"),
    "lazytime": ([], "lazytime", "sync"),
    "loud": (["silent"], "rw", "silent"),
    "mand": ([], "rw", "nomand"),
    "noiversion": (["iversion"], "rw", "iversion"),
    "nolazytime": (["lazytime"], "rw", "lazytime"),
    "nomand": (["mand"], "rw", "mand"),
    "silent": ([], "rw", "silent"),
    "sync": ([], "sync", "dirsync"),
}
PROPAGATION = {
    "private": "", "rprivate": "", "shared": "shared:", "rshared": "shared:", "slave": "", "rslave": "",
    "unbindable": "unbindable", "runbindable": "unbindable",
}  # fmt: skip


@pytest.fixture
def source(workdir) -> Path:
    (workdir / "source").mkdir()
    return workdir / "source"


@pytest.mark.row(32, 33)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("word", MOUNT)
def test_a_word_about_the_mount(capsule, bundle, source, kind, word):
    before, shown, hidden = MOUNT[word]
    box = bundle().mount("/data", kind, str(source), *(["bind"] if kind == "bind" else []), *before, word)
    options = mountinfo(capsule.probe(box))["/data"]["options"]
    assert shown in options
    assert hidden not in options


@pytest.mark.row(32, 39)
@pytest.mark.parametrize("word", SUPERBLOCK)
def test_a_word_about_the_superblock(capsule, bundle, word):
    before, shown, hidden = SUPERBLOCK[word]
    entry = mountinfo(capsule.probe(bundle().mount("/data", "tmpfs", "tmpfs", *before, word)))["/data"]
    assert entry["type"] == "tmpfs"
    assert shown in entry["super"]
    assert hidden not in entry["super"]


@pytest.mark.row(32, 39)
@pytest.mark.parametrize("word", SUPERBLOCK)
def test_a_word_about_the_superblock_leaves_the_source_of_a_bind_alone(capsule, bundle, source, word):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", source], check=True)
    try:
        before = next(row for row in host_mounts() if row["point"] == str(source))
        entry = mountinfo(capsule.probe(bundle().bind(source, "/data", "bind", word)))["/data"]
        assert (entry["super"], entry["options"]) == (before["super"], before["options"])
        assert next(row for row in host_mounts() if row["point"] == str(source)) == before
    finally:
        subprocess.run(["umount", source], check=True)


def host_mounts() -> list[dict]:
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))


@pytest.mark.row(32)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("word", PROPAGATION)
def test_a_word_about_propagation(capsule, bundle, source, kind, word):
    box = bundle().mount("/data", kind, str(source), *(["bind"] if kind == "bind" else []), word)
    found = mountinfo(capsule.probe(box))["/data"]["propagation"]
    shown = [entry for entry in found if not entry.startswith("master:")]
    assert bool(shown) == bool(PROPAGATION[word])
    assert all(entry.startswith(PROPAGATION[word]) for entry in shown)


@pytest.mark.row(32)
def test_remount_changes_what_is_there_and_keeps_the_rest(capsule, bundle):
    box = bundle().mount("/data", "tmpfs", "tmpfs", "nosuid", "size=64k")
    box.mount("/data", "tmpfs", "tmpfs", "remount", "ro", "size=128k")
    entry = mountinfo(capsule.probe(box))["/data"]
    assert {"ro", "nosuid"} <= entry["options"]
    assert "size=128k" in entry["super"]


@pytest.mark.row(32)
@pytest.mark.parametrize("word", ["bind", "rbind"])
def test_bind_alone_leaves_out_what_is_mounted_below(capsule, bundle, tree, word):
    points = mountinfo(capsule.probe(bundle().bind(tree, "/data", word)))
    assert "/data" in points
    assert ("/data/below" in points) == (word == "rbind")


@pytest.fixture
def tree(source) -> Iterator[Path]:
    """Give two file systems, one in the other, with every restriction that a mount can have."""
    flags = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source], check=True)
    (source / "below").mkdir()
    (source / "file").write_text("text")
    (source / "link").symlink_to("file")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "below"], check=True)
    for path in (source / "below", source):
        subprocess.run(["mount", "-o", f"remount,bind,{flags}", path], check=True)
    yield source
    subprocess.run(["umount", source / "below"], check=True)
    subprocess.run(["umount", source], check=True)


# word → (what every mount of the tree shows, what none shows)
RECURSIVE = {
    "rro": ("ro", "rw"), "rrw": ("rw", "ro"), "rsuid": ("ro", "nosuid"), "rnosuid": ("nosuid", "suid"),
    "rdev": ("ro", "nodev"), "rnodev": ("nodev", "dev"), "rexec": ("ro", "noexec"), "rnoexec": ("noexec", "exec"),
    "ratime": ("relatime", "noatime"), "rnoatime": ("noatime", "relatime"), "rdiratime": ("ro", "nodiratime"),
    "rnodiratime": ("nodiratime", "diratime"), "rrelatime": ("relatime", "noatime"), "rnorelatime": ("ro", "relatime"),
    "rstrictatime": ("ro", "relatime"), "rnostrictatime": ("relatime", "noatime"),
    "rsymfollow": ("ro", "nosymfollow"), "rnosymfollow": ("nosymfollow", "symfollow"),
}  # fmt: skip


@pytest.mark.row(34, 35)
@pytest.mark.parametrize("word", RECURSIVE)
def test_a_recursive_word_changes_the_whole_tree(capsule, bundle, tree, word):
    shown, hidden = RECURSIVE[word]
    points = mountinfo(capsule.probe(bundle().bind(tree, "/data", "rbind", word)))
    for point in ("/data", "/data/below"):
        assert shown in points[point]["options"]
        assert hidden not in points[point]["options"]


@pytest.mark.row(33, 35)
@pytest.mark.parametrize(("words", "errno"), [(["bind", "symfollow"], 0), (["bind", "nosymfollow"], 40),
                                              (["rbind", "rsymfollow"], 0), (["rbind", "rnosymfollow"], 40)])
def test_links_are_followed_where_the_words_say_so(capsule, bundle, tree, words, errno):
    file, link = capsule.attempts(bundle().bind(tree, "/data", *words), "read", "/data/file", "read", "/data/link")
    assert file["errno"] == 0
    assert link["errno"] == errno  # ELOOP


@pytest.mark.row(40)
@pytest.mark.parametrize(("word", "near"), [("nosiud", "nosuid"), ("rdonly", ""), ("R0", "ro"), ("rslaves", "rslave"),
                                            ("mode=755", "")])
def test_an_unknown_word_on_a_bind_is_refused_with_a_suggestion(capsule, bundle, source, word, near):
    box = bundle(["/payload", "exit", "0"]).bind(source, "/data", "bind", word)
    err = capsule.run(box, rc=1).err
    assert f"a bind mount has no option '{word}'" in err
    assert f"did you mean '{near}'?" in err if near else "did you mean" not in err
    assert not capsule.exists(box)


@pytest.mark.row(40)
def test_an_unknown_word_on_a_file_system_is_for_it_to_judge(capsule, bundle):
    box = bundle(["/payload", "exit", "0"]).mount("/data", "tmpfs", "tmpfs", "flavour=mint")
    assert "tmpfs: Unknown parameter 'flavour'" in capsule.run(box, rc=1).err


# cgroup and sysfs

@requires("cgroup1")
@pytest.mark.row(44)
@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
@pytest.mark.parametrize(("words", "errno"), [(["rw"], 0), ([], 0), (["ro"], 30)], ids=["rw", "none", "ro"])
def test_a_container_may_make_cgroups_where_its_mount_is_writable(capsule, bundle, private, words, errno):
    box = bundle().mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", *words)
    if private:
        box.namespace("cgroup")
    box.shell("d=/sys/fs/cgroup/pids/mine; mkdir $d; echo $?; rmdir $d; cat /proc/self/mountinfo")
    (box.rootfs / "bin/rmdir").symlink_to("busybox")
    done, *lines = capsule.run(box, rc=None).lines
    assert (done == "0") == (errno == 0)
    points = {entry["point"]: entry for entry in parse_mountinfo("\n".join(lines))}
    v1 = [entry for entry in points.values() if entry["type"] == "cgroup"]
    assert len(v1) > 3
    assert all(("ro" in entry["options"]) == (errno == 30) for entry in v1)
    assert all({"nosuid", "noexec", "nodev"} <= entry["options"] for entry in v1)
    assert points["/sys/fs/cgroup/pids"]["root"] == "/" if private else points["/sys/fs/cgroup/pids"]["root"] != "/"


@requires("userns")
@pytest.mark.row(45)
def test_sysfs_of_the_hosts_network_is_the_hosts_in_a_user_namespace(capsule, bundle):
    box = bundle().user_namespace().without_namespace("network")
    facts = capsule.probe(box)
    found = [entry for entry in parse_mountinfo(facts["mountinfo"]) if entry["point"] == "/sys"]
    (host,) = [entry for entry in host_mounts() if entry["point"] == "/sys"]
    assert [(entry["type"], entry["device"]) for entry in found] == [("sysfs", host["device"])]
    below = [entry for entry in parse_mountinfo(facts["mountinfo"]) if (entry["point"] + "/").startswith("/sys/")]
    assert all("ro" in entry["options"] for entry in below)


@requires("userns")
@pytest.mark.row(6, 43)
def test_locked_flags_stay_when_a_user_namespace_binds(capsule, bundle, tree):
    """What the host restricts, the container cannot loosen; a root that is read-only keeps the rest."""
    box = bundle().user_namespace().bind(tree, "/data", "rbind", "nosuid")
    entry = mountinfo(capsule.probe(box))["/data"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= entry["options"]
    box = bundle(["/payload", "exit", "0"]).user_namespace().bind(tree, "/data", "rbind", "rw")
    assert "operation not permitted" in capsule.run(box, rc=1).err
