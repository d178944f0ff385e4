"""Names of units and where their cgroups are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.requires import ROOT

from capsule.cgroups.systemd import units
from capsule.errors import SpecError


@pytest.mark.parametrize(("path", "user", "unit", "slice", "cgroup"), [
    (None, False, "capsule-web.scope", "system.slice", "/system.slice/capsule-web.scope"),
    ("", True, "capsule-web.scope", "user.slice", "/user.slice/capsule-web.scope"),
    (":cri:abc", False, "cri-abc.scope", "system.slice", "/system.slice/cri-abc.scope"),
    ("machine.slice:libpod:abc", False, "libpod-abc.scope", "machine.slice", "/machine.slice/libpod-abc.scope"),
    ("kube-pods-a_b.slice:cri:x", False, "cri-x.scope", "kube-pods-a_b.slice",
     "/kube.slice/kube-pods.slice/kube-pods-a_b.slice/cri-x.scope"),
    ("-.slice:a:b", False, "a-b.scope", "-.slice", "/a-b.scope"),
    ("a.slice::b", False, "b.scope", "a.slice", "/a.slice/b.scope"),
    ("a.slice:ignored:a-b.slice", False, "a-b.slice", "a.slice", "/a.slice/a-b.slice"),
    ("::b.slice", False, "b.slice", "", "/b.slice"), ("-.slice::b.slice", False, "b.slice", "", "/b.slice"),
])
def test_a_container_gets_its_unit(path, user, unit, slice, cgroup):
    found = units.place(path, "web", user=user)

    assert (unit, slice, cgroup) == (found.name, found.slice, found.path)


@pytest.mark.parametrize("path", ["/a/b", "a:b", "a:b:c:d", "web"])
def test_another_form_of_path_is_refused(path):
    with pytest.raises(SpecError, match=f'format "slice:prefix:name" for systemd cgroups, got "{path}" instead'):
        units.place(path, "web", user=False)


@pytest.mark.parametrize("path", [
    "system:a:b", "a.scope:a:b", ".slice:a:b", "-a.slice:a:b", "a-.slice:a:b", "a--b.slice:a:b", "../x.slice:a:b",
    "a/b.slice:a:b",
    "a.slice:b:", "a.slice:b:c+d", "a.slice:b/c:d", "a.slice:..:x/../y", "x.slice::a-b.slice", "::-.slice",
    f"::{'x' * 250}",
    "a.slice:.b:c", "a.slice:b:c\nd", "a.slice:b:é",
])
def test_names_that_systemd_would_not_take_are_refused(path):
    with pytest.raises(SpecError):
        units.place(path, "web", user=False)


def test_an_id_that_is_no_units_name_is_refused():
    with pytest.raises(SpecError, match="permits no"):
        units.place(None, "a+b", user=False)


@pytest.mark.parametrize(("name", "path"), [
    ("capsule-web.scope", "capsule_2dweb_2escope"), ("1a.slice", "_31a_2eslice"), ("a1.slice", "a1_2eslice"),
])
def test_object_paths_are_escaped(name, path):
    assert f"/org/freedesktop/systemd1/unit/{path}" == units.object_path(name)


def test_without_systemd_nothing_of_its_driver_is_loaded():
    script = ("import sys; from capsule import cgroups; cgroups.from_record({'': '/x'}, []);"
              "cgroups.open_manager('/x', 'x');"
              "print([name for name in sys.modules if name.startswith('capsule.cgroups.systemd')])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == "[]\n"
