"""Which security module takes a label, with the kernel's own files faked."""

from __future__ import annotations

import pytest

from capsule.errors import SpecError, Unsupported
from capsule.security.plan import labels
from capsule.spec.model import Process

PROFILE, CONTEXT = "docker-default", "system_u:system_r:container_t:s0:c1,c2"


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """Say which modules the kernel has."""
    def has(*modules: str) -> None:
        for name, text in (("APPARMOR_ENABLED", "Y\n"), ("SELINUX_ENFORCE", "1")):
            path = tmp_path / name
            if name.split("_")[0].lower() in modules:
                path.write_text(text)
            monkeypatch.setattr(labels, name, str(path))

    return has


def of(apparmor: str | None = None, selinux: str | None = None) -> Process:
    process = Process()
    process.apparmor_profile, process.selinux_label = apparmor, selinux
    return process


@pytest.mark.row(19)
def test_an_apparmor_profile(kernel) -> None:
    kernel("apparmor")
    assert labels.process_labels(of(PROFILE)) == (PROFILE, None)


@pytest.mark.row(19)
def test_without_apparmor_a_profile_is_refused_and_unconfined_is_not(kernel) -> None:
    kernel("selinux")
    with pytest.raises(Unsupported, match="apply AppArmor profile docker-default: AppArmor is not enabled"):
        labels.process_labels(of(PROFILE))
    assert labels.process_labels(of("unconfined")) == (None, None)


@pytest.mark.row(19)
def test_apparmor_that_is_switched_off_is_absent(monkeypatch, tmp_path) -> None:
    (tmp_path / "enabled").write_text("N\n")
    monkeypatch.setattr(labels, "APPARMOR_ENABLED", str(tmp_path / "enabled"))
    with pytest.raises(Unsupported, match="AppArmor"):
        labels.process_labels(of(PROFILE))


@pytest.mark.row(20)
def test_an_selinux_context(kernel) -> None:
    kernel("selinux")
    assert labels.process_labels(of(None, CONTEXT)) == (None, CONTEXT)


@pytest.mark.row(20, 65)
def test_without_selinux_labels_are_refused(kernel) -> None:
    kernel("apparmor")
    with pytest.raises(Unsupported, match="SELinux is not enabled"):
        labels.process_labels(of(None, CONTEXT))
    with pytest.raises(Unsupported, match="apply mount label .*SELinux is not enabled"):
        labels.check_mount_label(CONTEXT)


@pytest.mark.row(19, 20)
def test_both_at_once_are_refused(kernel) -> None:
    kernel("apparmor", "selinux")
    with pytest.raises(SpecError, match="cannot be combined"):
        labels.process_labels(of(PROFILE, CONTEXT))
