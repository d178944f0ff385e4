"""What an image may say of how it is run, and what it may not."""

from __future__ import annotations

import pytest

from capsule.bundle import confinement, image as images
from capsule.errors import ImageError


def wish(**changed: object) -> dict:
    return {"image": "img", "command": ["true"], "user": "", "cwd": "", "entrypoint": None, "env": [],
            "terminal": False, "hostname": "h", "readonly": False, "labels": {}, "mounts": [], "resources": {},
            "cap_add": [], "cap_drop": [], "confinement": confinement.parse([]), "devices": [], "init": False,
            "host_network": False, **changed}


def test_labels_of_an_image_tell_systemd_and_the_runtime_nothing(tmp_path) -> None:
    image = {"Labels": {"org.systemd.property.MemoryMax": "uint64 1", "run.oci.keep_original_groups": "1",
                        "version": "2"}}
    tree, _ = images.compile(image, [str(tmp_path)], wish(labels={"org.systemd.property.TasksMax": "uint64 5"}))
    assert tree["annotations"] == {"version": "2", "org.systemd.property.TasksMax": "uint64 5"}


@pytest.mark.parametrize(("text", "expected"), [("", (0, 0)), ("12", (12, 0)), ("12:34", (12, 34))])
def test_numbers_need_no_passwd(tmp_path, text, expected) -> None:
    tree, _ = images.compile({"User": text}, [str(tmp_path)], wish())
    assert (tree["process"]["user"]["uid"], tree["process"]["user"]["gid"]) == expected


@pytest.mark.parametrize("text", ["name", "1:2:3", "1:name", "9" * 5000, "\u0661"])
def test_other_users_are_refused_without_a_passwd(tmp_path, text) -> None:
    with pytest.raises(ImageError, match="no /etc/passwd"):
        images.compile({"User": text}, [str(tmp_path)], wish())
