"""Members of layers become files, exactly; what would leave the layer's directory is refused and changes nothing."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule.errors import ImageError
from capsule.image import layers
from capsule.image.layers import take

from .tars import END, long_name, member, pax, signed, tar

pytestmark = requires("root")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to unpack into, beside a decoy that must not change."""
    (tmp_path / "decoy").mkdir()
    (tmp_path / "decoy/victim").write_text("untouched")
    (tmp_path / "outside").symlink_to("decoy")
    (tmp_path / "root").mkdir()
    return tmp_path


def facts(tree: Path) -> list[tuple]:
    """List what there is of a tree: name, mode, owner, size, time, content or target."""
    found = []
    for path in sorted(tree.rglob("*")):
        st = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else st.st_rdev
        found.append((str(path.relative_to(tree)), oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, st.st_nlink,
                      what))
    return found


def unpack(place: Path, data: bytes, lower: list[str] | None = None):
    decoy = facts(place / "decoy")
    try:
        return take(io.BytesIO(data), str(place / "root"), lower=lower)
    finally:
        assert facts(place / "decoy") == decoy
        assert (place / "decoy/victim").read_text() == "untouched"
        assert sorted(path.name for path in place.iterdir() if path.name not in ("lower", "in")) == [
            "decoy", "outside", "root"]


DECOY = "../decoy"
ESCAPES = {
    "parent": [member("../decoy/new", data=b"x")],
    "parent in the middle": [member("a/", b"5"), member("a/../../decoy/new", data=b"x")],
    "absolute": [member("/decoy/new", data=b"x")],
    "absolute by pax": [pax({"path": "/decoy/new"}), member("a", data=b"x")],
    "parent by pax": [pax({"path": "../decoy/new"}), member("a", data=b"x")],
    "parent by long name": [long_name("../decoy/" + "n" * 120), member("a", data=b"x")],
    "write through a link": [member("link", b"2", link=DECOY), member("link/new", data=b"x")],
    "write through an absolute link": [member("link", b"2", link="/tmp"), member("link/new", data=b"x")],
    "write through links of links": [member("d/", b"5"), member("d/up", b"2", link=".."),
                                     member("l", b"2", link="d/up/../decoy"), member("l/new", data=b"x")],
    "directory, then a link in its place": [member("d/", b"5"), member("d", b"2", link=DECOY),
                                            member("d/new", data=b"x")],
    "root as a link": [member("./", b"2", link=DECOY)],
    "hard link outside": [member("l", b"1", link="../decoy/victim")],
    "hard link absolute": [member("l", b"1", link="/decoy/victim")],
    "hard link through a link": [member("link", b"2", link=DECOY), member("l", b"1", link="link/victim")],
    "whiteout through a link": [member("link", b"2", link=DECOY), member("link/.wh.victim")],
    "opaque through a link": [member("link", b"2", link=DECOY), member("link/.wh..wh..opq")],
    "whiteout of parent": [member("a/", b"5"), member("a/.wh...")],
    "directory through a link": [member("link", b"2", link=DECOY), member("link/d/", b"5", mode=0o777)],
    "node through a link": [member("link", b"2", link=DECOY), member("link/null", b"3", major=1, minor=3)],
}


@pytest.mark.parametrize("members", ESCAPES.values(), ids=ESCAPES)
def test_an_escape_is_refused(place: Path, members: list[bytes]) -> None:
    with pytest.raises(ImageError):
        unpack(place, tar(*members))


SAFE_LINKS = {
    "chmod": [member("l", b"2", link="../decoy/victim"), member("l", b"5", mode=0o777)],
    "replaced by a file": [member("l", b"2", link="../decoy/victim"), member("l", data=b"new")],
    "hard link to a symlink, then data": [member("l", b"2", link="../decoy/victim"), member("h", b"1", link="l"),
                                          member("h", data=b"new")],
    "owner of a link": [member("l", b"2", link="../decoy/victim", uid=1234, gid=1234, mode=0o777)],
    "over a directory with a link in it": [member("d/", b"5"), member("d/l", b"2", link=DECOY), member("d", data=b"")],
}


@pytest.mark.parametrize("members", SAFE_LINKS.values(), ids=SAFE_LINKS)
def test_a_link_to_elsewhere_is_only_a_link(place: Path, members: list[bytes]) -> None:
    unpack(place, tar(*members))


AMBIGUOUS = {
    "size of a directory": tar(member("d", b"5", data=b"abc")),
    "size of a symlink": tar(member("d", b"2", link="x", data=b"abc")),
    "size of a hard link": tar(member("a"), member("b", b"1", link="a", data=b"abc")),
    "unknown type": tar(member("a", b"V")),
    "type of our own sort": tar(member("a", b"8")),
    "NUL in a long name": tar(long_name(b"a\0b"), member("x")),
    "NUL in a pax path": tar(pax({"path": b"a\0b"}), member("x")),
    "pax without a number": member("p", b"x", data=b"xx path=a\n") + tar(member("x")),
    "pax too long": member("p", b"x", data=b"99 path=a\n") + tar(member("x")),
    "pax of length zero": member("p", b"x", data=b"0 path=a\n") + tar(member("x")),
    "pax without an end": member("p", b"x", data=b"9 path=ab") + tar(member("x")),
    "pax without =": member("p", b"x", data=b"6 abc\n") + tar(member("x")),
    "pax with a negative size": tar(pax({"size": "-1"}), member("x")),
    "two pax headers": tar(pax({"path": "a"}), pax({"path": "b"}), member("x")),
    "a header for nobody": pax({"path": "a"}) + END,
    "huge pax": member("p", b"x", size=1 << 30, fill=False),
    "owner beyond": tar(pax({"uid": "4294967295"}), member("x")),
    "hard link to nothing": tar(member("l", b"1", link="nothing")),
    "hard link to the root": tar(member("l", b"1", link=".")),
    "hard link to a directory": tar(member("d", b"5"), member("l", b"1", link="d")),
    "empty symlink": tar(member("l", b"2")),
    "a whiteout's own device": tar(member("n", b"3")),
    "whiteout of nothing": tar(member(".wh.")),
    "below a whiteout": tar(member(".wh.a/b")),
    "below a file": tar(member("f", data=b"x"), member("f/g", data=b"y")),
    "damaged": b"\1" + tar(member("x"))[1:],
    "cut in a header": tar(member("x"))[:300],
    "cut in data": tar(member("x", data=b"a" * 2000))[:1000],
    "not a tar": b"hello" * 1000,
    "name of 5000 bytes": tar(long_name("a/" * 2500), member("x")),
    "component of 300 bytes": tar(long_name("a" * 300), member("x")),
    "sparse map backwards": tar(pax({"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "100",
                                     "GNU.sparse.map": "10,1,0,1"}), member("x", data=b"ab")),
    "sparse map beyond": tar(pax({"GNU.sparse.size": "4", "GNU.sparse.map": "10,2"}), member("x", data=b"ab")),
    "sparse map of more than there is": tar(pax({"GNU.sparse.size": "100", "GNU.sparse.map": "0,90"}),
                                            member("x", data=b"ab")),
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_refused(place: Path, data: bytes) -> None:
    with pytest.raises(ImageError):
        unpack(place, data)


def test_what_gnu_tar_unpacks_is_unpacked_alike(place: Path) -> None:
    """Long names, hard links, holes, nodes, owners, special bits, times: GNU tar is the witness."""
    source = place / "in"
    source.mkdir()
    (source / "file").write_bytes(b"data" * 5000)
    os.link(source / "file", source / "other")
    (source / ("n" * 180)).write_text("long")
    (source / "link").symlink_to("t" * 150)
    deep = source / "/".join(["d" * 60] * 6)
    deep.mkdir(parents=True)
    (deep / "end").write_text("deep")
    with open(source / "holes", "wb") as file:
        for at in range(8):
            file.seek(at << 20)
            file.write(b"run")
        file.truncate(20 << 20)
    os.mkfifo(source / "pipe")
    os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.chown(source / "file", 1000, 70000)
    os.chmod(source / "file", 0o6751)
    os.chown(source / "link", 12, 13, follow_symlinks=False)
    os.chmod(source / "pipe", 0o1622)
    os.mkdir(source / "sticky")
    os.chmod(source / "sticky", 0o3555)
    os.utime(source / "sticky", ns=(0, -5_500_000_000))
    os.utime(source / "file", ns=(0, 1_234_567_890_123_456_789))
    for form in (["--format=gnu"], ["--format=pax"], ["--format=gnu", "-S"], ["--format=pax", "-S"],
                 ["--format=pax", "-S", "--sparse-version=0.0"], ["--format=pax", "-S", "--sparse-version=0.1"]):
        archive = subprocess.run(["tar", "-C", source, *form, "-cf", "-", "."], capture_output=True, check=True).stdout
        witness = place / "lower"
        witness.mkdir()
        subprocess.run(["tar", "-C", witness, "-xpf", "-"], input=archive, check=True)
        unpack(place, archive)
        assert facts(place / "root") == facts(witness), form
        sizes = [os.stat(tree / "holes").st_blocks for tree in (place / "root", witness)]
        assert ("-S" not in form) or sizes[0] <= sizes[1] + 64
        subprocess.run(["rm", "-rf", witness, place / "root"], check=True)
        (place / "root").mkdir()


def test_an_archive_in_any_pieces_is_the_same(place: Path) -> None:
    data = tar(pax({"path": "p" * 150}), member("x", data=b"abc" * 400), long_name("l" * 200), member("y", data=b"q"))

    class Drip(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            return super().read(min(size, 7) if size > 0 else size)

    take(Drip(data), str(place / "root"))
    assert {name: what for name, *_, what in facts(place / "root")} == {"p" * 150: b"abc" * 400, "l" * 200: b"q"}


def test_extended_attributes_of_an_image_are_kept_and_those_of_the_host_are_not(place: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    unpack(place, tar(pax({"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.note": "a=b\nc",
                           "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.other": "x",
                           "SCHILY.xattr.user.overlay.opaque": "y"}), member("f", data=b"x", mode=0o755)))
    path = place / "root/f"
    names = {name for name in os.listxattr(path) if not name.startswith("security.selinux")}
    assert names == {"security.capability", "user.note"}
    assert os.getxattr(path, "security.capability") == capability
    assert os.getxattr(path, "user.note") == b"a=b\nc"


def is_whiteout(path: Path) -> bool:
    st = path.lstat()
    return stat.S_ISCHR(st.st_mode) and st.st_rdev == 0


def test_whiteouts_become_overlays_own(place: Path) -> None:
    root = place / "root"
    unpack(place, tar(member("d/", b"5"), member("d/.wh.gone"), member("e/.wh..wh..opq"), member("e/kept", data=b"k"),
                      member(".wh.f"), member("f/", b"5"), member("g/", b"5"), member(".wh.g"), member("h", data=b"h"),
                      member(".wh.h"), member(".wh..wh.aufs")))
    assert is_whiteout(root / "d/gone")
    assert [os.getxattr(root / name, "trusted.overlay.opaque") for name in ("e", "f", "g")] == [b"y"] * 3
    assert (root / "h").read_text() == "h"
    assert not (root / ".wh..wh.aufs").exists()


def test_the_kernel_shows_what_the_layers_say(place: Path) -> None:
    lower = place / "lower"
    lower.mkdir()
    take(io.BytesIO(tar(member("a/", b"5"), member("a/x", data=b"x"), member("a/y", data=b"y"), member("b/", b"5"),
                        member("b/old", data=b"o"), member("c", data=b"c"))), str(lower))
    unpack(place, tar(member("a/.wh.x"), member("b/", b"5"), member("b/.wh..wh..opq"), member("b/new", data=b"n"),
                      member("c/", b"5"), member("c/d", data=b"d")), lower=[str(lower)])
    seen = subprocess.run(
        ["unshare", "-m", "sh", "-c",
         f"mount -t overlay none -o lowerdir={place}/root:{lower} /mnt && cd /mnt && find . | sort"],
        capture_output=True, text=True, check=True).stdout.split()
    assert seen == [".", "./a", "./a/y", "./b", "./b/new", "./c", "./c/d"]


def test_a_directory_that_only_a_path_tells_of_is_as_below(place: Path) -> None:
    lower = place / "lower"
    lower.mkdir()
    below = tar(member("var/", b"5", mode=0o750, uid=7, gid=8), member("var/tmp/", b"5", mode=0o1777))
    take(io.BytesIO(below), str(lower))
    unpack(place, tar(member("var/tmp/new", data=b"n"), member("fresh/new", data=b"n")), lower=[str(lower)])
    for name in ("var", "var/tmp"):
        mine, its = (place / "root" / name).stat(), (lower / name).stat()
        assert (mine.st_mode, mine.st_uid, mine.st_gid, mine.st_mtime_ns) == (
            its.st_mode, its.st_uid, its.st_gid, its.st_mtime_ns)
    assert stat.S_IMODE((place / "root/fresh").stat().st_mode) == 0o755


def test_the_last_of_several_members_counts(place: Path) -> None:
    unpack(place, tar(member("a", data=b"1"), member("a/", b"5"), member("a/b/", b"5"), member("a/b/c", data=b"x"),
                      member("a", b"2", link="b"), member("a", data=b"last"), member("d/", b"5", mode=0o700),
                      member("d/keep", data=b"k"), member("d/", b"5", mode=0o711)))
    assert [(name, what) for name, *_, what in facts(place / "root")] == [
        ("a", b"last"), ("d", 0), ("d/keep", b"k")]
    assert stat.S_IMODE((place / "root/d").stat().st_mode) == 0o711


def test_odd_names_are_names(place: Path) -> None:
    odd = ["new\nline", "\udcff\udcfe", "Case", "case", "e\u0301", "\u00e9", "-rf", "...", "a b"]
    unpack(place, tar(*(member(name, data=b"x") for name in odd)))
    assert sorted(os.listdir(place / "root")) == sorted(odd)


def test_names_of_ustar_prefixes_and_of_v7(place: Path) -> None:
    block = bytearray(member("end", data=b"x")[:512])
    block[345:351] = b"prefix"
    old = bytearray(member("old/")[:512])
    old[156:157], old[257:265] = b"\0", b"\0" * 8
    unpack(place, signed(block) + b"x".ljust(512, b"\0") + signed(old) + END)
    assert (place / "root/prefix/end").read_text() == "x" and (place / "root/old").is_dir()


def test_numbers_of_gnus_binary_form(place: Path) -> None:
    block = bytearray(member("f", data=b"")[:512])
    block[108:116] = b"\x80" + (70_000_000).to_bytes(7, "big")
    block[136:148] = b"\xff" * 8 + (2**32 - 100).to_bytes(4, "big")
    unpack(place, signed(block) + END)
    st = (place / "root/f").stat()
    assert (st.st_uid, st.st_mtime) == (70_000_000, -100)


@pytest.mark.parametrize("ending", [b"", b"\0" * 512, b"\0" * 10240, b"\0" * 1024 + b"junk"])
def test_an_archive_may_end_in_several_ways(place: Path, ending: bytes) -> None:
    assert unpack(place, member("x", data=b"abc") + ending).entries == 1


def test_a_tree_deeper_than_descriptors_is_made_and_removed(place: Path) -> None:
    deep = "/".join(["d"] * 1200)
    unpack(place, tar(long_name(deep + "/f"), member("x", data=b"x"), long_name("e/" + deep), member("y", b"5"),
                      member("d", data=b"file")))
    assert (place / "root/d").read_bytes() == b"file"
    from capsule.image.layout import remove_tree

    remove_tree(str(place / "root/e"))
    assert os.listdir(place / "root") == ["d"]


@pytest.mark.parametrize(("limit", "value", "members"), [
    ("ENTRIES_MAX", 2, [member("a"), member("b"), member("c")]),
    ("BYTES_MAX", 100, [member("a", data=b"x" * 60), member("b", data=b"x" * 60)]),
    ("FILE_MAX", 100, [member("a", data=b"x" * 101)]),
])
def test_limits(place: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, members: list[bytes]) -> None:
    monkeypatch.setattr(layers, limit, value)
    with pytest.raises(ImageError, match="more than|larger than"):
        unpack(place, tar(*members))


def test_a_bomb_is_refused_by_its_ratio(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(layers, "RATIO_FREE", 1 << 20)
    with pytest.raises(ImageError, match="times as large"):
        unpack(place, gzip.compress(tar(member("zeros", data=bytes(20 << 20)))))
    assert sum(path.stat().st_size for path in (place / "root").iterdir()) < 4 << 20


def test_repeated_opaque_marks_cost_no_more_than_others(place: Path) -> None:
    marks = member("d/.wh..wh..opq") * 5_000
    unpack(place, tar(member("d/", b"5"), *(member(f"d/{number}") for number in range(500)), marks))
    assert len(os.listdir(place / "root/d")) == 500


@pytest.mark.parametrize("program", [["gzip", "-c"], ["zstd", "-c", "-q"], ["zstd", "-19", "-c", "-q"], ["xz", "-c"],
                                     ["bzip2", "-c"]])
def test_compressed_layers(place: Path, program: list[str]) -> None:
    data = tar(member("f", data=os.urandom(300_000) + bytes(300_000)))
    packed = subprocess.run(program, input=data, capture_output=True, check=True).stdout
    found = unpack(place, packed)
    assert (found.size, found.tar_size) == (len(packed), len(data))
    assert (place / "root/f").stat().st_size == 600_000


@pytest.mark.parametrize("program", [["gzip", "-c"], ["zstd", "-c", "-q"], ["xz", "-c"], ["bzip2", "-c"]])
@pytest.mark.parametrize("spoil", ["cut", "flip"])
def test_damaged_compressed_layers_are_refused(place: Path, program: list[str], spoil: str) -> None:
    data = tar(member("f", data=os.urandom(300_000)))
    packed = subprocess.run(program, input=data, capture_output=True, check=True).stdout
    if spoil == "cut":
        packed = packed[: len(packed) // 2]
    else:
        packed = packed[:20] + bytes([packed[20] ^ 0xFF]) + packed[21:1000] + b"\xff" * 200 + packed[1200:]
    if program[0] == "zstd" and spoil == "flip":
        return  # without a checksum zstd has nothing to see it by; the digest does
    with pytest.raises(ImageError):
        unpack(place, packed)


def test_a_zstd_window_that_asks_for_too_much_memory_is_refused(place: Path) -> None:
    data = tar(member("f", data=os.urandom(40 << 20)))
    packed = subprocess.run(["zstd", "--long=27", "-1", "-c", "-q"], input=data, capture_output=True, check=True).stdout
    with pytest.raises(ImageError):
        unpack(place, packed)


def test_a_full_disk_is_told_and_nothing_else_is_written(place: Path) -> None:
    """A tmpfs of a mount namespace of its own; the message names the member and the cause."""
    archive = place / "in"
    archive.write_bytes(tar(member("big", data=bytes(8 << 20))))
    program = ("import sys; sys.path.insert(0, sys.argv[1])\nfrom capsule.image.layers import take\n"
               "try: take(open(sys.argv[2], 'rb'), sys.argv[3])\nexcept Exception as err: print(err)")
    tree = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m none "$3" && exec "$0" -c "$4" "$1" "$2" "$3"',
         sys.executable, tree, str(archive), str(place / "root"), program],
        capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "unpack layer: write big: no space left on device"


def test_python_writes_what_we_read(place: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("ü" * 90)
        entry.size, entry.mtime = 3, 1.5
        archive.addfile(entry, io.BytesIO(b"abc"))
    unpack(place, out.getvalue())
    assert (place / "root" / ("ü" * 90)).stat().st_mtime_ns == 1_500_000_000
