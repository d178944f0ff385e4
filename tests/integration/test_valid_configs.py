"""Configs made at random from what the specification allows: what is accepted runs, and the kernel shows the wish.

A wish is drawn as small facts; one function writes each into a config, another finds it in what the container and the
kernel report. CAPSULE_EXAMPLES=N tries N configs that were not tried before; otherwise the same ones every time.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.bundle import CAPABILITIES, Bundle, default_config
from helpers.payload import parse_mountinfo
from helpers.requires import requires
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

pytestmark = requires("root", "runtime", "busybox", "gcc", "cgroup1")

EXAMPLES = int(os.environ.get("CAPSULE_EXAMPLES", "0"))
NUMBERS = {"CAP_AUDIT_WRITE": 29, "CAP_KILL": 5, "CAP_NET_BIND_SERVICE": 10}  # linux/capability.h
SET_NAMES = ("bounding", "effective", "permitted", "inheritable", "ambient")
EPERM_CALLS = {"mkdirat": 258, "getpgid": 121, "sched_yield": 24}  # asm/unistd_64.h
# The option, and what mountinfo shows for it; without the option its absence.
FLAGS = {"nosuid": "nosuid", "nodev": "nodev", "noexec": "noexec", "ro": "ro", "noatime": "noatime",
         "nodiratime": "nodiratime"}

identifiers = st.one_of(st.integers(0, 70000), st.sampled_from([2**31 - 1, 2**31, 2**32 - 2]))
words = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789_-.", min_size=1, max_size=20)
texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40)


@st.composite
def users(draw):
    return {"uid": draw(identifiers), "gid": draw(identifiers),
            "groups": draw(st.lists(identifiers, max_size=5, unique=True)),
            "umask": draw(st.one_of(st.none(), st.integers(0, 0o777)))}


@st.composite
def capability_sets(draw):
    """Draw sets that capset(2) allows: effective within permitted, ambient within permitted and inheritable."""
    subset = st.sets(st.sampled_from(CAPABILITIES))
    bounding = draw(subset)
    permitted = draw(subset) & bounding
    inheritable = draw(subset) & bounding
    return {"bounding": bounding, "permitted": permitted, "inheritable": inheritable,
            "effective": draw(subset) & permitted, "ambient": draw(subset) & permitted & inheritable}


@st.composite
def limits(draw):
    soft = draw(st.integers(0, 900))
    return (soft + 64, draw(st.integers(soft + 64, 1024)))  # the stages need some descriptors themselves


wishes = st.fixed_dictionaries({
    "user": users(),
    "capabilities": capability_sets(),
    "no_new_privileges": st.booleans(),
    "args": st.lists(texts, max_size=4),
    "env": st.dictionaries(words.filter(lambda word: word not in ("PATH", "HOME", "TERM")), texts, max_size=4),
    "cwd": st.lists(words.filter(lambda word: word.strip(".")), max_size=3).map(
        lambda names: "/data/" + "/".join(names)),
    "hostname": words,
    "nofile": limits(),
    "oom_score_adj": st.integers(0, 1000),
    "tmpfs": st.dictionaries(
        words.filter(lambda word: word.strip(".")), st.sets(st.sampled_from(sorted(FLAGS))), max_size=3),
    "read_only": st.booleans(),
    "somaxconn": st.one_of(st.none(), st.integers(1, 65535)),
    "denied": st.one_of(st.none(), st.tuples(st.sampled_from(sorted(EPERM_CALLS)), st.integers(1, 133))),
    "pids": st.one_of(st.none(), st.integers(-1, 100)),
    "memory": st.one_of(st.none(), st.integers(16, 256).map(lambda mib: mib << 20)),
    "shares": st.one_of(st.none(), st.integers(2, 262144)),
    "private_cgroup": st.booleans(),
})


def write_config(box: Bundle, wish: dict) -> None:
    """Write a wish down as a config."""
    box.config = default_config()
    box.args("/payload", "probe", *wish["args"])
    user = wish["user"]
    box.user(user["uid"], user["gid"], *user["groups"], umask=user["umask"])
    box.capabilities(**{name: sorted(wish["capabilities"][name]) for name in SET_NAMES})
    box.process.update(
        noNewPrivileges=wish["no_new_privileges"], cwd=wish["cwd"], oomScoreAdj=wish["oom_score_adj"],
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": wish["nofile"][0], "hard": wish["nofile"][1]}])
    box.env(*[f"{name}={value}" for name, value in wish["env"].items()])
    box.config["hostname"] = wish["hostname"]
    for name, options in wish["tmpfs"].items():
        box.mount(f"/mnt/{name}", "tmpfs", "tmpfs", *sorted(options))
    box.config["root"]["readonly"] = wish["read_only"]
    if wish["somaxconn"] is not None:
        box.linux["sysctl"] = {"net.core.somaxconn": str(wish["somaxconn"])}
    if wish["denied"]:
        name, number = wish["denied"]
        box.seccomp("SCMP_ACT_ALLOW", {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": number})
    if wish["private_cgroup"]:
        box.namespace("cgroup")
    resources = {"pids": {"limit": wish["pids"]}, "memory": {"limit": wish["memory"]},
                 "cpu": {"shares": wish["shares"]}}
    box.linux["resources"] = {name: value for name, value in resources.items() if None not in value.values()}


def in_bytes(text: str) -> str:
    """Return a text as the payload reports it: a character for each byte."""
    return text.encode().decode("latin-1")


def check_process(wish: dict, facts: dict) -> None:
    """Compare the program's own view of itself."""
    user = wish["user"]
    assert (facts["uid"], facts["gid"]) == ([user["uid"]] * 3, [user["gid"]] * 3)
    assert sorted(facts["groups"]) == sorted(set(user["groups"]))
    assert facts["umask"] == (0o022 if user["umask"] is None else user["umask"])
    assert facts["nnp"] == wish["no_new_privileges"]
    assert facts["argv"] == [in_bytes(word) for word in wish["args"]]
    assert [entry for entry in facts["env"] if entry.split("=")[0] in wish["env"]] == [
        f"{name}={in_bytes(value)}" for name, value in wish["env"].items()]
    assert facts["cwd"] == os.path.normpath(wish["cwd"])
    assert facts["hostname"] == wish["hostname"]
    assert facts["rlimits"]["RLIMIT_NOFILE"] == list(wish["nofile"])
    assert int(facts["oom_score_adj"]) == wish["oom_score_adj"]


def check_capabilities(wish: dict, facts: dict) -> None:
    """Compare the sets after execve, as capabilities(7) computes them from those before it."""
    sets = {name: sum(1 << NUMBERS[word] for word in wish["capabilities"][name]) for name in SET_NAMES}
    caps = facts["caps"]
    assert caps["bounding"] == sets["bounding"]
    assert caps["inheritable"] == sets["inheritable"]
    if wish["user"]["uid"] == 0:
        expected = sets["bounding"] | sets["inheritable"]
        assert (caps["permitted"], caps["effective"]) == (expected, expected)
    else:
        assert (caps["permitted"], caps["effective"], caps["ambient"]) == (sets["ambient"],) * 3


def check_mounts(wish: dict, facts: dict) -> None:
    """Compare mountinfo of the container."""
    mounts = {entry["point"]: entry for entry in parse_mountinfo(facts["mountinfo"])}
    assert ("ro" in mounts["/"]["options"]) == wish["read_only"]
    for name, options in wish["tmpfs"].items():
        shown = mounts[f"/mnt/{name}"]
        assert shown["type"] == "tmpfs"
        assert {word for word in FLAGS if FLAGS[word] in shown["options"]} - {"nodiratime"} == options - {"nodiratime"}


def check_cgroups(wish: dict, groups: dict[str, Path]) -> None:
    """Compare the files of the container's groups; `groups` are its directories by controller."""
    def value(controller: str, name: str) -> str:
        return (groups[controller] / name).read_text().strip()

    if wish["pids"] is not None:
        assert value("pids", "pids.max") == {-1: "max", 0: "1"}.get(wish["pids"], str(wish["pids"]))
    if wish["memory"] is not None:
        assert int(value("memory", "memory.limit_in_bytes")) == wish["memory"]
    if wish["shares"] is not None:
        assert int(value("cpu", "cpu.shares")) == wish["shares"]


def groups_of(pid: int) -> dict[str, Path]:
    """Return where a process is, by controller of cgroup v1."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {word: Path("/sys/fs/cgroup", word, path.lstrip("/"))
            for _, words_of, path in (line.split(":", 2) for line in lines) for word in words_of.split(",") if word}


@pytest.mark.row(3, 6, 10, 11, 12, 14, 15, 16, 18, 21, 22, 23, 32, 66, 81, 89, 95, 121)
@pytest.mark.rival(runc="a limit of 0 processes, relative paths and others differ", strict=False)
def test_what_is_accepted_runs_and_is_what_was_asked_for(capsule, bundle, payload):
    box = bundle()
    box.rootfs.chmod(0o755)

    @settings(max_examples=EXAMPLES or 30, derandomize=not EXAMPLES, deadline=None, database=None,
              phases=[Phase.generate],  # to shrink a wish takes minutes of containers
              suppress_health_check=list(HealthCheck))
    @given(wish=wishes)
    def holds(wish: dict) -> None:
        write_config(box, wish)
        made = capsule.create(box)
        try:
            check_cgroups(wish, groups_of(capsule.pid(box)))
            capsule.start(box)
            capsule.wait_status(box, "stopped")
            facts = made.json
            check_process(wish, facts)
            check_capabilities(wish, facts)
            check_mounts(wish, facts)
            assert facts["seccomp"] == (2 if wish["denied"] else 0)
        finally:
            capsule.delete(box, "--force")

    holds()
