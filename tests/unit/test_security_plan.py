"""Who the payload will be: capability sets, groups, limits, and what exec inherits."""

from __future__ import annotations

import pytest

from capsule.errors import SecurityError, SpecError
from capsule.linux import names
from capsule.security import plan as security
from capsule.security.apply import SETGID, SETPCAP, SETUID, SYS_ADMIN, tail_needs
from capsule.spec.model import Config, Process

ALL = (1 << 41) - 1
CHOWN, KILL, NET_BIND, AUDIT_WRITE, SYSLOG, BPF = 1, 1 << 5, 1 << 10, 1 << 29, 1 << 34, 1 << 39


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Stand on a kernel with 41 capabilities, as root with all of them; the test may change that."""
    state = {"last": 40, "permitted": ALL, "bounding": ALL}
    monkeypatch.setattr(security.capset, "last_cap", lambda: state["last"])
    monkeypatch.setattr(security.capset, "get", lambda: (state["permitted"], state["permitted"], 0))
    monkeypatch.setattr(security.capset, "bounding", lambda: state["bounding"])
    return state


def process(**sets: list[str]) -> Process:
    made = Process()
    made.capabilities = {name: [f"CAP_{word}" for word in words] for name, words in sets.items()} or None
    return made


def planned(made: Process, *, config: Config | None = None, in_userns=False, extra=(), maker=security.make, warn=None):
    config = config or Config()
    return maker(made, config, in_userns=in_userns, extra_caps=extra, warn=warn or pytest.fail)


def test_absent_capabilities_are_empty_sets():
    assert planned(Process()).caps == (0, 0, 0, 0, 0)


def test_every_set_is_what_the_config_says():
    words = {"bounding": ["CHOWN", "KILL", "SYSLOG"], "effective": ["KILL"], "permitted": ["KILL", "CHOWN"],
             "inheritable": ["CHOWN", "SYSLOG"], "ambient": ["CHOWN"]}
    assert planned(process(**words)).caps == (CHOWN | KILL | SYSLOG, KILL, CHOWN | KILL, CHOWN | SYSLOG, CHOWN)


def test_every_known_name_has_its_number():
    words = [name[4:] for name in names.CAPABILITIES]
    assert planned(process(bounding=words)).caps[0] == ALL


@pytest.mark.parametrize(("sets", "warning", "expected"), [
    ({"bounding": ["KILL", "UNKNOWN", "NO"], "permitted": ["UNKNOWN"]},
     "ignoring unknown capabilities: CAP_UNKNOWN, CAP_NO", (KILL, 0, 0, 0, 0)),
    ({"bounding": ["CHOWN"], "permitted": ["CHOWN"], "ambient": ["CHOWN"]},
     "can't raise ambient capability CAP_CHOWN: not both permitted and inheritable", (1, 0, 1, 0, 0)),
    ({"bounding": ["CHOWN"], "inheritable": ["CHOWN"], "ambient": ["CHOWN"]},
     "can't raise ambient capability CAP_CHOWN: not both permitted and inheritable", (1, 0, 0, 1, 0)),
    ({"bounding": ["CHOWN"], "effective": ["CHOWN"]},
     "can't raise effective capability CAP_CHOWN: not permitted", (1, 0, 0, 0, 0)),
    ({"permitted": ["CHOWN"], "inheritable": ["CHOWN"]},
     "can't raise inheritable capability CAP_CHOWN: not in the bounding set", (0, 0, 1, 0, 0)),
])
def test_what_cannot_be_granted_is_warned_about(sets, warning, expected):
    warnings: list[str] = []
    assert planned(process(**sets), warn=warnings.append).caps == expected
    assert warnings == [warning]


def test_a_capability_newer_than_the_kernel_is_warned_about(machine):
    machine["last"] = 37
    warnings: list[str] = []
    assert planned(process(bounding=["BPF", "KILL"]), in_userns=True, warn=warnings.append).caps[0] == KILL
    assert warnings == ["ignoring capabilities this kernel does not have: CAP_BPF"]


@pytest.mark.parametrize("lack", ["permitted", "bounding"])
def test_what_the_runtime_lacks_is_warned_about(machine, lack):
    machine[lack] = ALL & ~KILL
    warnings: list[str] = []
    sets = {"bounding": ["KILL", "CHOWN"], "permitted": ["KILL", "CHOWN"], "effective": ["KILL"]}
    assert planned(process(**sets), warn=warnings.append).caps == (CHOWN, 0, CHOWN, 0, 0)
    assert warnings == ["ignoring capabilities the runtime itself lacks: CAP_KILL"]


def test_a_user_namespace_grants_what_the_runtime_lacks(machine):
    machine["permitted"] = machine["bounding"] = 0
    assert planned(process(bounding=["KILL"]), in_userns=True).caps[0] == KILL


class TestExecCap:
    """`exec --cap`."""

    SETS = {"inheritable": ["CHOWN", "SYSLOG"], "permitted": ["KILL", "CHOWN"], "effective": ["KILL"],
            "bounding": ["KILL", "CHOWN", "SYSLOG"], "ambient": ["CHOWN"]}

    def test_it_adds_to_bounding_effective_and_permitted(self):
        made = process(bounding=["KILL"], effective=["KILL"], permitted=["KILL"])
        assert planned(made, extra=["CAP_CHOWN"]).caps == (CHOWN | KILL, CHOWN | KILL, CHOWN | KILL, 0, 0)

    def test_it_adds_to_the_ambient_set_where_there_is_an_inheritable_one(self):
        caps = planned(process(**self.SETS), extra=["CAP_SYSLOG"], maker=security.make_exec).caps
        assert caps == (0x400000021, 0x400000020, 0x400000021, 0x400000001, 0x400000001)

    def test_it_never_adds_to_the_inheritable_set(self):
        warnings: list[str] = []
        caps = planned(process(**self.SETS), extra=["CAP_AUDIT_WRITE"], warn=warnings.append).caps
        assert caps[3:] == (CHOWN | SYSLOG, CHOWN)
        assert len(warnings) == 1

    def test_it_needs_no_capabilities_in_the_config(self):
        assert planned(Process(), extra=["CAP_KILL"]).caps == (KILL, KILL, KILL, 0, 0)

    def test_an_unknown_name_is_warned_about(self):
        warnings: list[str] = []
        planned(Process(), extra=["CAP_NO"], warn=warnings.append)
        assert warnings == ["ignoring unknown capabilities: CAP_NO"]

    def test_the_config_is_not_changed(self):
        made = process(bounding=["KILL"])
        planned(made, extra=["CAP_CHOWN"])
        assert made.capabilities == {"bounding": ["CAP_KILL"]}


def test_ids_umask_and_flags():
    made = process()
    made.uid, made.gid, made.no_new_privileges, made.oom_score_adj = 1000, 2000, True, -5
    plan = planned(made)
    assert (plan.uid, plan.gid, plan.umask, plan.groups) == (1000, 2000, 0o022, [])
    assert (plan.no_new_privs, plan.oom_score_adj, plan.last_cap, plan.attributes) == (True, -5, 40, None)
    assert (plan.apparmor, plan.selinux) == (None, None)
    assert (plan.seccomp, plan.seccomp_flags, plan.rlimits) == (None, 0, [])


@pytest.mark.parametrize("umask", [0, 0o77, 0o777])
def test_a_umask_is_kept(umask):
    made = process()
    made.umask = umask
    assert planned(made).umask == umask


def test_limits_are_numbered():
    made = process()
    made.rlimits = [("RLIMIT_NOFILE", 1024, 2**64 - 1), ("RLIMIT_CPU", 0, 1)]
    assert planned(made).rlimits == [(7, 1024, 2**64 - 1), (0, 0, 1)]
    made.rlimits = [("RLIMIT_X", 0, 0)]
    with pytest.raises(SpecError, match="unknown limit RLIMIT_X"):
        planned(made)


class TestGroups:
    def denied(self, monkeypatch, euid=1000):
        monkeypatch.setattr(security.posix, "geteuid", lambda: euid)
        config = Config()
        config.gid_mappings = [(0, 1000, 1)]
        return config

    def test_groups_are_set_exactly(self):
        made = process()
        made.additional_gids = [100, 65534]
        assert planned(made).groups == [100, 65534]

    def test_without_privilege_no_groups_are_touched(self, monkeypatch):
        assert planned(process(), config=self.denied(monkeypatch), in_userns=True).groups is None

    def test_without_privilege_groups_are_an_error(self, monkeypatch):
        made = process()
        made.additional_gids = [100]
        with pytest.raises(SecurityError, match="set additional groups 100: setgroups is denied"):
            planned(made, config=self.denied(monkeypatch), in_userns=True)

    def test_root_sets_groups_in_a_user_namespace(self, monkeypatch):
        assert planned(process(), config=self.denied(monkeypatch, euid=0), in_userns=True).groups == []

    def test_a_map_by_newgidmap_permits_groups(self, monkeypatch):
        config = self.denied(monkeypatch)
        config.gid_mappings.append((1, 100000, 65536))
        assert planned(process(), config=config, in_userns=True).groups == []


class TestExecInherits:
    def container(self):
        config = Config()
        first = process(bounding=["KILL"])
        first.umask, first.oom_score_adj = 0o77, 100
        first.rlimits = [("RLIMIT_NOFILE", 1, 2)]
        config.process = first
        return config

    def test_what_process_json_leaves_out_is_the_containers(self):
        plan = planned(Process(), config=self.container(), maker=security.make_exec)
        assert (plan.caps[0], plan.umask, plan.oom_score_adj, plan.rlimits) == (KILL, 0o77, 100, [(7, 1, 2)])

    def test_what_process_json_says_counts(self):
        own = process(bounding=["CHOWN"])
        own.umask, own.oom_score_adj, own.rlimits, own.uid = 0, 0, [("RLIMIT_CPU", 3, 4)], 7
        plan = planned(own, config=self.container(), maker=security.make_exec)
        assert (plan.caps[0], plan.umask, plan.oom_score_adj, plan.rlimits) == (CHOWN, 0, 0, [(0, 3, 4)])
        assert plan.uid == 7

    def test_a_container_without_process_gives_nothing(self):
        assert planned(Process(), maker=security.make_exec).caps == (0, 0, 0, 0, 0)


def test_a_profile_becomes_a_program(tmp_path):
    config = Config()
    config.seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "flags": []}
    plan = security.make(process(), config, in_userns=False, warn=pytest.fail, seccomp_cache=str(tmp_path / "cache"))
    assert len(plan.seccomp) % 8 == 0 < len(plan.seccomp)
    assert plan.seccomp_flags == 0


@pytest.mark.parametrize(("filtered", "no_new_privs", "extra"), [
    (False, False, 0), (True, False, SYS_ADMIN), (True, True, 0), (False, True, 0),
])
def test_the_tail_keeps_only_what_it_needs(filtered, no_new_privs, extra):
    plan = security.SecurityPlan()
    plan.caps = (KILL, CHOWN, CHOWN, 0, 0)
    plan.seccomp, plan.no_new_privs = (b"\0" * 8 if filtered else None), no_new_privs
    assert tail_needs(plan) == KILL | CHOWN | SETGID | SETUID | SETPCAP | extra
