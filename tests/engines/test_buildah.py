"""buildah: programs run in working containers, and images built from them."""

from __future__ import annotations

import json

import pytest
from helpers.requires import requires

from .kit.buildah import Buildah
from .kit.facts import capability_mask

ENGINE = Buildah
pytestmark = requires(*Buildah.NEEDS)


def probe(engine, *options: str) -> dict:
    return json.loads(engine.run(engine.working(), "/payload", "probe", options=options).out)


@pytest.mark.smoke
def test_run_prints(engine):
    assert engine.run(engine.working(), "echo", "hello").out == "hello\n"


@pytest.mark.parametrize("status", [0, 3, 42])
def test_run_returns_the_programs_status(engine, status):
    engine.run(engine.working(), "sh", "-c", f"exit {status}", rc=status)


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "/etc/plain"])
def test_a_program_that_cannot_be_executed(engine, program):
    done = engine.run(engine.working(), program, rc=None)
    assert done.rc not in (0, 2) and program in done.err


def test_what_a_run_changes_stays(engine):
    name = engine.working()
    engine.run(name, "sh", "-c", "echo first > /file")
    engine.run(name, "sh", "-c", "echo second >> /file")
    assert engine.run(name, "cat", "/file").out == "first\nsecond\n"


def test_standard_input_is_passed(engine):
    assert engine.run(engine.working(), "cat", data=b"words\n" * 1000).out == "words\n" * 1000


def test_user_and_directory(engine):
    facts = probe(engine, "--user", "1000:1000", "--workingdir", "/home/user")
    assert (facts["uid"], facts["gid"], facts["cwd"]) == ([1000] * 3, [1000] * 3, "/home/user")


def test_the_environment(engine):
    assert {"WORD=two words", "FROM_IMAGE=yes"} <= set(probe(engine, "--env", "WORD=two words")["env"])


def test_rights(engine):
    facts = probe(engine)
    assert facts["seccomp"] == 2
    assert not facts["caps"]["effective"] & capability_mask("SYS_ADMIN", "NET_ADMIN")
    assert probe(engine, "--cap-add", "CAP_NET_ADMIN")["caps"]["effective"] & capability_mask("NET_ADMIN")


def test_a_directory_of_the_host(engine, workdir):
    (workdir / "file").write_text("shared")
    out = engine.run(engine.working(), "sh", "-c", "cat /data/file; echo back > /data/new",
                     options=("--volume", f"{workdir}:/data")).out
    assert (out, (workdir / "new").read_text()) == ("shared", "back\n")


def test_a_terminal(engine):
    name = engine.working()
    with engine.terminal("run", "--terminal", name, "--", "sh", "-c", "tty; exit 6", rc=6) as pty:
        pty.read_until("/dev/pts/0")


def test_host_name_and_namespaces(engine):
    facts = probe(engine, "--hostname", "named")
    assert facts["hostname"] == "named"
    assert facts["pid"] < 10


@pytest.mark.smoke
def test_a_build(engine, workdir):
    (workdir / "file").write_text("copied")
    (workdir / "Dockerfile").write_text(f"FROM {engine.IMAGE}\nCOPY file /data/\nRUN cat /data/file > /seen\n"
                                        f"USER 1000\nWORKDIR /tmp\nRUN id -u > /tmp/user && pwd >> /tmp/user\n")
    engine.call("build", "--quiet", "--tag", "localhost/built", str(workdir))
    try:
        name = engine.call("from", "localhost/built").word
        assert engine.run(name, "cat", "/seen", "/tmp/user").out == "copied1000\n/tmp\n"
        engine.call("rm", name)
    finally:
        engine.call("rmi", "--force", "localhost/built", rc=None)


def test_a_build_whose_step_fails(engine, workdir):
    (workdir / "Dockerfile").write_text(f"FROM {engine.IMAGE}\nRUN exit 7\n")
    done = engine.call("build", "--quiet", str(workdir), rc=None)
    assert done.rc != 0 and "7" in done.err


def test_an_image_of_a_working_container(engine):
    name = engine.working()
    engine.run(name, "sh", "-c", "echo kept > /kept")
    engine.call("commit", "--quiet", name, "localhost/made")
    try:
        other = engine.call("from", "localhost/made").word
        assert engine.run(other, "cat", "/kept").out == "kept\n"
        engine.call("rm", other)
    finally:
        engine.call("rmi", "--force", "localhost/made", rc=None)
