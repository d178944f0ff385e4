"""The table of mount option words."""

from __future__ import annotations

import pytest

from capsule.errors import SpecError
from capsule.spec import mount_options
from capsule.spec.mount_options import WORDS, parse_options

REQUIRED = """async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime
noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared
rslave runbindable rw shared silent slave strictatime suid sync unbindable symfollow nosymfollow rro rrw rsuid
rnosuid rdev rnodev rexec rnoexec ratime rnoatime rdiratime rnodiratime rrelatime rnorelatime rstrictatime
rnostrictatime rsymfollow rnosymfollow idmap ridmap tmpcopyup mand nomand""".split()


def flags(*words: str) -> tuple[int, int]:
    parsed = parse_options(list(words), False)
    return parsed.set_flags, parsed.clear_flags


@pytest.mark.parametrize("is_bind", [True, False])
def test_an_empty_word_is_no_option(is_bind: bool) -> None:
    parsed = parse_options(["", "rbind" if is_bind else "ro", ""], is_bind)
    assert (parsed.set_flags, parsed.data) == ((4096 | 16384) if is_bind else 1, [])


@pytest.mark.row(32, 33, 34, 35)
def test_the_table_has_the_words_of_the_specification() -> None:
    assert sorted(WORDS) == sorted(REQUIRED)


@pytest.mark.parametrize(("words", "expected"), [
    ((), (0, 0)),
    (("ro", "nosuid"), (1 | 2, 0)),
    (("ro", "rw"), (0, 1)),
    (("rw", "ro"), (1, 0)),
    (("rbind",), (4096 | 16384, 0)),
    (("defaults",), (0, 0)),
    (("nosymfollow", "noatime", "exec"), (256 | 1024, 8)),
])
def test_a_later_word_overrides_an_earlier_one(words: tuple, expected: tuple) -> None:
    assert flags(*words) == expected


@pytest.mark.parametrize(("word", "undo"), [
    ("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("sync", "async"), ("noatime", "atime"),
    ("nodiratime", "diratime"), ("relatime", "norelatime"), ("strictatime", "nostrictatime"), ("silent", "loud"),
    ("iversion", "noiversion"), ("lazytime", "nolazytime"), ("mand", "nomand"), ("nosymfollow", "symfollow"),
])
def test_each_flag_has_its_opposite(word: str, undo: str) -> None:
    set_flags, _ = flags(word)
    assert flags(undo) == (0, set_flags)


@pytest.mark.parametrize(("words", "expected"), [
    (("rro",), (1, 0)),
    (("rro", "rrw"), (0, 1)),
    (("rrw", "rnosuid", "rro"), (1 | 2, 0)),
    (("rnoatime",), (0x10, 0x70)),
    (("rnoatime", "rstrictatime"), (0x20, 0x70)),
    (("rrelatime",), (0, 0x70)),
    (("rstrictatime", "ratime"), (0, 0x70)),
    (("rnosymfollow",), (0x200000, 0)),
])
def test_recursive_words_are_attributes(words: tuple, expected: tuple) -> None:
    parsed = parse_options(list(words), True)
    assert (parsed.rec_attr_set, parsed.rec_attr_clr) == expected
    assert (parsed.set_flags, parsed.clear_flags) == (0, 0)


def test_propagation_extensions_and_data_keep_their_order() -> None:
    parsed = parse_options(["mode=755", "rshared", "tmpcopyup", "slave", "size=1k", ""], False)
    assert parsed.propagation == [1 << 20 | 16384, 1 << 19]
    assert parsed.extensions == ["tmpcopyup"]
    assert parsed.data == ["mode=755", "size=1k"]


@pytest.mark.parametrize(("word", "hint"), [
    ("readonly", ""), ("noxec", "; did you mean 'noexec'?"), ("RO", ""), ("rbnid", "; did you mean 'rbind'?"),
])
@pytest.mark.row(40)
def test_a_bind_mount_refuses_data(word: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_options(["ro", word], True, where="mounts[2].options")
    assert caught.value.subject == "mounts[2].options[1]"
    assert caught.value.cause.startswith(f"a bind mount has no option {word!r}")
    assert hint in caught.value.cause


def test_constants_are_the_kernels() -> None:
    with open("/usr/include/linux/mount.h") as header:
        text = header.read()
    for name, value in vars(mount_options).items():
        if name.startswith(("MS_", "MOUNT_ATTR_")):
            line = next(line for line in text.splitlines() if line.startswith(f"#define {name}") and
                        line.split()[1] == name)
            number = line.split("/*")[0].split(None, 2)[2].strip(" \t()")
            base, _, shift = number.partition("<<")
            assert int(base, 0) << int(shift or "0") == value, name
