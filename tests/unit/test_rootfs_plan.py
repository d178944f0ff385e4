"""Planning a root file system: no kernel call, only data."""

from __future__ import annotations

import marshal

import pytest
from helpers.config import encoded

from capsule.errors import CapsuleError, MountError, SpecError, Unsupported
from capsule.rootfs.plan import from_data, make
from capsule.rootfs.plan.mounts import clean
from capsule.spec.load import load_config

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x80
CGROUPS = [("memory", "memory", "/sys/fs/cgroup/memory/x"), ("cpu,cpuacct", "cpu,cpuacct", "/sys/fs/cgroup/cpu/x")]


def plan(*edits: tuple[str, object], **options):
    keywords = {
        "bundle": "/b", "in_userns": False, "has_mount_ns": True, "console": False, "cgroup_mounts": CGROUPS, **options
    }  # fmt: skip
    return make(load_config(encoded(*edits)), **keywords)


def mount(destination="/mnt", type=None, source=None, *options, **planning):
    """Return the operation of one mount."""
    item = {"destination": destination, "options": list(options)}
    item |= {"type": type} if type else {}
    item |= {"source": source} if source else {}
    made = plan(("mounts", [item]), **planning)
    return made.prepare[2]


def names(operations) -> list[str]:
    return [type(operation).__name__ for operation in operations]


def test_a_plan_survives_a_round_trip_through_bytes():
    made = plan(
        ("root.readonly", True), ("linux.maskedPaths", ["/proc/kcore"]), ("linux.readonlyPaths", ["/proc/sys"]),
        ("mounts.+", {"destination": "/c", "type": "cgroup", "source": "c", "options": ["ro"]}),
        ("mounts.+", {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["ro", "rshared"]}),
        ("mounts.+", {"destination": "/b", "source": "x", "options": ["rbind", "rro"]}),
        ("mounts.+", {"destination": "/b", "options": ["remount", "ro"]}),
        ("linux.rootfsPropagation", "rshared"), console=True,
    )  # fmt: skip
    data = marshal.loads(marshal.dumps(made.to_data()))
    assert from_data(data).to_data() == made.to_data()
    assert from_data(data).describe() == made.describe()


def test_steps_come_in_the_order_that_each_needs_of_the_others():
    made = plan(
        ("root.readonly", True), ("linux.maskedPaths", ["/proc/kcore"]), ("linux.readonlyPaths", ["/proc/sys"]),
        ("linux.rootfsPropagation", "slave"),
        ("mounts.+", {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}),
        ("mounts.+", {"destination": "/dev/pts", "type": "devpts", "source": "devpts"}), console=True,
    )  # fmt: skip
    assert names(made.prepare) == [
        "PrepareTree", "MountRoot", "MountNew", "MountNew", "MountNew", "MakeDevices", "MakeLinks"
    ]  # fmt: skip
    assert names(made.finish) == [
        "OpenConsole", "MaskPaths", "ReadonlyPaths", "PropagateRoot", "FinishReadonly", "ReadonlyRoot"
    ]  # fmt: skip


def test_without_a_devpts_the_console_is_the_hosts_and_opened_before_the_pivot():
    made = plan(console=True)
    assert names(made.prepare)[-1] == "OpenConsole"
    assert made.prepare[-1].from_host


@pytest.mark.parametrize(
    ("bundle", "root", "expected"),
    [
        ("/b", "rootfs", "/b/rootfs"), ("/b", ".", "/b"), ("/b", "rootfs/", "/b/rootfs"),
        ("/b", "/r//x/./y/", "/r/x/y"), ("/b", "./a", "/b/a"),
    ],
)  # fmt: skip
def test_the_root_is_one_absolute_path_without_a_trailing_slash(bundle, root, expected):
    assert plan(("root.path", root), bundle=bundle).rootfs_path == expected


@pytest.mark.parametrize(
    ("path", "expected"), [("/a/./b/../c", "/a/c"), ("tmp/x", "/tmp/x"), ("/../..", "/"), ("//a//", "/a"), ("", "/")]
)
def test_clean_is_what_the_text_alone_says(path, expected):
    assert clean(path) == expected


def test_a_bind_source_is_relative_to_the_bundle():
    assert mount(source="data", type="bind").source == "/b/data"
    assert mount("/mnt", None, "/abs", "rbind").source == "/abs"
    assert mount("/mnt", None, "/abs", "rbind").recursive
    assert not mount("/mnt", None, "/abs", "bind").recursive


def test_a_relative_destination_is_taken_from_the_root():
    assert mount("tmp/m", None, "/abs", "bind").destination == "/tmp/m"


def test_a_bind_without_flags_keeps_the_sources():
    assert mount("/mnt", None, "/abs", "rbind", "rprivate").attr == (0, 0, False, True, 0, 0, (0x44000,))


def test_a_bind_with_any_flag_clears_the_others():
    set_bits, cleared, replace, keep_atime = mount("/mnt", None, "/abs", "bind", "nosuid", "exec").attr[:4]
    assert (set_bits, cleared, replace, keep_atime) == (NOSUID, NOEXEC, True, True)
    assert mount("/mnt", None, "/abs", "bind", "rw").attr[2]


@pytest.mark.parametrize(
    ("option", "bits", "keeps"),
    [
        ("noatime", NOATIME, False), ("strictatime", STRICTATIME, False), ("relatime", 0, False),
        ("nodiratime", NODIRATIME, False), ("atime", 0, False), ("nodev", NODEV, True), ("ro", RDONLY, True),
        ("nosymfollow", 0x200000, True),
    ],
)  # fmt: skip
def test_option_words_become_mount_attributes(option, bits, keeps):
    attr = mount("/mnt", None, "/abs", "bind", option).attr
    assert (attr[0], attr[3]) == (bits, keeps)


@pytest.mark.row(34)
def test_recursive_words_are_kept_apart():
    attr = mount("/mnt", None, "/abs", "rbind", "rro", "rsuid", "rnoatime").attr
    assert attr[4:6] == (RDONLY | NOATIME, NOSUID | 0x70)


def test_a_remount_keeps_what_it_does_not_name():
    operation = mount("/mnt", None, None, "remount", "ro")
    assert type(operation).__name__ == "Remount"
    assert operation.attr[:3] == (RDONLY, 0, False)


def test_a_read_only_tmpfs_is_filled_first():
    made = plan(("mounts", [{"destination": "/t", "type": "tmpfs", "source": "t", "options": ["ro", "nodev"]}]))
    operation = made.prepare[2]
    assert operation.defer_readonly
    assert operation.attr[0] == NODEV
    assert names(made.finish) == ["FinishReadonly"]


def test_tmpfs_takes_the_mode_of_its_mount_point_unless_told():
    assert mount("/t", "tmpfs", "tmpfs").inherit_mode
    assert not mount("/t", "tmpfs", "tmpfs", "mode=700").inherit_mode


def test_tmpcopyup_fills_a_new_tmpfs():
    assert mount("/t", "tmpfs", "tmpfs", "tmpcopyup").copy_up
    assert not mount("/t", "tmpfs", "tmpfs").copy_up


@pytest.mark.parametrize(
    ("fstype", "options"),
    [("ramfs", []), (None, ["bind"]), ("tmpfs", ["bind"]), ("tmpfs", ["remount"]), (None, ["remount"])],
)
@pytest.mark.row(38)
def test_tmpcopyup_is_for_new_tmpfs_mounts_only(fstype, options):
    with pytest.raises(SpecError, match="is for new tmpfs mounts only"):
        mount("/t", fstype, "/x", "tmpcopyup", *options)


def test_the_superblock_is_read_only_only_where_it_is_the_mounts_own():
    assert mount("/p", "sysfs", "s", "ro").sb_flags == 0
    assert mount("/p", "ext4", "/dev/x", "ro").sb_flags == 1


def test_proc_and_sysfs_need_an_ordinary_directory():
    assert mount("/proc", "proc", "proc").ordinary
    assert mount("/sys", "sysfs", "sysfs").ordinary
    assert not mount("/t", "tmpfs", "tmpfs").ordinary


@pytest.mark.parametrize("where", ["/proc/self/attr", "/proc/sys", "/proc/./1", "/x/../proc/acpi", "proc/1"])
@pytest.mark.row(42)
def test_nothing_is_mounted_inside_proc(where):
    with pytest.raises(MountError, match="cannot be mounted because it is inside /proc"):
        mount(where, "tmpfs", "tmpfs")
    with pytest.raises(MountError, match="cannot be mounted because it is inside /proc"):
        mount(where, None, "/x", "bind")


@pytest.mark.parametrize("where", ["/proc", "/proc/", "proc", "/x/../proc"])
@pytest.mark.row(42)
def test_only_a_procfs_is_mounted_on_proc(where):
    with pytest.raises(MountError, match="only a procfs may be mounted on /proc"):
        mount(where, "tmpfs", "tmpfs")
    assert mount(where, None, "/proc", "rbind").must_be_proc


def test_the_files_that_lxcfs_emulates_may_be_bound_in_proc():
    assert mount("/proc/meminfo", None, "/var/lib/lxcfs/proc/meminfo", "bind").allowed_on_proc


@pytest.mark.row(45)
def test_a_user_namespace_falls_back_to_the_hosts_sysfs_only_without_its_own_network():
    hosts = ("linux.namespaces", [{"type": word} for word in ("user", "mount", "uts")])
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}]
    sys = ("mounts", [{"destination": "/sys", "type": "sysfs", "source": "sysfs"}])
    edits = (sys, hosts, ("linux.uidMappings", maps), ("linux.gidMappings", maps))
    assert plan(*edits, in_userns=True).prepare[2].fallback == "/sys"
    assert mount("/sys", "sysfs", "sysfs", in_userns=True).fallback is None
    assert mount("/sys", "sysfs", "sysfs").fallback is None


def test_cgroup_mounts_of_a_user_namespace_without_its_own_cgroup_namespace_are_read_only():
    assert mount("/c", "cgroup", "cgroup", in_userns=True).attr[0] & RDONLY
    assert not mount("/c", "cgroup", "cgroup").attr[0] & RDONLY


def test_a_cgroup_mount_needs_a_cgroup():
    with pytest.raises(MountError, match="no cgroup"):
        mount("/c", "cgroup", "cgroup", cgroup_mounts=[])


def test_devices_of_the_config_replace_the_default_of_their_path():
    made = plan(
        ("linux.devices", [
            {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o600, "uid": 1, "gid": 2},
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
            {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200},
        ])
    )  # fmt: skip
    rows = {row[0]: row[1:] for row in made.prepare[-2].devices}
    assert rows["/dev/tty"] == ("c", 5, 0, 0o600, 1, 2)
    assert rows["/dev/net/tun"] == ("c", 10, 200, 0o666, 0, 0)
    assert "/dev/ptmx" not in rows
    assert len(rows) == 7


def test_a_bound_dev_is_left_as_it_is():
    made = plan(("mounts", [{"destination": "/dev/", "source": "/dev", "options": ["rbind"]}]))
    assert "MakeDevices" not in names(made.prepare)


def test_masked_paths_are_masked_once():
    made = plan(("linux.maskedPaths", ["/proc/kcore", "/proc//kcore", "/proc/acpi"]))
    assert made.finish[0].paths == ("/proc/kcore", "/proc/acpi")


@pytest.mark.parametrize(
    ("word", "tree", "parent", "root"),
    [
        (None, 0x84000, 0, None), ("rslave", 0x84000, 0, 0x84000), ("slave", 0x80000, 0x80000, 0x80000),
        ("shared", 0x100000, 0x40000, 0x100000), ("rshared", 0x104000, 0x40000, 0x104000),
        ("private", 0x40000, 0x80000, 0x40000), ("rprivate", 0x44000, 0x80000, 0x44000),
        ("unbindable", 0x84000, 0, 0x20000), ("runbindable", 0x84000, 0, 0x24000),
    ],
)  # fmt: skip
@pytest.mark.row(63)
def test_rootfs_propagation(word, tree, parent, root):
    made = plan(*([("linux.rootfsPropagation", word)] if word else []))
    assert (made.prepare[0].propagation, made.prepare[0].parent) == (tree, parent)
    assert [step.propagation for step in made.finish] == ([root] if root else [])


def test_a_private_root_cannot_be_moved():
    with pytest.raises(Unsupported):
        plan(("linux.rootfsPropagation", "rprivate"), no_pivot=True)


@pytest.mark.parametrize(
    ("name", "value"), [("rootfsPropagation", "shared"), ("maskedPaths", ["/x"]), ("readonlyPaths", ["/x"])]
)
def test_without_a_mount_namespace_what_would_change_the_hosts_tree_is_refused(name, value):
    with pytest.raises(SpecError, match=f"linux.{name}"):
        plan((f"linux.{name}", value), has_mount_ns=False)


def test_without_a_mount_namespace_and_mounts_the_root_is_only_opened():
    assert names(plan(("mounts", []), has_mount_ns=False).prepare)[0] == "OpenRoot"
    assert names(plan(has_mount_ns=False).prepare)[:2] == ["MountRoot", "MountNew"]


def test_only_propagation_words_change_a_mount_that_is_there():
    assert type(mount("/mnt", None, None, "rshared")).__name__ == "Remount"


def test_a_bind_cannot_have_options_of_a_file_system():
    with pytest.raises(CapsuleError):
        mount("/mnt", None, "/x", "bind", "size=1k")


@pytest.mark.row(65)
def test_new_file_systems_get_the_mount_label_and_others_do_not():
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    given = [("tmpfs", ["mode=755"]), ("devpts", []), ("proc", []), ("sysfs", []), ("mqueue", []),
             ("tmpfs", ["context=own"])]
    made = plan(("linux.mountLabel", label), ("mounts", [
        {"destination": f"/{kind}", "type": kind, "source": kind, "options": words} for kind, words in given]))
    data = [operation.words for operation in made.prepare if type(operation).__name__ == "MountNew"]
    assert data == [("mode=755", f"context={label}"), (f"context={label}",), (), (), (), ("context=own",)]
