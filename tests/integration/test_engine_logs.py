"""What detached containers say: both formats, rotation, a full disk, slow readers, those who attach."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import termios
from pathlib import Path

from helpers import process
from helpers.engine import refused
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.terminal import Pty
from helpers.wait import wait_until

from .test_engine_life import PRIVATE_MAX_KB, private_kb

pytestmark = requires("root", "runtime", "busybox")
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


def test_k8s_file_has_a_line_a_record(engine) -> None:
    id = engine.detach("echo out; echo err >&2; printf part")
    engine.wait(id)
    path = engine.place(id) / "ctr.log"
    records = path.read_text().splitlines()
    assert all(re.fullmatch(rf"{STAMP} (stdout|stderr) [FP] \w+", line) for line in records)
    assert sorted(line.split(" ", 1)[1] for line in records) == ["stderr F err", "stdout F out", "stdout P part"]
    assert path.stat().st_mode & 0o7777 == 0o600
    result = engine.call("logs", id)
    assert (result.out, result.err) == ("out\npart", "err\n")


def test_json_file_is_dockers(engine) -> None:
    script = r"""printf 'quote" back\\slash tab\t \303\244 bad\377 \n'; printf part"""
    id = engine.detach(script, "--log-driver", "json-file")
    engine.wait(id)
    rows = [json.loads(line) for line in (engine.place(id) / "ctr.log").read_bytes().splitlines()]
    assert [set(row) for row in rows] == [{"log", "stream", "time"}] * 2
    assert rows[0]["log"] == 'quote" back\\slash tab\t ä bad\ufffd \n' and rows[1]["log"] == "part"
    assert re.fullmatch(STAMP, rows[0]["time"])
    assert engine.call("logs", id).raw.endswith(b"\npart")


def test_a_character_that_comes_in_two_writes_is_whole(engine) -> None:
    id = engine.detach(r"printf 'a\303'; sleep 0.2; printf '\244b\n'", "--log-driver", "json-file")
    engine.wait(id)
    assert engine.call("logs", id).out == "aäb\n"


def test_options_choose_what_is_printed(engine) -> None:
    id = engine.detach("for i in 1 2 3 4 5; do echo $i; done")
    engine.wait(id)
    assert engine.call("logs", "--tail", "2", id).lines == ["4", "5"]
    assert engine.call("log", "-n", "0", id).out == ""
    stamped = engine.call("logs", "-t", id).lines
    assert all(re.fullmatch(rf"{STAMP} \d", line) for line in stamped)
    assert engine.call("logs", "--since", "1h", id).lines == ["1", "2", "3", "4", "5"]
    assert engine.call("logs", "--until", "1h", id).out == ""
    assert engine.call("logs", "--since", "2999-01-01", id).out == ""
    for words in (("--since", "yesterday"), ("--tail", "x"), ("--exec", "x")):
        refused(engine.call("logs", *words, id, rc=FAILS))


def test_following_ends_with_the_container(engine) -> None:
    id = engine.detach("echo first; read line; echo second", "-i")
    following = engine.runtime.spawn("logs", "-f", id)
    following.wait_output("first")
    engine.call("attach", id, stdin=b"go\n")
    assert following.wait().lines == ["first", "second"]


def test_a_log_is_rotated_and_read_as_one(engine) -> None:
    script = "i=0; while [ $i -lt 400 ]; do echo line-$i; i=$((i+1)); done"
    id = engine.detach(script, "--log-opt", "max-size=4k", "--log-opt", "max-file=3")
    engine.wait(id)
    files = sorted(path for path in engine.place(id).iterdir() if path.name.startswith("ctr.log"))
    assert [path.name for path in files] == ["ctr.log", "ctr.log.1", "ctr.log.2"]
    assert all(path.stat().st_size <= 4096 and path.stat().st_mode & 0o7777 == 0o600 for path in files)
    lines = engine.call("logs", id).lines
    assert lines == [f"line-{number}" for number in range(400 - len(lines), 400)] and len(lines) > 150
    assert engine.call("logs", "--tail", "100", id).lines == lines[-100:]


def test_following_sees_every_line_through_rotations(engine) -> None:
    script = "read go; i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); done"
    id = engine.detach(script, "-i", "--log-opt", "max-size=64k", "--log-opt", "max-file=10")
    following = engine.runtime.spawn("logs", "-f", id)
    engine.call("attach", id, stdin=b"go\n")
    assert following.wait().lines == [f"line-{number}" for number in range(3000)]


def test_a_log_cut_short_by_a_crash_is_mended(engine) -> None:
    id = engine.detach("echo whole")
    engine.wait(id)
    with open(engine.place(id) / "ctr.log", "ab") as file:
        file.write(b"2026-11-30T00:00:00.000000000Z stdo")
    engine.call("start", id)
    engine.wait(id)
    assert engine.call("logs", id).lines == ["whole", "whole"]


def test_a_full_disk_is_told_in_the_log_and_harms_nothing_else(engine, workdir) -> None:
    place = workdir / "small"
    place.mkdir()
    scene = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
             f'mount -t tmpfs -o size=64k tmpfs {place} && head -c 45000 /dev/zero > {place}/filler && exec "$@"', "sh"]
    script = "i=0; while [ $i -lt 2000 ]; do echo line-$i; i=$((i+1)); done; : > /said/all; read go; echo after"
    said = workdir / "said"
    said.mkdir()
    id = engine.detach(script, "-i", "-v", f"{said}:/said", "--log-opt", f"path={place}/log", scene=scene)
    inside = f"/proc/{engine.monitor(id)}/root{place}"
    with engine.connect(id) as client:
        client.send(b"A")
        wait_until(lambda: (said / "all").exists()
                   or (select.select([client], [], [], 0)[0] and client.recv(8193) == b""), 20, "all that it says")
        os.unlink(f"{inside}/filler")
        client.send(b"Igo\n")
        with open(f"{inside}/log", "rb") as log:
            while client.recv(8193)[:1] != b"X":
                pass
            records = [line.split(b" ", 3)[1:] for line in log.read().splitlines()]
    assert records[-1] == [b"stdout", b"F", b"after"] and records[-2][:2] == [b"stderr", b"F"]
    note = re.compile(rb"capsule: (\d+) bytes of output are missing here: no space was left on the device")
    notes = [note.fullmatch(record[2]) for record in records if record[0] == b"stderr"]
    assert all(notes)
    # Every byte was written, or is counted.
    written = sum(len(record[2]) + (record[1] == b"F") for record in records if record[0] == b"stdout")
    total = sum(len(f"line-{number}\n") for number in range(2000)) + len("after\n")
    assert written + sum(int(found[1]) for found in notes) == total and written < total
    assert engine.end(id)["wait_status"] == 0


def test_nobody_who_attaches_and_does_not_read_makes_the_monitor_grow(engine) -> None:
    id = engine.detach("read go; head -c 4000000 /dev/zero | tr '\\0' x; echo; echo done", "-i")
    with engine.connect(id) as client:
        client.send(b"A")
        client.send(b"Igo\n")
        path = engine.place(id) / "ctr.log"
        sizes = []
        # It is held up: for a while the log does not grow.
        wait_until(lambda: sizes.append(path.stat().st_size) or (len(sizes) > 5 and len(set(sizes[-5:])) == 1
                                                                 and sizes[-1] > 0), 20, "the pause")
        assert sizes[-1] < 4_000_000
        assert private_kb(engine.monitor(id)) < PRIVATE_MAX_KB
    engine.await_log(id, "done")


def test_who_floods_a_pipe_does_not_delay_the_end_and_the_last_words_are_kept(engine) -> None:
    script = "while [ ! -e /tmp/go ]; do sleep 0.01; done; head -c 40000 /dev/zero | tr '\\0' x; echo; echo last words"
    id = engine.detach(script)
    monitor, program = engine.monitor(id), engine.program(id)
    pipe = os.open(f"/proc/{program}/fd/1", os.O_WRONLY)
    os.kill(monitor, signal.SIGSTOP)
    engine.call("exec", id, "touch", "/tmp/go")
    wait_until(lambda: process.state(program) == "Z", 20, "the end of the program")
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    floods = [subprocess.Popen(["yes", "flood"], stdout=pipe, stderr=subprocess.DEVNULL) for _ in range(4)]
    try:
        os.close(pipe)
        wait_until(lambda: "pipe" in Path(f"/proc/{floods[0].pid}/wchan").read_text(), 20, "a full pipe")
        os.kill(monitor, signal.SIGCONT)
        assert engine.wait(id) == 0
    finally:
        for flood in floods:
            flood.kill()
            flood.wait()
    lines = (engine.place(id) / "ctr.log").read_text().splitlines()
    assert any(line.endswith(" F last words") for line in lines)
    assert sum(line.count("flood") for line in lines) < 200_000  # what was in the pipe at the end, at most


def test_attach_passes_input_and_output_and_the_status(engine) -> None:
    id = engine.detach("cat; echo err >&2; exit 3", "-i", "--name", "web")
    result = engine.call("attach", "web", stdin=b"hello\n", rc=3)
    assert (result.out, result.err) == ("hello\n", "err\n")
    assert "nobody looks after it" in refused(engine.call("attach", id, rc=FAILS))


def test_a_terminal_is_the_containers(engine) -> None:
    id = engine.detach("test -t 0 && test -t 1 && stty size; echo end", "-t")
    engine.wait(id)
    assert engine.call("logs", id).out.replace("\r", "").endswith("end\n")
    assert engine.end(id)["wait_status"] == 0


def test_a_person_at_a_terminal_attaches_and_detaches(engine, capsule) -> None:
    id = engine.detach("stty -echo; echo ready; while read word; do echo got-$word; stty size; done", "-i", "-t")
    engine.await_log(id, "ready")
    with Pty(33, 101) as terminal:
        slave = terminal.slave
        running = capsule.spawn("attach", id, stdin=slave, stdout=slave, stderr=slave)
        # The size goes before what is typed, once the terminal is raw.
        wait_until(lambda: not termios.tcgetattr(slave)[3] & termios.ICANON, 30, "the raw terminal")
        terminal.type("one\r")
        terminal.read_until("got-one")
        terminal.read_until("33 101")
        terminal.type(b"\x10\x11")
        assert running.wait().rc == 0
        assert termios.tcgetattr(slave)[3] & termios.ICANON
    assert engine.call("state", id).json["status"] == "running"


def test_a_log_may_be_kept_by_nobody(engine) -> None:
    id = engine.detach("echo unheard", "--log-driver", "none")
    assert engine.wait(id) == 0
    assert not (engine.place(id) / "ctr.log").exists()
    assert "none" in refused(engine.call("logs", id, rc=FAILS))
