"""`capsule image run`: what an image says and what the call says, in the foreground."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.images import bring, busybox_root
from helpers.requires import requires
from helpers.runtime import FAILS, one_line

pytestmark = requires("root", "runtime", "busybox")
CHANGES = ('ENTRYPOINT ["/bin/sh","-c"]', 'CMD ["echo default"]', "ENV A=image", "WORKDIR /work/here", "USER web",
           "LABEL a=image")


@pytest.fixture
def image(capsule, tmp_path):
    """Import an image of busybox and return a function that runs it."""
    root = busybox_root(tmp_path, "head", "wc")
    root.chmod(0o751)
    bring(capsule, root, "box", *CHANGES)

    def run(*words, **how):
        flags = how.pop("flags", ())
        return capsule.call("image", "run", *flags, "box", *words, **how)

    return run


def test_the_images_words_are_honoured(image) -> None:
    assert image().out == "default\n"
    assert image("echo $A; pwd; id -u; id -g; id -G; stat -c %a /").lines == [
        "image", "/work/here", "1000", "1001", "1001 1002", "751"]


def test_the_calls_words_outrank_them(image, tmp_path) -> None:
    (tmp_path / "variables").write_text("# a comment\nB=file\n\nC=file\n")
    flags = ("-e", "A=call", "--env-file", tmp_path / "variables", "-e", "C=call", "--hostname", "named", "-w", "/tmp",
             "-u", "0")
    result = image("echo $A $B $C; hostname; pwd; id -u", flags=flags)
    assert result.lines == ["call file call", "named", "/tmp", "0"]


def test_an_entrypoint_of_the_call_drops_the_images_command(image) -> None:
    assert image("hello", flags=("--entrypoint", "/bin/echo")).out == "hello\n"


def test_its_status_is_ours_and_nothing_is_left(image, capsule) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    assert image("exit 5", rc=5, flags=("--rm",)).err == ""
    assert capsule.ids() == [] and Path("/proc/self/mountinfo").read_text() == before
    capsule.call("image", "delete", "box")  # nobody holds it


def test_changes_are_gone(image) -> None:
    assert image("echo x > /made; cat /made", flags=("-u", "0")).out == "x\n"
    assert image("test -e /made", rc=1).out == ""


def test_volumes_and_tmpfs(image, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    image("echo x > /data/made; test ! -e /scratch/made && touch /scratch/made",
          flags=("-u", "0", "-v", f"{tmp_path}/data:/data", "--tmpfs", "/scratch:size=1m"))
    assert (tmp_path / "data" / "made").read_text() == "x\n"
    flags = ("-u", "0", "--mount", f"src={tmp_path}/data,dst=/data,readonly")
    result = image("echo y > /data/made", rc=FAILS, flags=flags)
    assert "Read-only" in result.err


def test_a_read_only_root_is_read_only(image) -> None:
    assert "Read-only" in image("touch /made", flags=("-u", "0", "--read-only"), rc=FAILS).err


def test_a_device_is_there_and_may_be_used(image) -> None:
    flags = ("-u", "0", "--device", "/dev/kmsg:/dev/messages:w")
    result = image("stat -c '%t %T' /dev/messages; head -c 1 /dev/messages", flags=flags, rc=FAILS)
    assert result.out == "1 b\n"
    assert "not permitted" in result.err  # to read it


def test_an_init_is_the_first_process_and_reaps(image) -> None:
    script = "cat /proc/1/comm; (sleep 0 & ) ; exec cat /proc/1/cmdline"
    assert image(script, flags=("--init",)).out.split("\0")[0].splitlines() == ["init", "/dev/init"]
    assert image("exit 7", flags=("--init",), rc=7)


def test_masks_can_be_taken_off_and_put_on(image) -> None:
    masked = "wc -c < /proc/keys; cat /proc/cpuinfo | wc -l"
    assert image(masked, flags=("-u", "0", "--security-opt", "mask=/proc/cpuinfo")).lines == ["0", "0"]
    assert image(masked, flags=("-u", "0", "--security-opt", "unmask=ALL")).lines != ["0", "0"]


def test_an_entrypoint_may_be_an_array(image) -> None:
    assert image("c", flags=("--entrypoint", '["/bin/echo","a b"]')).out == "a b c\n"
    assert "array" in one_line(image("c", flags=("--entrypoint", '[1]'), rc=FAILS))


def test_capabilities_are_few_and_can_be_changed(image) -> None:
    def effective(*flags: str) -> int:
        lines = image("grep CapEff /proc/self/status", flags=("-u", "0", *flags)).lines
        return int(lines[0].split()[1], 16)

    assert effective() == 0x800005FB & ~(1 << 18)
    assert effective("--cap-drop", "all") == 0
    assert effective("--cap-drop", "all", "--cap-add", "NET_RAW") == 1 << 13


def test_limits_are_set(image, capsule) -> None:
    running = capsule.spawn("image", "run", "--name", "limited", "-m", "50m", "--cpus", "0.5", "--pids-limit", "30",
                            "box", "echo up; while :; do sleep 1; done")
    running.wait_output("up")
    memory = "/sys/fs/cgroup/memory"
    if os.path.isdir(memory):
        detail = capsule.call("state", "--detail", "limited").json["detail"]["cgroup_paths"]
        assert int(Path(detail["memory"] + "/memory.limit_in_bytes").read_text()) == 50 << 20
        assert int(Path(detail["pids"] + "/pids.max").read_text()) == 30
        assert int(Path(detail["cpu"] + "/cpu.cfs_quota_us").read_text()) == 50_000
    assert "in use" in capsule.call("image", "delete", "box", rc=FAILS).err
    capsule.call("delete", "--force", "limited")
    running.wait()


def test_no_limit_of_memory_may_be_asked_for(image) -> None:
    assert image("echo up", flags=("-m", "0")).out == "up\n"


def test_the_built_in_image_is_this_machine(capsule) -> None:
    result = capsule.call("image", "runc", "host", "sh", "-c", "echo $0; test -e /etc/shadow", rc=1)
    assert result.out == "sh\n"


def test_a_user_counts_with_the_built_in_image_too(capsule) -> None:
    assert capsule.call("image", "run", "--user", "nobody", "host", "id", "-u").out == "65534\n"
    one_line(capsule.call("image", "run", "--user", "nobody-there", "host", "id", rc=FAILS))


@pytest.mark.parametrize("words", [("--systemd-cgroup",), ("--cgroup-manager", "disabled"), ("--rootless", "true")])
def test_a_choice_of_cgroups_is_refused(capsule, words) -> None:
    for command in (("image", "run", "host"), ("sandbox",), ("sandbox", "--json")):
        assert "not built yet" in one_line(capsule.call(*words, *command, "true", rc=FAILS))


def test_a_tmpfs_of_mount_may_be_read_only(image) -> None:
    assert "Read-only" in image("touch /x/made", flags=("-u", "0", "--mount", "type=tmpfs,target=/x,ro"), rc=FAILS).err


@pytest.mark.parametrize("flags", [
    ("--restart", "always"), ("--link", "a:b"), ("--device", "vendor.com/class=name"),
    ("--health-cmd", "true"), ("-v", "a b:/data"), ("--security-opt", "label=type:x"),
    ("--mount", "type=tmpfs,source=/etc,target=/x"),
    ("--mount", "source=/etc,target=/x,tmpfs-size=1m"),
])
def test_what_is_not_built_is_refused(image, capsule, flags) -> None:
    one_line(image("true", flags=flags, rc=FAILS))
    assert capsule.ids() == []


@pytest.mark.parametrize(("flags", "text"), [
    (("-u", "nobody-there"), "nobody-there"), (("--cpus", "x"), "expected a number"), (("-m", "x"), "memory"),
    (("-v", "/nonexistent-path:/x"), "no such file"), (("-v", "/tmp:relative"), "absolute"),
    (("-v", "/tmp:/x:ro,rw"), "both"), (("--mount", "source=/tmp,target=/x,ro=yes"), "ro=true"),
    (("--cap-drop", "NET_RAWW"), "no capability"), (("--cap-add", "NET_RAWW"), "no capability"),
    (("-e", ""), "NAME=VALUE"), (("--hostname", "a b"), "invalid host name"),
])
def test_bad_input_is_refused_before_anything_is_made(image, capsule, flags, text) -> None:
    assert text in one_line(image("true", flags=flags, rc=FAILS))
    assert capsule.ids() == []
