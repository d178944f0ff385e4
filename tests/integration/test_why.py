"""What is kept of a failure, and of a container's end: `why`, `state --detail`."""

from __future__ import annotations

import hashlib
import json
import signal
import stat

import pytest
from helpers.runtime import DEADLINE, FAILS, one_line
from helpers.wait import wait_until

pytestmark = pytest.mark.requires("root", "runtime", "busybox", "gcc")


def why(capsule, *words: str) -> dict:
    found = capsule.call("why", "--json", *words).json
    assert isinstance(found, dict)
    return found


def failures(capsule):
    return capsule.root / ".failures"


def test_a_create_that_failed_and_is_gone_is_told_in_full(capsule, bundle):
    box = bundle().bind("/no/such/source", "/data")
    line = capsule.create(box, rc=1).err
    assert not capsule.exists(box)
    failure = why(capsule, box.id)["failure"]
    assert failure["message"] in line
    assert failure == {
        "time": failure["time"], "verb": "create", "bundle": str(box.path),
        "config_digest": "blake2b-256:" + hashlib.blake2b((box.path / "config.json").read_bytes(),
                                                          digest_size=32).hexdigest(),
        "step": "open mount source", "class": "MountError", "errno": 2, "errno_name": "ENOENT",
        "message": "open mount source /no/such/source: no such file or directory",
        "errno_text": "no such file or directory",
    }


def test_without_an_id_it_is_the_latest(capsule, bundle):
    first, second = bundle(["/no/first"]), bundle(["/no/second"])
    capsule.run(first, rc=FAILS)
    capsule.run(second, rc=FAILS)
    assert why(capsule)["id"] == second.id
    assert "/no/first" in why(capsule, first.id)["failure"]["message"]


def test_people_read_lines(capsule, bundle):
    box = bundle(["/no/program"])
    capsule.run(box, rc=FAILS)
    lines = capsule.call("why", box.id).lines
    assert lines[0] == f"container  {box.id}"
    assert "verb       run" in lines and "errno      2 ENOENT no such file or directory" in lines


def test_a_name_cannot_write_rows_of_its_own(capsule, bundle):
    box = bundle(["/no\nended      exit code 0\u009b31m"])
    capsule.run(box, rc=FAILS)
    result = capsule.call("why", box.id)
    assert "ended      exit code 0" not in result.lines and "\u009b" not in result.out
    assert "/no\\nended" in result.out


def test_a_damaged_end_is_no_internal_error(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    end = {"id": box.id, "reason": "exit", "wait_status": "9", "time_ns": 1e30}
    (capsule.root / box.id / "end.json").write_text(json.dumps(end))
    assert why(capsule, box.id)["end"]["exit_code"] == 0


def test_a_long_message_is_kept_in_part(capsule, bundle):
    capsule.run(bundle(["/" + "x" * 2_000_000]), rc=FAILS)
    assert 60_000 < len(why(capsule)["failure"]["message"]) <= 1 << 16


def test_a_failed_start_tells_the_step(capsule, bundle):
    box = bundle(["/prog"]).file("/prog", "#!/missing\n", 0o755)
    capsule.create(box)
    capsule.start(box, rc=1)
    failure = why(capsule, box.id)["failure"]
    assert (failure["verb"], failure["step"], failure["errno_name"]) == ("start", "execve", "ENOENT")
    assert "the interpreter /missing of /prog is missing" in failure["message"]


def test_a_failed_exec_and_a_refused_delete(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    capsule.exec(box, "nothing", rc=255)
    assert why(capsule, box.id)["failure"]["verb"] == "exec"
    capsule.delete(box, rc=FAILS)
    failure = why(capsule, box.id)["failure"]
    assert (failure["verb"], failure["class"]) == ("delete", "BadTransition")


def test_a_failed_hook_is_named(capsule, bundle):
    box = bundle(["/bin/true"]).hook("createRuntime", "/bin/sh", "-c", "exit 3")
    capsule.run(box, rc=FAILS)
    failure = why(capsule, box.id)["failure"]
    assert failure["step"] == "createRuntime hook #0" and "exit status 3" in failure["message"]


def test_the_output_of_a_failed_hook_is_kept_to_its_end(capsule, bundle):
    """The last 64 KiB: what was said last says most."""
    script = "i=0; while [ $i -lt 9000 ]; do echo line-$i; i=$((i+1)); done; echo the reason >&2; exit 3"
    box = bundle(["/bin/true"]).hook("createRuntime", "/bin/sh", "-c", script)
    capsule.run(box, rc=FAILS)
    output = why(capsule, box.id)["failure"]["hook_output"]
    assert output.rstrip().endswith("the reason") and len(output) <= 64 << 10
    assert "  the reason" in capsule.call("why", box.id).lines


def test_a_poststop_hook_that_only_warned_is_kept_too(capsule, bundle):
    box = bundle(["/bin/true"]).hook("poststop", "/bin/sh", "-c", "exit 4")
    capsule.run(box)
    failure = why(capsule, box.id)["failure"]
    assert (failure["verb"], failure["step"]) == ("delete", "poststop hook #0")


def test_success_writes_nothing(capsule, bundle):
    capsule.run(bundle(["/bin/true"]))
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    capsule.delete(box, "--force")
    assert not failures(capsule).exists()


@pytest.mark.parametrize("words", [["start"], ["exec"], ["delete"]])
def test_that_there_is_no_such_container_is_no_failure_of_it(capsule, words):
    capsule.call(*words, "nobody", *(["true"] if words == ["exec"] else []), rc=FAILS)
    assert "no failure is recorded" in one_line(capsule.call("why", "nobody", rc=1))
    assert not capsule.root.exists()


def test_an_id_that_is_no_name_is_not_written(capsule, bundle):
    box = bundle()
    capsule.call("create", "--bundle", box.write(), "../evil", rc=FAILS)
    capsule.call("why", "../evil", rc=1)
    assert not failures(capsule).exists()


def test_records_are_private_and_their_number_is_bounded(capsule, bundle, workdir):
    for number in range(70):
        capsule.call("create", "--bundle", workdir / "none", f"gone-{number}", rc=1)
    files = {entry.name: entry.stat() for entry in failures(capsule).iterdir()}
    assert sorted(files) == sorted(f"gone-{number}" for number in range(6, 70))
    assert {stat.S_IMODE(info.st_mode) for info in files.values()} == {0o600}
    assert stat.S_IMODE(failures(capsule).stat().st_mode) == 0o700
    assert capsule.ids() == []


def test_a_damaged_record_is_as_good_as_none(capsule, workdir):
    capsule.call("create", "--bundle", workdir / "none", "gone", rc=1)
    (failures(capsule) / "gone").write_text('{"id":"gone","ti')
    assert "no failure is recorded" in one_line(capsule.call("why", "gone", rc=1))


def test_terminal_sequences_are_printed_as_text(capsule, bundle):
    box = bundle(["/prog"]).file("/prog", b"#!/\x1b]0;x\x07\n", 0o755)
    capsule.run(box, rc=1)
    assert "\x1b" not in capsule.call("why", box.id).out


# The end

def end_of(capsule, box) -> dict:
    return why(capsule, box.id)["end"]


def test_a_program_that_failed_is_told_by_its_status(capsule, bundle):
    box = bundle().shell("exit 7")
    capsule.run(box, rc=7)
    end = end_of(capsule, box)
    assert (end["reason"], end["exit_code"]) == ("exit", 7)


def test_a_program_that_was_killed_is_told_by_the_signal(capsule, bundle):
    box = bundle(["/payload", "pause"])
    running = capsule.spawn_run(box)
    wait_until(lambda: capsule.is_running(box), DEADLINE, "a running container")
    capsule.kill(box, "KILL")
    assert running.wait().rc == 128 + signal.SIGKILL
    end = end_of(capsule, box)
    assert (end["reason"], end["signal"]) == ("signal", "SIGKILL")


@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 5", 5)])
def test_a_kept_container_holds_its_end_in_its_state(capsule, bundle, script, code):
    box = bundle().shell(script)
    capsule.run(box, "--keep", rc=code)
    detail = capsule.call("state", "--detail", box.id).json["detail"]
    assert (detail["end"]["reason"], detail["end"]["exit_code"]) == ("exit", code)
    assert end_of(capsule, box) == detail["end"]


@pytest.mark.requires("cgroup1")
def test_memory_that_ran_out_is_called_so(capsule, bundle):
    box = bundle().shell("x=aaaaaaaa; while :; do x=$x$x; done")
    box.linux["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    result = capsule.run(box, rc=None, timeout=60)
    assert result.rc != 0
    assert end_of(capsule, box)["reason"] == "oom"


@pytest.mark.requires("cgroup1")
def test_memory_that_ran_out_is_seen_without_a_parent_of_ours(capsule, bundle):
    box = bundle().shell("x=aaaaaaaa; while :; do x=$x$x; done")
    box.linux["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    capsule.run(box, "--detach")
    capsule.wait_status(box, "stopped")
    assert capsule.call("state", "--detail", box.id).json["detail"]["end"] == {"reason": "oom"}


def test_a_slot_of_another_container_is_not_taken_for_ours(capsule, bundle):
    box = bundle().shell("exit 7")
    capsule.run(box, rc=7)
    slot = next(failures(capsule).iterdir())
    slot.write_text(json.dumps({"id": "other", "reason": "exit", "wait_status": 256, "time_ns": 1}))
    capsule.call("why", box.id, rc=1)
