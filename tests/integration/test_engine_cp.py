"""cp: containers that stand still, files that are replaced as a whole, mounts, and what is refused."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tarfile
from pathlib import Path

from helpers import images, killed, process, stops
from helpers.engine import Engine
from helpers.requires import requires, variant
from helpers.runtime import FAILS, Runtime, one_line
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox")


def _stopped(engine: Engine, script: str, *flags: object, image: str = "host") -> str:
    id = engine.detach(script, "--name", "web", *map(str, flags), image=image)
    engine.wait(id)
    return id


def _tar(name: str, data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def test_a_container_that_stands_still_is_copied_from_and_to(engine, tmp_path) -> None:
    id = _stopped(engine, "test -e /tmp/given && exec cat /tmp/given; echo made > /tmp/made")
    engine.call("cp", "web:/tmp/made", tmp_path)
    assert (tmp_path / "made").read_text() == "made\n"
    (tmp_path / "given").write_text("given\n")
    engine.call("cp", tmp_path / "given", "web:/tmp/")
    engine.call("cp", "web:/etc/passwd", tmp_path)
    assert (tmp_path / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    assert "no such file" in one_line(engine.call("cp", "web:/etc/shadow", tmp_path, rc=FAILS))  # veiled as ever
    assert id not in Path("/proc/self/mountinfo").read_text()
    engine.call("start", id)
    engine.wait(id)
    assert engine.call("logs", id).lines == ["given"]


def test_its_volumes_are_part_of_what_is_seen(engine, workdir, tmp_path) -> None:
    images.bring(engine.runtime, images.busybox_root(workdir), "box")
    (tmp_path / "conf").write_text("conf")
    _stopped(engine, "echo kept > /data/file", "-v", "data:/data", "-v", "still:/still:ro", "-v",
             f"{tmp_path}/conf:/conf", image="box")
    engine.call("cp", "web:/data/file", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "kept\n"
    engine.call("cp", tmp_path / "out", "web:/data/more")
    volume = Path(engine.call("volume", "inspect", "data").json[0]["mountpoint"])
    assert (volume / "more").read_text() == "kept\n"
    assert "read-only" in one_line(engine.call("cp", tmp_path / "out", "web:/still/", rc=FAILS))
    engine.call("cp", tmp_path / "out", "web:/conf")  # a file of the host's, mounted there
    assert (tmp_path / "conf").read_text() == "kept\n"
    engine.call("cp", "web:/data/file", "web:/data/twin")  # both ends at once
    assert (volume / "twin").read_text() == "kept\n"
    engine.call("rm", "web")
    assert "does not exist" in one_line(engine.call("cp", "web:/data/file", tmp_path, rc=FAILS))


@requires("stop")
def test_one_that_never_ran_is_copied_to(engine, capsule, workdir, tmp_path) -> None:
    (workdir / "stops").mkdir()
    stopping = Runtime([str(variant("stop"))], capsule.root, workdir / "stops")
    stopped = stops.stop_at(stopping, "engine-counted", "image", "run", "-d", "--name", "web", "host", "cat", "/tmp/f")
    assert stopped is not None
    stopped.running.popen.kill()
    stopped.kill()
    stopped.running.wait()
    process.reap_orphans()
    (tmp_path / "f").write_text("first\n")
    engine.call("cp", tmp_path / "f", "web:/tmp/")
    engine.call("start", "web")
    engine.wait("web")
    assert engine.call("logs", "web").lines == ["first"]


def test_links_of_one_that_stands_still_lead_nowhere_else(engine, tmp_path) -> None:
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "file").write_text("outside")
    _stopped(engine, f"ln -s {decoy} /tmp/link; ln -s ../../../../..{decoy}/file /tmp/file; mkdir -p {decoy}")
    assert "no such file" in one_line(engine.call("cp", "web:/tmp/file", tmp_path / "out", rc=FAILS))
    engine.call("cp", decoy / "file", "web:/tmp/link/more")
    assert os.listdir(decoy) == ["file"] and not (tmp_path / "out").exists()


def test_nobody_starts_it_meanwhile(engine, tmp_path) -> None:
    id = _stopped(engine, "echo x; exec sleep 0.01")
    copying = killed.start("engine-standing", engine.runtime.root, "cp", "/etc/hostname", "web:/tmp/",
                           number=signal.SIGSTOP)
    try:
        wait_until(lambda: process.state(copying.pid) == "T", 20, "the stop")
        starting = engine.runtime.spawn("start", id)
        wait_until(lambda: any(process.waits_for_a_lock(pid)
                               for pid in [starting.pid, *process.descendants(starting.pid)]), 20, "its wait")
        assert engine.record(id)["runs"] == 1
        os.kill(copying.pid, signal.SIGCONT)
        assert copying.wait(timeout=60) == 0, copying.communicate()
        assert starting.wait().rc == 0
    finally:
        copying.kill()
        copying.communicate()
    engine.wait(id)
    assert engine.record(id)["runs"] == 2


def test_a_file_is_replaced_as_a_whole(engine, tmp_path) -> None:
    id = engine.detach("mkdir /tmp/in; echo old > /tmp/in/file; echo up; exec sleep 600", "--name", "web")
    engine.await_log(id, "up")
    place = Path(f"/proc/{engine.program(id)}/root/tmp/in")
    data = os.urandom(300_000)
    half = _tar("file", data)[:200_000]
    argv = [*engine.runtime.argv, "--root", str(engine.runtime.root), "cp", "-", "web:/tmp/in"]
    running = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdin is not None
    running.stdin.write(half)
    running.stdin.flush()
    wait_until(lambda: _pending(running.pid) > 100_000, 20, "half of the file")
    assert (place / "file").read_text() == "old\n"
    running.kill()
    running.communicate()
    assert (place / "file").read_text() == "old\n" and os.listdir(place) == ["file"]
    before = (place / "file").stat().st_ino
    engine.call("cp", "-", "web:/tmp/in", stdin=_tar("file", data))
    assert (place / "file").read_bytes() == data and (place / "file").stat().st_ino != before
    short = engine.call("cp", "-", "web:/tmp/in", stdin=half, rc=FAILS)
    assert one_line(short) and (place / "file").read_bytes() == data and os.listdir(place) == ["file"]


def _pending(pid: int) -> int:
    """Return the size of a file that a process writes and that has no name, 0 if there is none."""
    for each in [pid, *process.descendants(pid)]:
        for number, path in process.descriptors(each).items():
            if path.endswith("(deleted)") and "/tmp/in/#" in path:
                return os.stat(f"/proc/{each}/fd/{number}").st_size
    return 0


def test_what_is_mounted_stays_mounted(engine, tmp_path) -> None:
    (tmp_path / "conf").write_text("old")
    (tmp_path / "new").write_text("new")
    id = engine.detach("echo up; exec sleep 600", "--name", "web", "-v", f"{tmp_path}/conf:/etc/conf")
    engine.await_log(id, "up")
    engine.call("cp", tmp_path / "new", "web:/etc/conf")
    assert (tmp_path / "conf").read_text() == "new" and engine.call("exec", id, "cat", "/etc/conf").out == "new"
    assert " /etc/conf " in engine.call("exec", id, "cat", "/proc/self/mountinfo").out
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "conf").symlink_to("/etc/passwd")
    assert "mounted there" in one_line(engine.call("cp", f"{tmp_path}/tree/.", "web:/etc/", rc=FAILS))
    assert " /etc/conf " in engine.call("exec", id, "cat", "/proc/self/mountinfo").out
    assert (tmp_path / "conf").read_text() == "new"


def test_nothing_is_copied_to_a_root_that_is_read_only(engine, tmp_path) -> None:
    (tmp_path / "file").write_text("file")
    for script in ("true", "exec sleep 60"):
        id = engine.detach(script, "--read-only", "--name", "web", "-v", "data:/opt")
        if script == "true":
            engine.wait(id)
        assert "read-only file system" in one_line(engine.call("cp", tmp_path / "file", "web:/usr/", rc=FAILS))
        engine.call("cp", tmp_path / "file", f"web:/opt/{script[:4]}")
        engine.call("cp", "web:/etc/passwd", tmp_path)
        engine.call("rm", "-f", "web")


def test_holes_of_files_stay_holes(engine, tmp_path) -> None:
    _stopped(engine, "truncate -s 300M /var/end; truncate -s 1G /var/all; "
                     "for at in 3 90; do printf data | dd of=/var/end bs=1M seek=$at conv=notrunc 2>/dev/null; done")
    for name in ("end", "all"):
        engine.call("cp", f"web:/var/{name}", tmp_path)
        engine.call("cp", tmp_path / name, f"web:/var/{name}2")
        engine.call("cp", f"web:/var/{name}2", tmp_path)
        for path in (tmp_path / name, tmp_path / f"{name}2"):
            assert path.stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "all2").stat().st_size == 1 << 30 and (tmp_path / "end2").stat().st_size == 300 << 20
    with open(tmp_path / "end2", "rb") as file:
        for at in (3, 90):
            assert os.pread(file.fileno(), 6, (at << 20) - 1) == b"\0data\0"
