"""Bad input: one line, exit status 1, and nothing left on the host."""

from __future__ import annotations

import json
import os
import socket

import pytest
from helpers.requires import requires
from helpers.runtime import one_line

pytestmark = [requires("root", "runtime", "busybox", "gcc"),
              pytest.mark.rival(runc="other words, and some is accepted",
                                crun="other words, and some is accepted", strict=False)]

MIB = 1 << 20


@pytest.fixture
def refused(capsule, leaks):
    """Return a function that creates a bundle and wants one line, status 1 and an unchanged host."""
    def check(box, *, name=None, verb="create", says=()):
        result = getattr(capsule, verb)(box, rc=1, name=name)
        line = one_line(result)
        for word in says:
            assert word in line, repr(result)
        leaks.check(0.5)
        assert capsule.ids() == []
        return line
    return check


def config_text(box) -> str:
    return json.dumps(box.config)


# config.json as a file

def test_a_missing_config(capsule, bundle):
    box = bundle()
    result = capsule.call("create", "--bundle", box.path, box.id, rc=1)
    assert "config.json" in one_line(result)


def test_a_missing_bundle(capsule, workdir):
    result = capsule.call("create", "--bundle", workdir / "nothing", "x", rc=1)
    assert f"bundle {workdir}/nothing: no such file or directory" in one_line(result)


def test_a_config_that_is_a_directory(capsule, bundle):
    box = bundle()
    (box.path / "config.json").mkdir()
    one_line(capsule.call("create", "--bundle", box.path, box.id, rc=1))


def test_a_config_that_is_a_fifo_does_not_hang(capsule, bundle):
    box = bundle()
    os.mkfifo(box.path / "config.json")
    one_line(capsule.call("create", "--bundle", box.path, box.id, rc=1, timeout=10))


def test_a_config_that_is_a_socket(capsule, bundle):
    box = bundle()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(box.path / "config.json"))
        one_line(capsule.call("create", "--bundle", box.path, box.id, rc=1, timeout=10))


@pytest.mark.parametrize("text", [
    b"", b" ", b"{", b"}", b"nonsense", b"[]", b"null", b"1", b'"text"', b"{}",
    b'{"ociVersion": "1.0.2"', b"{'ociVersion': '1.0.2'}", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00",
    b'{"ociVersion": NaN}', b'{"ociVersion": "1.0.2",}', b"\x00", b'{"a": "\xff"}',
], ids=repr)
def test_a_config_that_is_no_json_or_no_config(refused, bundle, text):
    box = bundle()
    box.text = text
    refused(box)


def test_data_after_the_end(refused, bundle):
    box = bundle()
    box.text = config_text(box).encode() + b"\n{}"
    refused(box, says=["config.json"])


def test_a_key_that_is_there_twice(refused, bundle):
    box = bundle()
    box.text = config_text(box).replace('"terminal": false', '"terminal": false, "terminal": true').encode()
    refused(box, says=["terminal"])


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800", "\\udc00x"])
@pytest.mark.parametrize("place", ["/payload", "TERM=xterm", "box", "rootfs", "/dev/mqueue"])
def test_text_that_is_no_text(refused, bundle, escape, place):
    box = bundle()
    text = config_text(box).replace(f'"{place}"', f'"{place}{escape}"', 1)
    assert escape in text
    box.text = text.encode()
    refused(box)


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_deep_nesting(refused, bundle, depth):
    box = bundle()
    deep = "[" * depth + "]" * depth
    box.text = config_text(box).replace("{", f'{{"annotations2": {deep}, ', 1).encode()
    refused(box)


def test_a_config_of_100_mb_is_refused_by_its_size(refused, bundle):
    box = bundle()
    box.text = config_text(box).encode() + b" " * (100 * MIB)
    assert "16" in refused(box)


def test_a_config_just_below_the_limit_is_taken(capsule, bundle):
    box = bundle(["/payload", "exit", "0"])
    text = config_text(box).encode()
    box.text = text + b" " * (16 * MIB - len(text))
    capsule.create(box)


# Values

NUMBERS = ["true", "1.0", "1e0", '"1"', "-1", "4294967295", "4294967296", "18446744073709551616",
           "[]", "1" * 5000]


@pytest.mark.row(14)
@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: value[:24])
@pytest.mark.parametrize("key", ["uid", "gid"])
def test_a_user_or_group_that_is_none(refused, bundle, key, value):
    box = bundle()
    box.process["user"] = {"uid": 0, "gid": 0, key: "VALUE"}
    box.text = config_text(box).replace('"VALUE"', value).encode()
    # a number of 5 000 digits has no value that could be checked: the parser names its place
    refused(box, says=[f"process.user.{key}"] if len(value) < 100 else ["byte"])


@pytest.mark.parametrize("key", ["uid", "gid"])
def test_a_null_reads_as_absent(capsule, bundle, key):
    """As in Go's decoder, which other runtimes read with: the id is then 0."""
    box = bundle()
    box.process["user"] = {"uid": 7, "gid": 7, key: None}
    found = capsule.probe(box)
    assert (found["uid"][0], found["gid"][0]) == ((0, 7) if key == "uid" else (7, 0))


def test_unknown_keys_are_named_when_asked(capsule, bundle):
    """They are ignored, as the specification says of a reader; --debug tells where they are."""
    box = bundle(["/bin/true"]).edit(lambda config: config["process"].update(cmd=["x"]) or config.update(nosuch={}))
    assert "nosuch" not in capsule.run(box).err
    if capsule.name == "capsule":
        told = capsule.call("--debug", "run", "--bundle", str(box.write()), box.id + "-debug").err
        assert "config.json: keys that the specification does not have are ignored: " in told
        assert "process.cmd" in told and "nosuch" in told


CHANGES = {
    "no ociVersion": lambda c: c.pop("ociVersion"),
    "ociVersion 2": lambda c: c.update(ociVersion="2.0.0"),
    "ociVersion a word": lambda c: c.update(ociVersion="latest"),
    "no root": lambda c: c.pop("root"),
    "empty args": lambda c: c["process"].update(args=[]),
    "args a string": lambda c: c["process"].update(args="true"),
    "args of numbers": lambda c: c["process"].update(args=[1]),
    "relative cwd": lambda c: c["process"].update(cwd="tmp"),
    "no cwd": lambda c: c["process"].pop("cwd"),
    "empty cwd": lambda c: c["process"].update(cwd=""),
    "env a map": lambda c: c["process"].update(env={"A": "b"}),
    "terminal a number": lambda c: c["process"].update(terminal=1),
    "same rlimit twice": lambda c: c["process"].update(
        rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2),
    "unknown rlimit": lambda c: c["process"].update(
        rlimits=[{"type": "RLIMIT_FUN", "soft": 0, "hard": 0}]),
    "soft above hard": lambda c: c["process"].update(
        rlimits=[{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
    "umask above 0777": lambda c: c["process"]["user"].update(umask=0o1777),
    "oomScoreAdj out of range": lambda c: c["process"].update(oomScoreAdj=1001),
    "unknown namespace": lambda c: c["linux"]["namespaces"].append({"type": "fun"}),
    "namespace twice": lambda c: c["linux"]["namespaces"].append({"type": "uts"}),
    "relative namespace path": lambda c: c["linux"]["namespaces"].append(
        {"type": "cgroup", "path": "proc/self/ns/cgroup"}),
    "mount without destination": lambda c: c["mounts"].append({"type": "tmpfs", "source": "tmpfs"}),
    "mount options a string": lambda c: c["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": "ro"}),
    "mounts a map": lambda c: c.update(mounts={}),
    "unknown propagation": lambda c: c["linux"].update(rootfsPropagation="sideways"),
    "relative masked path": lambda c: c["linux"].update(maskedPaths=["proc/keys"]),
    "relative hook": lambda c: c.update(hooks={"poststop": [{"path": "true"}]}),
    "hook timeout 0": lambda c: c.update(hooks={"poststop": [{"path": "/bin/true", "timeout": 0}]}),
    "hostname too long": lambda c: c.update(hostname="x" * 65),
    "annotation a number": lambda c: c.update(annotations={"a": 1}),
    "annotation without a name": lambda c: c.update(annotations={"": "a"}),
    "time offset without a namespace": lambda c: c["linux"].update(
        timeOffsets={"boottime": {"secs": 1}}),
    "cgroupsPath with dots": lambda c: c["linux"].update(cgroupsPath="/../../escape"),
    "device of no type": lambda c: c["linux"].update(devices=[{"path": "/dev/x", "type": "z"}]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_config_with(refused, bundle, name):
    box = bundle().edit(CHANGES[name])
    refused(box)


# The root

@pytest.mark.row(5)
def test_a_missing_root(refused, bundle):
    box = bundle()
    box.config["root"]["path"] = "nothing"
    refused(box, says=["nothing"])


@pytest.mark.row(5)
def test_a_root_that_is_a_symlink(refused, bundle):
    box = bundle()
    (box.path / "link").symlink_to("rootfs")
    box.config["root"]["path"] = "link"
    refused(box, says=["link"])


@pytest.mark.row(5)
def test_a_root_that_is_a_file(refused, bundle):
    box = bundle()
    (box.path / "file").touch()
    box.config["root"]["path"] = "file"
    refused(box, says=["file"])


def test_the_hosts_root_is_no_root(refused, bundle):
    box = bundle()
    box.config["root"]["path"] = "/"
    refused(box)


# Ids

@pytest.mark.row(178)
@pytest.mark.parametrize("name", [".", "..", "a/b", "/", "a b", "", "x" * 300, "a\nb", "\u00e4", "a\x7f",
                                  "../escape", "-x", "a:b", "a\tb"])
@pytest.mark.parametrize("verb", ["create", "run"])
def test_an_id_that_is_none(refused, bundle, name, verb, capsule):
    box = bundle(["/payload", "exit", "0"])
    if name.startswith("-"):
        capsule.call(verb, "--bundle", box.write(), name, rc=1)
        return
    refused(box, name=name, verb=verb)


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "exec", "ps"])
@pytest.mark.parametrize("name", ["..", "a/b", "../../etc", "x" * 300])
def test_no_verb_leaves_the_root_by_the_id(capsule, verb, name):
    words = {"exec": ["true"]}.get(verb, [])
    one_line(capsule.call(verb, name, *words, rc=255 if verb == "exec" else 1))


@pytest.mark.row(172)
def test_an_id_in_use(capsule, bundle, leaks):
    first, second = bundle(["/payload", "pause"]), bundle(["/payload", "pause"])
    capsule.create(first)
    before = capsule.state(first)
    for verb in ("create", "run"):
        result = getattr(capsule, verb)(second, name=first.id, rc=1)
        assert "exists" in one_line(result)
    assert capsule.state(first) == before


@pytest.mark.row(174)
def test_a_second_start(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.start(box)
    one_line(capsule.start(box, rc=1))


@pytest.mark.parametrize(("kind", "path"), [
    ("network", "/proc/self/ns/uts"), ("pid", "/proc/self/ns/net"), ("ipc", "/etc/passwd"),
    ("network", "/nowhere"), ("network", "/")])
def test_a_namespace_path_of_the_wrong_kind(refused, bundle, kind, path):
    refused(bundle().namespace(kind, path), says=[path])


# Things beside the config

def test_a_pid_file_that_cannot_be_made(capsule, bundle, leaks):
    box = bundle(["/payload", "pause"])
    one_line(capsule.create(box, "--pid-file", "/no/such/pid", rc=1))
    leaks.check(0.5)
    assert not capsule.exists(box)


def test_a_root_directory_that_is_a_file(capsule, bundle, workdir):
    (workdir / "plain").touch()
    capsule.root = workdir / "plain"
    one_line(capsule.create(bundle(["/payload", "pause"]), rc=1))
    capsule.root = workdir / "state"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"\x00" * 100, b'{"id": 5}'])
def test_a_record_that_is_broken(capsule, bundle, text):
    """A crash or a full disk may leave anything: the verbs say so, and delete --force removes it."""
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    for path in (capsule.root / box.id).rglob("*.json"):
        path.write_bytes(text)
    one_line(capsule.call("state", box.id, rc=1))
    capsule.list(rc=None)
    capsule.delete(box, "--force")
    assert not (capsule.root / box.id).exists()
