"""The cache of compiled filters: hits, staleness, damage and hostile entries."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
from helpers.profiles import profile, rule

from capsule._ext import seccomp as ext
from capsule.errors import SpecError, Unsupported
from capsule.security.plan import seccomp, seccomp_rules

TREE = profile(rule("ALLOW", "read", "write"))


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / ".seccomp")


@pytest.fixture
def builds(monkeypatch):
    """Count compilations."""
    made = []
    build = seccomp_rules.build

    def counted(tree):
        made.append(tree)
        return build(tree)

    monkeypatch.setattr(seccomp_rules, "build", counted)
    return made


def compiled(cache, tree=TREE, warn=pytest.fail):
    return seccomp.compile_filter(tree, cache_dir=cache, warn=warn)[0]


def entry(cache):
    (name,) = os.listdir(cache)
    return os.path.join(cache, name)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 127, 128, 129, 255, 256, 257, 384, 100_000])
def test_the_digest_is_blake2b(size):
    data = os.urandom(size)
    assert ext.digest(data) == hashlib.blake2b(data, digest_size=32).digest()


def test_a_second_compilation_comes_from_the_cache(cache, builds):
    assert compiled(cache) == compiled(cache) == seccomp_rules.build(TREE)[0]
    assert len(builds) == 2  # one of them is the line above


def test_without_a_directory_every_filter_is_compiled(builds):
    assert compiled(None) == compiled(None)
    assert len(builds) == 2


def test_a_cache_that_has_no_parent_yet_is_not_missed(cache, builds):
    assert compiled(f"{cache}/deeper") == compiled(None)
    assert len(builds) == 2
    assert not os.path.exists(cache)


def test_the_cache_is_private(cache):
    previous = os.umask(0)
    try:
        compiled(cache)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(cache).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(entry(cache)).st_mode) == 0o600


def test_equal_profiles_have_one_entry_however_their_strings_were_made(cache):
    other = profile(rule("ALLOW", "".join(["re", "ad"]), "".join(["wri", "te"])))
    assert seccomp.cache_key(TREE) == seccomp.cache_key(other)


@pytest.mark.parametrize("tree", [
    profile(rule("ALLOW", "read")),
    profile(rule("ALLOW", "read", "write"), errno=5),
    profile(rule("ALLOW", "read", "write", args=[(0, "EQ", 1, 0)])),
    profile(rule("ALLOW", "read", "write"), architectures=["SCMP_ARCH_X86"]),
])
def test_another_profile_has_another_key(tree):
    assert seccomp.cache_key(tree) != seccomp.cache_key(TREE)


def test_every_damaged_byte_is_noticed(cache, builds):
    good = compiled(cache)
    path = entry(cache)
    with open(path, "rb") as file:
        data = file.read()
    for at in range(0, len(data), 3):
        with open(path, "wb") as file:
            file.write(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        builds.clear()
        assert compiled(cache) == good
        assert len(builds) == 1


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 79, 80, 111, 112, -1])
def test_a_truncated_entry_is_compiled_again(cache, builds, cut):
    good = compiled(cache)
    os.truncate(entry(cache), cut % os.path.getsize(entry(cache)))
    assert compiled(cache) == good
    assert len(builds) == 2
    assert compiled(cache) == good
    assert len(builds) == 2  # and mended


def test_an_entry_of_another_profile_is_refused(cache, builds):
    good = compiled(cache)
    name = seccomp.cache_key(TREE)
    other = profile(rule("ALLOW", "read", "write", "reboot"))
    compiled(cache, other)
    os.rename(os.path.join(cache, seccomp.cache_key(other)), os.path.join(cache, name))
    builds.clear()
    assert compiled(cache) == good
    assert len(builds) == 1


def replace_by_symlink(path):
    os.rename(path, path + ".real")
    os.symlink(path + ".real", path)


def replace_by_fifo(path):
    os.unlink(path)
    os.mkfifo(path, 0o600)


def replace_by_directory(path):
    os.unlink(path)
    os.mkdir(path, 0o700)


@pytest.mark.parametrize("attack", [
    replace_by_symlink, replace_by_fifo, lambda path: os.chmod(path, 0o620), lambda path: os.chmod(path, 0o604),
])
def test_an_entry_that_others_could_have_made_is_replaced(cache, builds, attack):
    good = compiled(cache)
    attack(os.path.join(cache, seccomp.cache_key(TREE)))
    assert compiled(cache) == good
    assert len(builds) == 2
    assert stat.S_IMODE(os.lstat(os.path.join(cache, seccomp.cache_key(TREE))).st_mode) == 0o600


def test_an_entry_that_cannot_be_replaced_only_warns(cache, builds):
    good = compiled(cache)
    replace_by_directory(entry(cache))
    warnings: list[str] = []
    assert compiled(cache, warn=warnings.append) == good
    assert [line for line in warnings if "not written" in line] == warnings != []
    assert [name for name in os.listdir(cache) if name.startswith(".")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_an_entry_of_another_owner_is_replaced(cache, builds):
    good = compiled(cache)
    os.chown(entry(cache), 65534, 65534)
    assert compiled(cache) == good
    assert len(builds) == 2
    assert os.stat(entry(cache)).st_uid == 0


@pytest.mark.parametrize("attack", [
    lambda path, other: os.symlink(other, path),
    lambda path, other: os.mkdir(path, 0o770) or os.chmod(path, 0o770),
    lambda path, other: open(path, "w").close(),
])
def test_a_directory_that_others_can_write_is_not_used(cache, tmp_path, builds, attack):
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    attack(cache, other)
    warnings: list[str] = []
    assert compiled(cache, warn=warnings.append) == compiled(cache, warn=warnings.append)
    assert len(builds) == len(warnings) == 2
    assert os.listdir(other) == []


def test_another_libseccomp_means_another_compilation(cache, builds, monkeypatch):
    compiled(cache)
    monkeypatch.setattr(seccomp, "library_identity", lambda library: b"\1" * seccomp.IDENTITY_SIZE)
    compiled(cache)
    compiled(cache)
    assert len(builds) == 2


def test_the_identity_of_a_library_changes_with_its_file(tmp_path):
    library = tmp_path / "libseccomp.so.2"
    missing = seccomp.library_identity(str(library))
    library.write_bytes(b"one")
    first = seccomp.library_identity(str(library))
    os.utime(library, ns=(1, 1))
    assert len({missing, first, seccomp.library_identity(str(library))}) == 3
    assert len(first) == seccomp.IDENTITY_SIZE


def test_old_entries_make_room(cache):
    os.mkdir(cache, 0o700)
    for number in range(seccomp.MAX_ENTRIES + 5):
        path = os.path.join(cache, f".left.{number}")
        with open(path, "w"):
            os.utime(path, ns=(number, number))
    compiled(cache)
    names = os.listdir(cache)
    assert len(names) == seccomp.MAX_ENTRIES
    assert ".left.5" not in names
    assert f".left.{seccomp.MAX_ENTRIES + 4}" in names


@pytest.mark.row(123)
@pytest.mark.parametrize(("flags", "expected"), [
    (None, 4), ([], 0),
    (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
    (["SECCOMP_FILTER_FLAG_LOG"], 2),
    (["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"], 6),
    (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),
])
def test_load_flags(flags, expected, monkeypatch):
    monkeypatch.setattr(seccomp.ext, "flags_known", lambda flags: True)
    assert seccomp.load_flags(profile() if flags is None else profile(flags=flags)) == expected


@pytest.mark.row(123, 128)
@pytest.mark.parametrize(("flags", "expected"), [
    (None, 8 | 4), ([], 8), (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"], 8 | 32)])
@pytest.mark.parametrize("where", ["rule", "default"])
def test_calls_for_an_agent_want_a_listener(where, flags, expected, monkeypatch):
    monkeypatch.setattr(seccomp.ext, "flags_known", lambda flags: True)
    made = profile(rule("NOTIFY", "read")) if where == "rule" else profile(default="NOTIFY")
    assert seccomp.load_flags(made if flags is None else {**made, "flags": flags}) == expected


@pytest.mark.row(123)
def test_a_kernel_without_listeners_is_an_error(monkeypatch):
    monkeypatch.setattr(seccomp.ext, "flags_known", lambda flags: not flags & 8)
    with pytest.raises(Unsupported, match="SCMP_ACT_NOTIFY: this kernel does not have it"):
        seccomp.load_flags(profile(rule("NOTIFY", "read")))


def test_profiles_that_differ_in_anything_have_entries_of_their_own():
    """Actions, errno, architectures, flags, arguments, listener: whatever changes the program or how it is loaded."""
    made = [profile(rule("ALLOW", "read")), profile(rule("NOTIFY", "read")), profile(rule("ERRNO", "read", errno=2)),
            profile(rule("ERRNO", "read", errno=3)), profile(rule("ALLOW", "read"), default="NOTIFY"),
            profile(rule("ALLOW", "read"), errno=38), profile(rule("ALLOW", "read"), architectures=["SCMP_ARCH_X86"]),
            profile(rule("ALLOW", "read", args=[(0, "EQ", 1, 0)])),
            profile(rule("ALLOW", "read", args=[(0, "EQ", 2, 0)])),
            profile(rule("ALLOW", "read"), flags=["SECCOMP_FILTER_FLAG_LOG"]),
            profile(rule("ALLOW", "read"), listenerPath="/a"), profile(rule("ALLOW", "read"), listenerPath="/b")]
    assert len({seccomp.cache_key(one) for one in made}) == len(made)


@pytest.mark.row(123)
def test_a_flag_the_kernel_lacks_is_an_error_unless_it_is_the_default(monkeypatch):
    monkeypatch.setattr(seccomp.ext, "flags_known", lambda flags: False)
    assert seccomp.load_flags(profile()) == 0
    with pytest.raises(Unsupported, match="SECCOMP_FILTER_FLAG_LOG: this kernel does not have it"):
        seccomp.load_flags(profile(flags=["SECCOMP_FILTER_FLAG_LOG"]))
    assert seccomp.supported_flags() == []


def test_an_unknown_flag_is_an_error():
    with pytest.raises(SpecError, match="unknown flag SECCOMP_FILTER_FLAG_X"):
        seccomp.load_flags(profile(flags=["SECCOMP_FILTER_FLAG_X"]))


def test_wait_killable_is_asked_about_as_a_listener_would_use_it(monkeypatch):
    asked = []
    monkeypatch.setattr(seccomp.ext, "flags_known", lambda flags: asked.append(flags) or True)
    seccomp.load_flags(profile(flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]))
    assert asked == [32 | 8]
