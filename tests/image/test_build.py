"""Dockerfiles and their contexts: words, files, stages, cache; what is refused, by its line. RUN: tests/integration."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule.errors import ImageError, Unsupported
from capsule.image import cache, dockerfile, ignoring, layertar, words
from capsule.image.mounting import difference
from capsule.image.store import Store

from .builds import Kit
from .conftest import Cli
from .tars import member, rootfs, tar

pytestmark = requires("root")


def test_words_are_split_before_variables_are_put_in() -> None:
    values = {"A": "1 2", "E": ""}
    assert words.split("a=$A \"b ${A}\" '$A' \\$A ${X:-d e} ${E-x} ${E:-x} ${A:+y}z $", values) == [
        "a=1 2", "b 1 2", "$A", "$A", "d e", "", "x", "yz", "$"]
    for text in ("'x", '"x', "${A", "${A:?x}", "${}"):
        with pytest.raises(ImageError):
            words.split(text, values)


@pytest.mark.parametrize(("text", "message"), [
    ("", "it has no FROM"), ("RUN x", "line 1 RUN: only ARG"),
    ("FROM x\n\nCOFFEE x", "line 3 COFFEE: is not built"),
    ("FROM x\nHEALTHCHECK x", "line 2 HEALTHCHECK: .*expected CMD"),
    ("FROM x\nHEALTHCHECK --interval=1us CMD x", "of 1ms at least"), ("FROM x\nHEALTHCHECK NONE x", "nothing else"),
    ("FROM x\nHEALTHCHECK --retries=x CMD y", "expected a number"), ("FROM x\nONBUILD FROM y", "FROM cannot be done"),
    ("FROM x\nONBUILD ONBUILD RUN x", "ONBUILD cannot"), ("FROM x\nONBUILD COFFEE x", "line 2 COFFEE"),
    ("FROM x\n# c\nRUN \\\n <<EOF\nx\nEOF", "line 3 RUN: here-documents"),
    ("FROM x\nCOPY --link a b", "line 2 COPY --link: is not built"), ("FROM x y", "expected FROM IMAGE"),
    ("FROM --platform=linux/arm64 x", "line 1 FROM --platform"), ("FROM x AS a\nFROM y AS a", "line 2 AS a"),
    ("FROM x\nENV", "line 2 ENV: it lacks"), ("FROM x\nRUN --mount=type=cache,target=/x true", "line 2 RUN --mount"),
])
def test_what_is_not_built_is_refused_by_its_line(text, message) -> None:
    with pytest.raises((ImageError, Unsupported), match=message):
        dockerfile.parse(text.encode())


def test_lines_are_joined_and_directives_count() -> None:
    parsed = dockerfile.parse(b"# escape=`\nFROM a\nRUN x `\n# comment\n\n  y `\n z\nrun C:\\\n")
    assert [(one.word, one.rest, one.line) for one in parsed.stages[0].instructions] == [
        ("RUN", "x   y  z", 3), ("RUN", "C:\\", 8)]


def test_dockerignore() -> None:
    ignored = ignoring.Ignored("# c\n*.log\n!keep.log\nmodules\n**/tmp\na/**\n!a/b\n[xy]?")
    paths = "q.log keep.log d/q.log modules/q q/tmp tmp q/w/tmp/z a a/c a/b/c x1 z1 d/x1".split()
    hidden = [path for path in paths if ignored.hides(path)]
    assert hidden == ["q.log", "modules/q", "q/tmp", "tmp", "q/w/tmp/z", "a/c", "x1"]


@pytest.mark.parametrize("patterns", ["secret\nhid\n", "secret\nhid\nkept\n!kept/in\n", "*\n!f\n!kept/in\n!link*\n"])
def test_what_is_ignored_is_not_copied_by_any_way(patterns, kit: Kit, store: Store) -> None:
    kit.write(f="f", secret="s", hid__s="s", hid__d__s="s", kept__in="k", kept__out="o")
    for name, target in (("link", "secret"), ("link-d", "hid"), ("link-out", ".")):
        (kit.context / name).symlink_to(target)
    (kit.context / ".dockerignore").write_text(patterns)
    for text in ("secret", "link", "link-d", "link-d/s", "link-[d]", "hid", "h*", "link-out/secret"):
        kit.build(f"FROM base\nADD {text} /x/\n", rc=1)
        assert "leaves it out" in kit.told, (text, kit.told)
    for text, copied in (("*", {"f", "in"}), ("./", {"f", "link", "kept/in"}), ("link-out/", {"f", "link", "kept/in"})):
        found = kit.files(store, kit.build(f"FROM base\nCOPY {text} /x/\n"))
        names = {path.removeprefix("x/") for path in found if path.startswith("x/")}
        assert copied <= names and not names & {"secret", "s", "d", "hid", "hid/s"}, (text, names)
        assert bool(names & {"out", "kept/out"}) == ("!" not in patterns), (text, names)


def test_a_directory_is_copied_for_what_an_exception_keeps(kit: Kit, store: Store) -> None:
    kit.write(kept__in="k", kept__out="o", none__out="o")
    (kit.context / "link").symlink_to("kept")
    (kit.context / ".dockerignore").write_text("kept\nnone\n!kept/in\n")
    found = kit.files(store, kit.build("FROM base\nCOPY kept /x/\nCOPY kept/in /y/\n"))
    assert {"x/in", "y/in"} <= set(found) and "x/out" not in found
    for text in ("none", "kept/out"):
        kit.build(f"FROM base\nCOPY {text} /x/\n", rc=1)
        assert "leaves it out" in kit.told
    found = kit.files(store, kit.build("FROM base\nCOPY link /x/\n"))
    assert "x/in" in found and "x/out" not in found


def test_configuration(kit: Kit, store: Store) -> None:
    id = kit.build('''ARG GLOBAL=g
FROM base
ARG GLOBAL
ARG V=1
ENV A="a $V" B=$GLOBAL
ENV OLD form of $V
LABEL l=$A
USER web:staff
EXPOSE 80 53/udp
VOLUME ["/data", "/more"]
STOPSIGNAL SIGINT
SHELL ["/bin/ash", "-ec"]
ENTRYPOINT ["/app"]
''', "--build-arg", "V=2", "--label", "k=v", "-t", "app", "-t", "app:2")
    image = store.find("app:2")
    assert image.id == id and store.find("app").id == id
    assert image.config["config"] == {
        "Env": ["A=a 2", "B=g", "OLD=form of 2"], "Labels": {"l": "a 2", "k": "v"}, "User": "web:staff",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}, "/more": {}}, "StopSignal": "SIGINT",
        "Shell": ["/bin/ash", "-ec"], "Entrypoint": ["/app"]}  # the base's CMD was for its own entrypoint
    assert all(step["empty_layer"] for step in image.config["history"][1:])
    shell = store.find(kit.build('FROM base\nSHELL ["/x"]\nCMD a b\nENTRYPOINT c'))
    assert shell.config["config"]["Cmd"] == ["/x", "a b"] and shell.config["config"]["Entrypoint"] == ["/x", "c"]


def test_files_are_copied(kit: Kit, store: Store) -> None:
    kit.write(src__deep__f="f", src__a="a", other="o", secret="s", src__x_log="l")
    os.chmod(kit.context / "src" / "a", 0o4750)
    os.utime(kit.context / "src" / "a", ns=(1, 1_500_000_000_000_000_001))
    (kit.context / "src" / "link").symlink_to("deep/f")
    (kit.context / ".dockerignore").write_text("secret\n**/*_log\n")
    id = kit.build('''FROM base
WORKDIR way/work
COPY src/ ./
COPY --chown=web:staff --chmod=0600 other renamed
COPY ["other", "src/d*", "/many/"]
COPY --chown=77 other /owned/
''')
    found = kit.files(store, id)
    for path in ("etc/work/deep/f", "etc/work/a", "etc/work/link", "etc/work/renamed", "many/other", "many/f"):
        assert path in found, (path, sorted(found))
    assert not [path for path in found if "secret" in path or "_log" in path]
    info = found["etc/work/a"].stat()
    assert (info.st_mode & 0o7777, info.st_uid, info.st_mtime_ns) == (0o4750, 0, 1_500_000_000_000_000_001)
    assert os.readlink(found["etc/work/link"]) == "deep/f"
    info = found["etc/work/renamed"].stat()
    assert (info.st_mode & 0o7777, info.st_uid, info.st_gid) == (0o600, 1000, 50)
    assert (found["owned/other"].stat().st_uid, found["owned/other"].stat().st_gid) == (77, 77)
    assert "etc/passwd" in found and store.find(id).config["config"]["WorkingDir"] == "/way/work"


@pytest.mark.parametrize(("text", "message"), [
    ("COPY ../up /", "leads out of the context"), ("COPY missing /", "no such file"), ("COPY out /x", "no such file"),
    ("COPY hidden /", "leaves it out"), ("COPY f /etc", None), ("COPY --chown=nobody-there f /", "nobody-there"),
    ("COPY --chmod=9 f /", "octal"), ("COPY f", "SOURCE... TARGET"), ("ADD https://x/y /", "fetching is not built"),
    ("COPY --from=host /etc/passwd /", "machine's own"), ("COPY --from=none /x /", "no such image"),
    ("ENV x", "NAME=VALUE"),
    ("COPY dir/ /etc/passwd/", None), ("COPY fifo /", "neither a file"), ("EXPOSE a", "port"), ("ARG 1=2", "variable"),
    ("COPY dirs /", "device|directory is|a file is to take its place"),
])
def test_what_cannot_be_copied_leaves_no_image(kit: Kit, store: Store, memory: Path, text, message) -> None:
    decoy = memory / "decoy"
    decoy.mkdir()
    (decoy / "secret").write_text("secret")
    kit.write(f="f", hidden="h", dir__x="x", dirs__etc="a file where a directory is")
    (kit.context / "out").symlink_to(f"../../../../../../..{decoy}/secret")
    os.mkfifo(kit.context / "fifo")
    (kit.context / ".dockerignore").write_text("hidden\n")
    if message is None:
        kit.build(f"FROM base\n{text}\n", rc=1 if "passwd" in text else 0)
        return
    kit.build(f"FROM base\n{text}\n", "-t", "app", rc=1)
    assert re.search(message, kit.told) and "build line 2" in kit.told, kit.told
    assert [row.names for row in store.images()] == [["base:latest"]] and os.listdir(store.root + "/staging") == []


def test_links_of_an_image_lead_nowhere_else(kit: Kit, store: Store, memory: Path) -> None:
    decoy = memory / "decoy"
    decoy.mkdir()
    data = tar(member("out", b"2", link=f"../../../../../../..{decoy}"))
    kit.cli("image", "import", "-", "evil", data=data)
    kit.write(f="f")
    id = kit.build("FROM evil\nCOPY f /out/\nWORKDIR /out/work\nCOPY f .")
    assert os.listdir(decoy) == []
    assert f"{str(decoy)[1:]}/work/f" in kit.files(store, id)


def test_stages(kit: Kit, store: Store) -> None:
    kit.write(f="f", g="g")
    text = """FROM base AS one
COPY f /made/
FROM scratch AS two
COPY g /
FROM one AS three
COPY --from=two / /of-two/
COPY --from=0 /made/f /of-one
COPY --from=base /etc/passwd /of-image
FROM missing AS never
"""
    id = kit.build(text, "--target", "three")
    assert {"made/f", "of-two/g", "of-one", "of-image"} <= set(kit.files(store, id))
    assert set(kit.files(store, kit.build(text, "--target", "TWO"))) == {"g"}
    kit.build(text, "--target", "four", rc=1)
    kit.build(text, rc=1)
    assert "build line 9 FROM missing" in kit.told
    kit.build("FROM host\n", rc=1)
    assert "secrets" in kit.told


def test_a_tar_is_unpacked_by_add_alone(kit: Kit, store: Store) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        made = tarfile.TarInfo("dir/owned")
        made.uid, made.mode, made.size = 7, 0o640, 1
        archive.addfile(made, io.BytesIO(b"x"))
    (kit.context / "t.tgz").write_bytes(data.getvalue())
    found = kit.files(store, kit.build("FROM base\nADD t.tgz /in/\nCOPY t.tgz /kept/\n"))
    assert found["in/dir/owned"].stat().st_uid == 7 and "kept/t.tgz" in found
    evil = tar(member("../out", data=b"x"))
    (kit.context / "evil.tar").write_bytes(evil)
    kit.build("FROM base\nADD evil.tar /in/\n", rc=1)
    assert "build line 2 ADD" in kit.told


def test_what_was_made_is_taken_from_the_cache(kit: Kit, store: Store) -> None:
    kit.write(f="f")
    text = "FROM base\nCOPY f /one\nENV A=b\nCOPY f /two\n"
    first = kit.build(text)
    assert kit.build(text) == first and kit.told.count("as before") == 2
    os.utime(kit.context / "f")
    assert kit.build(text) == first  # times do not count
    kit.write(f="other")
    second = kit.build(text)
    assert second != first and "as before" not in kit.told
    kit.write(f="f")
    assert kit.build(text) == first
    anew = kit.build(text, "--no-cache")
    assert anew != first  # files were written anew, and so were their times
    store.prune()  # the cache keeps its layers
    assert kit.build(text, "-q") == anew and kit.told == ""
    cache.clear(store.root)
    assert store.prune()[0] == [anew] and kit.build(text) != anew and "as before" not in kit.told


def test_a_layer_is_the_same_bytes_for_the_same_files(memory: Path) -> None:
    def make(name: str) -> bytes:
        top = memory / name
        (top / "dir").mkdir(parents=True)
        (top / "dir" / "file").write_text("x")
        os.link(top / "dir" / "file", top / "twin")
        os.setxattr(top / "twin", "user.kept", b"\xff")
        os.setxattr(top / "dir", "trusted.overlay.opaque", b"y")
        os.mknod(top / "gone", 0o020000)
        os.mkfifo(top / os.fsdecode(b"\xff"))
        for path in (top / "dir" / "file", top / "dir", top / os.fsdecode(b"\xff")):
            os.utime(path, ns=(0, 1_600_000_000_123_456_789))
        file = io.BytesIO()
        fd = os.open(top, os.O_RDONLY)
        layertar.write(fd, file, root=False)
        os.close(fd)
        return file.getvalue()

    first = make("first")
    assert first == make("second")
    with tarfile.open(fileobj=io.BytesIO(first), errors="surrogateescape") as archive:
        members = {entry.name: entry for entry in archive}
    assert list(members) == ["dir", "dir/.wh..wh..opq", "dir/file", ".wh.gone", "twin", "\udcff"]
    assert members["twin"].islnk() and members["dir/file"].pax_headers["mtime"] == "1600000000.123456789"


def test_a_name_that_would_delete_another_is_refused(memory: Path) -> None:
    (memory / "top").mkdir()
    (memory / "top" / ".wh.passwd").touch()
    fd = os.open(memory / "top", os.O_RDONLY)
    with pytest.raises(ImageError, match="another file is deleted"), layertar.Stream(fd, root=False) as source:
        while source.read(1 << 20):
            pass
    os.close(fd)


def test_layers_of_a_directory(cli: Cli, store: Store, memory: Path) -> None:
    (memory / "layers" / "2-upper").mkdir(parents=True)
    (memory / "layers" / "1.tar").write_bytes(rootfs())
    (memory / "layers" / "2-upper" / "new").write_text("x")
    cli("image", "build", "--from-layers", "-t", "app", "-c", "CMD x", memory / "layers")
    assert [kind + path for kind, path in difference(store.find("app"))] == ["Anew"]
    (memory / "none").mkdir()
    cli("image", "build", "--from-layers", memory / "none", rc=1)


def test_an_empty_file_is_no_image(cli: Cli, store: Store, memory: Path) -> None:
    (memory / "empty").touch()
    cli("image", "create", "app", memory / "empty", rc=1)
    assert "it is empty" in cli.err and store.images() == []


@requires("skopeo", "umoci")
def test_others_take_what_was_built(kit: Kit, memory: Path) -> None:
    kit.write(f="f")
    kit.build("FROM base\nCOPY --chown=5:6 f /way/\nLABEL a=b\n", "-t", "app")
    kit.cli("image", "save", "-o", memory / "app.tar", "app")
    subprocess.run(["skopeo", "--insecure-policy", "copy", f"oci-archive:{memory}/app.tar", f"oci:{memory}/layout:app"],
                   check=True, capture_output=True)
    subprocess.run(["umoci", "unpack", "--image", f"{memory}/layout:app", memory / "bundle"], check=True,
                   capture_output=True)
    info = (memory / "bundle" / "rootfs" / "etc" / "f").stat()
    assert (info.st_uid, info.st_gid) == (5, 6)
    raw = subprocess.run(["skopeo", "inspect", f"oci:{memory}/layout:app"], check=True, capture_output=True).stdout
    assert json.loads(raw)["Labels"] == {"a": "b"}
