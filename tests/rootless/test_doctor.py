"""`doctor` of an ordinary user: one thing is taken away at a time, and it must be named with what repairs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.ordinary import SUBIDS, UID
from helpers.requires import requires
from helpers.runtime import ENVIRONMENT

pytestmark = [
    requires("root", "runtime", "busybox", "gcc", "userns", "uidmap"),
    pytest.mark.rival(runc="has no doctor", crun="has no doctor", strict=False),
]


def findings(runtime, *, rc: int | None = 0, **how) -> dict[str, dict]:
    document = runtime.call("doctor", "--json", rc=rc, **how).json
    return {finding["subject"]: finding for finding in document["findings"]}


def test_a_user_with_rows_is_well(rootless, user):
    user.grant()
    found = findings(rootless)
    assert found["privilege"]["detail"].startswith(f"none (uid {UID})")
    for subject in ("state directory", "XDG_RUNTIME_DIR", "user namespace of a user", "open_tree", "mount namespace"):
        assert found[subject]["status"] == "works", found[subject]
    for kind in ("uid", "gid"):
        assert found[f"sub{kind}s of the user"]["detail"] == f"{SUBIDS[1]} by /usr/bin/new{kind}map"
    assert os.listdir(user.runtime_dir) == []


def test_no_row(rootless):
    for kind in ("uid", "gid"):
        finding = findings(rootless)[f"sub{kind}s of the user"]
        assert finding["status"] == "missing"
        assert finding["repair"].startswith(f"usermod --add-sub{kind}s ") and not finding["repair"].endswith(" USER")


def test_no_newuidmap(rootless, user):
    user.grant()
    rootless.before = ("mount --bind /dev/null /usr/bin/newuidmap",)
    found = findings(rootless, rc=1)
    assert found["subuids of the user"]["status"] == "fails"
    assert "no newuidmap is installed" in found["subuids of the user"]["detail"]
    assert found["subuids of the user"]["repair"] == "apt-get install uidmap"
    assert found["subgids of the user"]["status"] == "works"


def test_newuidmap_that_has_lost_its_privilege(rootless, user):
    user.grant()
    user.cover("/usr/bin/newuidmap", Path("/usr/bin/newuidmap").read_bytes(), 0o755)
    finding = findings(rootless, rc=1)["subuids of the user"]
    assert "it has lost its privilege" in finding["detail"]
    assert finding["repair"] == "setcap cap_setuid+ep /usr/bin/newuidmap, or chmod u+s /usr/bin/newuidmap"


def test_newuidmap_with_file_capabilities_instead(rootless, user):
    user.grant()
    own = user.cover("/usr/bin/newuidmap", Path("/usr/bin/newuidmap").read_bytes(), 0o755)
    # struct vfs_cap_data, revision 2, effective: CAP_SETUID permitted (linux/capability.h).
    words = (0x02000001, 1 << 7, 0, 0, 0)
    os.setxattr(own, "security.capability", b"".join(word.to_bytes(4, "little") for word in words))
    assert findings(rootless)["subuids of the user"]["status"] == "works"


def test_no_new_privs(rootless, user):
    user.grant()
    rootless.drop = ("--no-new-privs",)
    finding = findings(rootless, rc=1)["subuids of the user"]
    assert "no_new_privs is set" in finding["detail"]


def test_user_namespaces_that_the_administrator_forbids(rootless):
    """The limit counts for each user namespace: in one of our own there may be one more below, and that is B."""
    script = 'echo 1 > /proc/sys/user/max_user_namespaces && exec unshare --user --map-user=1000 --map-group=1000 "$@"'
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    os.chown(rootless.user.runtime_dir, 0, 0)
    env = {**ENVIRONMENT, "XDG_RUNTIME_DIR": str(rootless.user.runtime_dir)}
    call = super(type(rootless), rootless).spawn("doctor", "--json", scene=argv, root=False, env=env)
    document = call.wait().json
    [finding] = [row for row in document["findings"] if row["subject"] == "user namespace of a user"]
    assert finding["status"] == "fails"
    assert "no space left on device" in finding["detail"] and "user.max_user_namespaces is" in finding["detail"]
    assert finding["repair"] == "sysctl -w user.max_user_namespaces=15000"


def test_a_runtime_directory_of_another(rootless, user):
    os.chown(user.runtime_dir, 0, 0)
    found = findings(rootless, rc=1)
    assert found["XDG_RUNTIME_DIR"]["status"] == found["state directory"]["status"] == "fails"
    assert f"it belongs to uid 0, not to uid {UID}" in found["XDG_RUNTIME_DIR"]["detail"]
    assert found["XDG_RUNTIME_DIR"]["repair"].startswith("unset XDG_RUNTIME_DIR")


def test_a_runtime_directory_that_is_not_there(rootless, user):
    env = {**ENVIRONMENT, "XDG_RUNTIME_DIR": f"{user.runtime_dir}/none"}
    found = findings(rootless, rc=1, env=env)
    assert "there is no such directory" in found["XDG_RUNTIME_DIR"]["detail"]


def test_no_runtime_directory(rootless):
    found = findings(rootless, env=ENVIRONMENT)
    os.rmdir(f"/tmp/capsule-{UID}")
    assert found["XDG_RUNTIME_DIR"]["status"] == "missing"
    assert found["XDG_RUNTIME_DIR"]["detail"] == f"not set; records are kept in /tmp/capsule-{UID}"
    assert found["state directory"]["detail"] == f"/tmp/capsule-{UID}"


@requires("cgroup1")
def test_no_delegation(rootless):
    finding = findings(rootless)["cgroup delegation"]
    assert finding["status"] == "missing"
    assert finding["repair"] == "boot with systemd.unified_cgroup_hierarchy=1"
