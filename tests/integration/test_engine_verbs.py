"""ps, inspect, top, stats, cp, rename and events of the engine's containers."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS, one_line

pytestmark = requires("root", "runtime", "busybox", "ps")


@pytest.fixture
def web(engine):
    """A container that runs and can be written to."""
    flags = ("--name", "web", "--label", "tier=front", "-m", "64m")
    id = engine.detach("mkdir -p /tmp/in; echo up; exec sleep 600", *flags)
    engine.await_log(id, "up")
    return id


def test_ps_lists_containers_of_both_kinds(engine, web, capsule, bundle) -> None:
    capsule.call("create", "--bundle", bundle(["/bin/true"]).write(), "plain")
    ended = engine.detach("exit 3", "--name", "ended")
    engine.wait("ended")
    rows = {row["Names"][0]: row for row in capsule.call("ps", "-a", "-f", "json").json}
    assert (rows["web"]["Id"], rows["web"]["State"], rows["web"]["IsEngine"]) == (web, "running", True)
    assert (rows["ended"]["State"], rows["ended"]["ExitCode"]) == ("exited", 3)
    assert (rows["plain"]["State"], rows["plain"]["IsEngine"], rows["plain"]["Command"]) == (
        "created", False, ["/bin/true"])
    assert capsule.call("ps", "-q").out == f"{web[:12]}\n"
    assert set(capsule.call("ps", "-aq", "--no-trunc").out.split()) == {web, ended, "plain"}
    line = capsule.call("ps").lines[1]
    assert line.startswith(web[:12]) and line.endswith("web") and "Up " in line
    for words, names in ((("label=tier=front",), ["web"]), (("status=exited",), ["ended"]), (("exited=3",), ["ended"]),
                         (("name=we", "ancestor=host"), ["web"]), (("name=nobody",), [])):
        flags = [word for text in words for word in ("--filter", text)]
        found = capsule.call("ps", *flags, "--format", "json").json
        assert [row["Names"][0] for row in found] == names
    assert "expected one of" in one_line(capsule.call("ps", "--filter", "color=red", rc=FAILS))
    capsule.call("delete", "--force", "plain")


def test_listings_are_printed_as_people_ask_for_them(engine, web, capsule) -> None:
    other = engine.detach("exec sleep 60", "--name", "other", "--restart", "always", "-v", "data:/data")
    for flags, names in {
        ("--filter", "restart-policy=always"): ["other"], ("--filter", "volume=data"): ["other"],
        ("--filter", "volume=/data"): ["other"], ("--filter", "name=web", "--filter", "name=other"): ["other", "web"],
        ("--filter", "label=tier", "--filter", "label=none"): [], ("--filter", "health=healthy"): [],
        ("--latest",): ["other"], ("-n", "5"): ["other", "web"],
    }.items():
        assert capsule.call("ps", *flags, "--format", "{{.Names}}").lines == names, flags
    assert capsule.call("ps", "-l", "--format", "{{.ID}} {{ .names }}\\t{{json .Mounts}}").out == (
        f'{other[:12]} other\t["data","/data"]\n')
    table = capsule.call("ps", "--format", "table {{.Names}}\\t{{.State}}").lines
    assert [line.split() for line in table] == [["NAMES", "STATE"], ["other", "running"], ["web", "running"]]
    assert "there is Id, Names" in one_line(capsule.call("ps", "--format", "{{.Nmaes}}", rc=FAILS))
    for text, expected in (("status=dead", "exited"), ("exited=x", "a number"), ("health=well", "unhealthy")):
        told = one_line(capsule.call("ps", "--filter", text, rc=FAILS))
        assert f"--filter {text}: expected" in told and expected in told
    for noun in ("image", "volume"):
        result = capsule.call(noun, "list", "--filter", "dangling=maybe", rc=FAILS)
        assert "dangling=maybe: expected true or false" in one_line(result)
    assert "stop --time x: expected" in one_line(capsule.call("stop", "--time", "x", "web", rc=FAILS))
    for text in ("jsn", "{{.Names", "{{range .}}x{{end}}"):
        assert "expected" in one_line(capsule.call("ps", "--format", text, rc=FAILS))
    assert capsule.call("volume", "list", "--filter", "dangling=false", "--format", "{{.Name}} {{.Driver}}").lines == [
        "data local"]
    assert "expected one of name=" in one_line(capsule.call("volume", "list", "--filter", "driver=local", rc=FAILS))
    assert capsule.call("image", "list", "--filter", "dangling=true", "--format", "{{.ID}}").out == ""
    assert "image list --format x: expected" in one_line(capsule.call("image", "list", "--format", "x", rc=FAILS))


def test_all_stands_for_names_and_goes_with_none(engine, web, capsule) -> None:
    ended = engine.detach("exit 0", "--name", "ended", "--label", "tier=back")
    engine.wait("ended")
    assert "goes with --all" in one_line(capsule.call("rm", "--filter", "name=web", "web", rc=FAILS))
    for words in (("stop", "--all", "web"), ("rm",), ("start", "--all", "web"), ("start",)):
        told = capsule.call(*words, rc=FAILS).err
        assert ("requires no names beside --all" if "--all" in words else "requires a minimum of 1") in told
    for text, cause in (("x", "expected one of name="), ("should-start-on-boot=yes", "expected true or false")):
        assert cause in one_line(capsule.call("start", "--all", "--filter", text, rc=FAILS))
    assert capsule.call("start", "--all", "--filter", "should-start-on-boot=True").out == ""
    assert capsule.call("rm", "--all", "--filter", "label=tier=back").lines == [ended]
    assert capsule.call("stop", "--all", "-t", "0").lines == [web]
    assert capsule.call("stop", "--all").out == ""
    assert capsule.call("start", "web", "web", rc=FAILS).lines == ["web"]  # the second time it runs already
    assert capsule.call("rm", "-af").lines == [web]


def test_one_name_that_fails_does_not_keep_the_others(engine, web, capsule) -> None:
    for noun in ("volume", "network"):
        for name in ("one", "two"):
            capsule.call(noun, "create", name)
        result = capsule.call(noun, "delete", "one", "nosuch", "nomore", "two", rc=FAILS)
        assert result.lines == ["one", "two"] and len(result.err.splitlines()) == 2
        assert capsule.call(noun, "list", "--quiet").out == ""
    result = capsule.call("rm", "--force", "web")
    assert "`capsule ps --all` names those" in one_line(capsule.call("logs", "web", rc=FAILS))


def test_verbs_of_the_runtime_take_names(engine, web, capsule) -> None:
    assert capsule.call("exec", "web", "echo", "in").out == "in\n"
    pid = engine.program(web)
    assert capsule.call("ps", "-f", "json", "web").json == [pid] == capsule.call("top", "-f", "json", "web").json
    assert str(pid) in capsule.call("top", "web", "-o", "pid,args").out
    capsule.call("update", "--memory", "128m", "--memory-swap", "128m", web[:8])
    assert capsule.call("events", "--stats", "web").json["data"]["memory"]["usage"]["limit"] == 128 << 20


def test_inspect_tells_containers_images_and_networks(engine, web, capsule) -> None:
    found = capsule.call("inspect", "web").json[0]
    assert (found["Id"], found["Name"], found["Path"]) == (web, "web", "/bin/sh")
    assert found["State"]["Status"] == "running" and found["State"]["Pid"] == engine.program(web)
    assert found["Config"]["Labels"] == {"tier": "front"} and found["HostConfig"]["Memory"] == 64 << 20
    fill = "{{.Name}} {{.State.Running}} {{json .Args}}"
    assert capsule.call("inspect", "-f", fill, "web").out.startswith('web true ["-c",')
    assert "there is no Color" in one_line(capsule.call("inspect", "-f", "{{.Color}}", "web", rc=FAILS))
    assert "nobody" in one_line(capsule.call("inspect", "nobody", rc=FAILS))
    assert "no image" in one_line(capsule.call("inspect", "--type", "image", "web", rc=FAILS))


def test_stats_count(web, capsule) -> None:
    row = capsule.call("stats", "--no-stream", "--format", "json", "web").json[0]
    assert (row["id"], row["name"], row["pids"], row["memory_limit"]) == (web, "web", 1, 64 << 20)
    assert 0 < row["memory_usage"] <= 64 << 20 and row["cpu_ns"] > 0
    assert capsule.call("stats", "--no-stream").lines[1].startswith(web[:12])
    live = capsule.spawn("stats", "--interval", "10ms", "web")
    live.wait_output("64MiB")
    capsule.call("rm", "--force", "web")
    assert live.wait().rc == 0
    capsule.call("stats", "--no-stream", "web", rc=FAILS)


def test_a_renamed_container_has_its_new_name_alone(engine, web, capsule) -> None:
    engine.detach("exec sleep 600", "--name", "other")
    assert "other" in one_line(capsule.call("rename", "web", "other", rc=FAILS))
    capsule.call("rename", "web", "shop")
    assert capsule.call("exec", "shop", "echo", "in").out == "in\n"
    capsule.call("state", "web", rc=FAILS)


def test_events_tell_what_is_kept(engine, web, capsule) -> None:
    id = engine.detach("exit 3", "--name", "ended")
    engine.wait("ended")
    lines = capsule.call("events", "--no-stream").lines
    assert [line.split()[2] for line in lines if web in line] == ["create", "start"]
    assert [line.split()[2] for line in lines if id in line] == ["create", "start", "die"]
    assert "exitCode=3" in lines[-1] or "exitCode=3" in "".join(lines)
    assert capsule.call("events", "--no-stream", "--since", "0s").out == ""
    watching = capsule.spawn("events")
    try:
        watching.wait_output(" die ")  # it has looked once
        capsule.call("pause", "web")
        watching.wait_output(" pause ")
        capsule.call("resume", "web")
        watching.wait_output(" unpause ")
        capsule.call("pause", "web")  # which keeps nobody from removing it
        capsule.call("rm", "--force", "web")
        watching.wait_output(" remove ")
    finally:
        watching.stop()


def test_files_go_in_and_come_out(web, capsule, tmp_path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_text("text")
    (tree / "link").symlink_to("deep/file")
    (tree / "file").write_text("x" * 100_000)
    os.chown(tree / "file", 1234, 1234)
    (tree / "file").chmod(0o4755)
    capsule.call("cp", tree, "web:/tmp/in")
    look = capsule.call("exec", "web", "stat", "-c", "%a %u %s", "/tmp/in/tree/file").out
    assert look == "755 0 100000\n"
    assert capsule.call("exec", "web", "cat", "/tmp/in/tree/link").out == "text"
    capsule.call("cp", "--archive", tree / "file", "web:/tmp/in/kept")
    assert capsule.call("exec", "web", "stat", "-c", "%a %u", "/tmp/in/kept").out == "4755 1234\n"
    capsule.call("cp", f"{tree}/.", "web:/tmp/in")
    assert capsule.call("exec", "web", "cat", "/tmp/in/deep/file").out == "text"

    capsule.call("cp", "web:/tmp/in/tree", tmp_path / "back")
    assert (tmp_path / "back" / "deep" / "file").read_text() == "text" and (tmp_path / "back" / "link").is_symlink()
    capsule.call("cp", "web:/tmp/in/kept", tmp_path)
    info = (tmp_path / "kept").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o755, 0)  # no set-user-ID file of a container's making


def test_tars_go_in_and_come_out(web, capsule) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("a/b")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"text"))
    capsule.call("cp", "-", "web:/tmp/in", stdin=made.getvalue())
    result = capsule.call("cp", "web:/tmp/in/a", "-")
    with tarfile.open(fileobj=io.BytesIO(result.raw)) as archive:
        assert sorted(archive.getnames()) == ["a", "a/b"]
    capsule.call("cp", "-", "web:/tmp/none", stdin=made.getvalue(), rc=FAILS)


@pytest.mark.parametrize("plant", [
    "ln -s /etc/decoy /tmp/in/link", "ln -s ../../../../etc/decoy /tmp/in/link", "ln -s /proc/1/root /tmp/in/link",
    "ln -s /proc/self/root/etc/decoy /tmp/in/link",
])
def test_no_link_of_a_containers_leads_to_this_machine(plant, web, capsule, tmp_path) -> None:
    """A container sees its own /etc/decoy or none; the machine's is never what comes out."""
    capsule.call("exec", "web", "sh", "-c", f"echo inside > /etc/decoy; {plant}")
    decoy = Path(tmp_path, "decoy")
    decoy.write_text("outside")
    capsule.call("cp", "web:/tmp/in", tmp_path / "out")  # links come out as links
    assert (tmp_path / "out" / "link").is_symlink()
    if "/root" in plant:
        # A magic link, and what is no file: both are refused, whatever they lead to.
        assert one_line(capsule.call("cp", "web:/tmp/in/link", tmp_path / "followed", rc=FAILS))
        assert not (tmp_path / "followed").exists()
    else:
        capsule.call("cp", "web:/tmp/in/link", tmp_path / "followed")
        assert (tmp_path / "followed").read_text() == "inside\n"
    assert one_line(capsule.call("cp", decoy, "web:/tmp/in/link/x", rc=FAILS))
    assert capsule.call("exec", "web", "cat", "/etc/decoy").out == "inside\n"
    assert decoy.read_text() == "outside" and not Path("/etc/decoy").exists()
    assert not Path("/x").exists() and not Path("/etc/x").exists()


def test_a_container_takes_no_directory_of_ours_away(web, capsule, tmp_path) -> None:
    for name in ("file", "link", "tree"):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / "ours").write_text("kept")
    (tmp_path / "plain").write_text("kept")
    capsule.call("exec", "web", "sh", "-c", "cd /tmp/in; echo x > file; ln -s /etc link; mkdir plain tree; "
                 "echo x > tree/theirs; chmod 777 tree")
    for name in ("file", "plain"):
        assert "is there" in one_line(capsule.call("cp", f"web:/tmp/in/{name}", tmp_path, rc=FAILS))
    assert "is there" in one_line(capsule.call("cp", "web:/tmp/in/.", tmp_path, rc=FAILS))
    capsule.call("cp", "web:/tmp/in/tree", tmp_path)
    assert {(tmp_path / name / "ours").read_text() for name in ("file", "link", "tree")} == {"kept"}
    assert (tmp_path / "plain").read_text() == "kept" and (tmp_path / "tree" / "theirs").read_text() == "x\n"
    assert stat.S_IMODE((tmp_path / "tree").stat().st_mode) == 0o700


def test_an_archive_cannot_leave_its_directory(web, capsule) -> None:
    for name in ("../escaped", "/escaped", "link/escaped"):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc"
            archive.addfile(link)
            archive.addfile(tarfile.TarInfo(name))
        capsule.call("cp", "-", "web:/tmp/in", stdin=made.getvalue(), rc=FAILS)
        assert not Path("/etc/escaped").exists()
        capsule.call("exec", "web", "ls", "/etc/escaped", rc=FAILS)


@pytest.mark.parametrize(("words", "text"), [
    (("here", "there"), "in a container"), (("/nonexistent", "web:/tmp"), "no such file"),
    (("web:/nonexistent", "."), "no such file"), (("/etc/hostname", "web:/none/x"), "there is no directory"),
    (("/etc/hostname", "nobody:/tmp"), "does not exist"),
])
def test_what_cannot_be_copied_is_told(words, text, web, capsule) -> None:
    assert text in one_line(capsule.call("cp", *words, rc=FAILS)).lower()
