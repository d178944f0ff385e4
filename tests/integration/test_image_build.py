"""RUN of a build, and commit: containers whose changes become layers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers import process
from helpers.bundle import APPLETS
from helpers.requires import requires
from helpers.runtime import FAILS, one_line
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox")


@pytest.fixture
def build(capsule, tmp_path):
    """Return a function that builds a Dockerfile over busybox; its `layers` are the directory of the image's root."""
    context = tmp_path / "context"
    (context / "bin").mkdir(parents=True)
    shutil.copy2(shutil.which("busybox"), context / "bin" / "busybox")
    for name in APPLETS:
        (context / "bin" / name).symlink_to("busybox")

    def run(text: str, *flags: object, rc=0):
        (context / "Dockerfile").write_text(f"FROM scratch\nCOPY bin /bin\n{text}")
        return capsule.call("build", *flags, context, rc=rc)

    return run


def test_what_a_run_changes_is_a_layer(build, capsule) -> None:
    text = """RUN mkdir /etc /old && echo old > /old/file && echo 'web:x:7:8::/:' > /etc/passwd
RUN rm -r /old && mkdir /old && echo new > /made && chmod 4750 /made
ARG V=1
ENV A=b
WORKDIR /work
USER web
RUN ["/bin/sh", "-c", "test $A$V = b1 && test $(pwd) = /work"]
USER 0
RUN test ! -e /etc/hosts && test $(cat /proc/net/dev | wc -l) = 3
CMD ["/bin/sh", "-c", "ls / /old; stat -c %a /made"]
"""
    first = build(text, "-t", "app")
    assert capsule.call("image", "run", "--rm", "app").lines == [
        "/:", "bin", "dev", "etc", "made", "old", "proc", "sys", "work", "", "/old:", "4750"]
    # Where it has to mount, and its image has nothing, it leaves nothing.
    layers = capsule.call("image", "get", "app").json[0]["directories"]
    assert not [path for layer in layers for path in ("proc", "sys", "dev") if Path(layer, path).exists()]
    assert build(text, "-t", "app").out == first.out and capsule.ids() == []


def test_a_run_that_fails_is_told_by_its_line(build, capsule) -> None:
    result = build("RUN exit 3", "-q", "-t", "app", rc=FAILS)
    assert "build line 3 RUN" in one_line(result) and "exit status 3" in result.err
    assert capsule.ids() == [] and capsule.call("image", "list", "-q").out == ""
    assert "is not built" in one_line(build("RUN true", "-q", "--network", "lan", rc=FAILS))


def test_a_build_that_is_killed_in_a_run_leaves_what_can_be_removed(build, capsule, tmp_path) -> None:
    """The step goes on, and keeps what it works on, until somebody ends it."""
    context = tmp_path / "context"
    (context / "Dockerfile").write_text("FROM scratch\nCOPY bin /bin\nRUN echo up >&2; exec sleep 600\n")
    running = capsule.spawn("build", "-t", "app", context)
    wait_until(lambda: capsule.ids() and capsule.call("state", capsule.ids()[0]).json["status"] == "running", 30,
               "the step")
    step, relay = capsule.ids()[0], process.children(running.pid)
    running.popen.kill()
    running.wait()
    assert capsule.call("system", "check", "--fix").out == ""  # it is somebody's
    capsule.call("delete", "--force", step)
    wait_until(lambda: process.reap_orphans() or not any(process.is_alive(pid) for pid in relay), 20, "the relay's end")
    assert "its maker is gone" in capsule.call("system", "check", "--fix").out
    assert capsule.call("system", "check", "--deep").out == "" and capsule.ids() == []
    assert build("RUN true", "-t", "app").out


def test_a_run_has_the_network_that_is_asked_for(build, capsule) -> None:
    build("RUN test $(cat /proc/net/dev | wc -l) = 3")
    build("RUN mkdir -p /etc && test -s /etc/hosts", "--network", "host", "-t", "app")
    layers = capsule.call("image", "get", "app").json[0]["directories"]
    assert not [name for layer in layers for name in Path(layer).glob("etc/*")]  # the host's is no part of it
