"""`spec --check`: every problem of a config at once, with its place and a suggestion; nothing is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="has no spec --check", crun="has no spec --check", strict=False),
]


APPARMOR = Path("/sys/module/apparmor/parameters/enabled")


@pytest.fixture
def check(capsule):
    """Return a checker of a bundle: {path: problem}; it compares the exit status."""
    def run(box, rc: int | None = None) -> dict[str, dict]:
        result = capsule.call("spec", "--check", "--bundle", box.write(), "--format", "json", rc=None)
        document = result.json
        assert result.rc == (0 if document["ok"] else 1)
        if rc is not None:
            assert result.rc == rc
        found = {problem["path"]: problem for problem in document["problems"]}
        assert len(found) == len(document["problems"]), "a place is told twice"
        return found
    return run


def test_a_good_config_has_no_problem(check, bundle):
    assert check(bundle(), rc=0) == {}


def test_all_problems_are_told_at_their_places(check, bundle):
    box = bundle()
    box.linux["namespaces"][3]["type"] = "utss"
    box.linux["namespaces"][1]["type"] = "net"
    box.process["user"]["uid"] = "0"
    del box.process["cwd"]
    box.process["rlimits"] = [{"type": "NOFILE", "soft": 5, "hard": 1}]
    box.config["hooks"] = {"poststart": [{"path": "relative"}, {"args": []}, {"path": "/bin/true", "timeout": 0}]}
    box.linux["resources"] = {"memory": {"swappiness": 200}, "pids": {"limit": "5"}}
    box.linux["sysctl"] = {"kernel.panic": "1"}
    found = check(box, rc=1)
    assert {path: problem.get("suggestion", "") for path, problem in found.items()} == {
        "linux.namespaces[3].type": '"uts"', "linux.namespaces[1].type": '"network"', "process.user.uid": "0",
        "process.cwd": "", "process.rlimits[0].type": '"RLIMIT_NOFILE"', "process.rlimits[0].soft": "",
        "hooks.poststart[0].path": "", "hooks.poststart[1].path": "", "hooks.poststart[2].timeout": "",
        "linux.resources.memory.swappiness": "", "linux.resources.pids.limit": "5", 'linux.sysctl["kernel.panic"]': "",
    }


def test_indices_are_those_of_the_file(check, bundle):
    box = bundle().bind("/tmp", "/data", "rbind", "first", "rprivat", "third")
    number = len(box.config["mounts"]) - 1
    found = check(box, rc=1)
    assert {path: problem.get("suggestion", "") for path, problem in found.items()} == {
        f"mounts[{number}].options[1]": "", f"mounts[{number}].options[2]": '"rprivate"',
        f"mounts[{number}].options[3]": "",
    }


@pytest.mark.parametrize("change, path, suggestion", [
    (lambda c: c["hooks"].update(prestrat=[]), "hooks.prestrat", '"prestart"'),
    (lambda c: c["process"].update(agrs=["x"]), "process.agrs", ""),
    (lambda c: c["process"].update(noNewPrivilege=True), "process.noNewPrivilege", ""),
    (lambda c: c["linux"].update(maskedpath=[]), "linux.maskedpath", ""),
    (lambda c: c["linux"]["seccomp"].update(defaultActoin="SCMP_ACT_ALLOW"), "linux.seccomp.defaultActoin", ""),
    (lambda c: c.update(rooot={}), "rooot", ""),
    (lambda c: c["linux"].update(sysctls={}), "linux.sysctls", '"sysctl"'),
])
def test_an_unknown_key_is_told(check, bundle, change, path, suggestion):
    """A key that is there already is no suggestion."""
    box = bundle().seccomp("SCMP_ACT_ALLOW")
    box.config["hooks"] = {}
    change(box.config)
    found = check(box)
    assert list(found) == [path]
    assert found[path].get("suggestion", "") == suggestion
    assert found[path]["kind"] == ("config" if suggestion else "note")


@pytest.mark.parametrize("word, suggestion", [
    ("SYS_ADMIN", '"CAP_SYS_ADMIN"'), ("cap_chown", '"CAP_CHOWN"'), ("CAP_NET_RWA", '"CAP_NET_RAW"'), ("CAP_X", ""),
])
def test_a_capability_that_there_is_not(check, bundle, word, suggestion):
    box = bundle()
    box.process["capabilities"] = {"bounding": ["CAP_KILL", word]}
    assert check(box, rc=1)["process.capabilities.bounding[1]"].get("suggestion", "") == suggestion


def test_a_word_for_a_file_system_that_looks_like_ours_is_noted(check, bundle):
    box = bundle().mount("/x", "tmpfs", "tmpfs", "nosiud", "size=1m")
    assert check(box, rc=0)[f"mounts[{len(box.config['mounts']) - 1}].options[0]"]["suggestion"] == '"nosuid"'


def test_people_read_one_line_a_problem(capsule, bundle):
    box = bundle()
    box.linux["namespaces"][0]["type"] = "pids"
    lines = capsule.call("spec", "--check", "-b", box.write(), rc=1).lines
    assert len(lines) == 1
    assert lines[0].startswith("linux.namespaces[0].type: expected one of pid, network")
    assert lines[0].endswith('got the string "pids"; did you mean "pid"?')


def test_a_file_is_checked_like_a_bundle(capsule, bundle, workdir):
    box = bundle()
    file = workdir / "other.json"
    del box.config["ociVersion"]
    file.write_text(json.dumps({**box.config, "root": {"path": str(box.rootfs)}}))
    assert capsule.call("spec", "--check", file, rc=1).lines == ["ociVersion: is required"]


@pytest.mark.parametrize("text, words", [
    (b'{"ociVersion": "1.0.2",\n "root" }', "line 2"), (b"", "config.json:"), (b"[]", "expected an object"),
])
def test_what_is_no_config_is_one_problem(capsule, bundle, text, words):
    box = bundle()
    box.text = text
    lines = capsule.call("spec", "--check", "-b", box.write(), rc=1).lines
    assert len(lines) == 1 and words in lines[0]


# This machine

@pytest.mark.parametrize("change, path, words", [
    (lambda c: c["root"].update(path="none"), "root.path", "none: no such file or directory"),
    (lambda c: c["linux"]["namespaces"].append({"type": "time", "path": "/no/ns"}), "linux.namespaces[5].path",
     "/no/ns: no such file or directory"),
    (lambda c: c["linux"]["namespaces"].append({"type": "time", "path": "/proc/self/ns/net"}),
     "linux.namespaces[5].path", "it is a network namespace"),
    (lambda c: c["process"].update(args=["nothing"]), "process.args[0]", "executable file not found in $PATH"),
    (lambda c: c["process"].update(args=["/no/thing"]), "process.args[0]", "no such file or directory"),
    (lambda c: c["mounts"].append({"destination": "/x", "source": "/no/source", "options": ["bind"]}),
     "mounts[6].source", "/no/source: no such file or directory"),
    (lambda c: c["mounts"].append({"destination": "/x", "type": "nofs", "source": "x"}), "mounts[6].type", '"nofs"'),
    (lambda c: c.update(hooks={"poststop": [{"path": "/no/hook"}]}), "hooks.poststop[0].path", "/no/hook: no such"),
    (lambda c: c["process"].update(apparmorProfile="none-of-this-name"), "process.apparmorProfile", "AppArmor"),
])
def test_what_this_machine_lacks_is_marked_so(check, bundle, change, path, words):
    box = bundle()
    change(box.config)
    if path == "process.apparmorProfile":
        if APPARMOR.exists() and APPARMOR.read_text().startswith("Y"):
            pytest.skip("requires a kernel without AppArmor")
    found = check(box, rc=1)
    assert found[path]["kind"] == "host" and words in found[path]["cause"]


@pytest.mark.requires("cgroup1")
def test_a_controller_that_is_not_mounted(check, bundle):
    box = bundle()
    box.linux["resources"] = {"unified": {"memory.max": "1"}}
    found = check(box, rc=1)
    assert found["linux.resources.unified"]["kind"] == "host"


def test_calls_that_libseccomp_does_not_know_are_noted(check, bundle):
    box = bundle().seccomp("SCMP_ACT_ALLOW", {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ERRNO"})
    found = check(box, rc=0)
    assert found["linux.seccomp.syscalls"]["cause"].endswith("ignored: no_such_call")


def test_nothing_is_left_behind(capsule, bundle):
    capsule.call("spec", "--check", "-b", bundle().write())
    assert not capsule.root.exists()


@pytest.mark.parametrize("words, text", [
    (["--check", "--explain"], "cannot be given with"), (["--check", "--format", "yaml"], "invalid format"),
    (["config.json"], "needs --check or --explain"), (["--check", "/no/file.json"], "no such file or directory"),
])
def test_wrong_words_are_refused(capsule, workdir, words, text):
    assert text in capsule.call("spec", *words, rc=1, cwd=workdir).err
    assert not (workdir / "config.json").exists()
