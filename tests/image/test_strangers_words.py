"""An image's configuration is a stranger's: odd shapes are refused as it comes in, its text drives no terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule.errors import ImageError
from capsule.image import documents
from capsule.image.store import Store

from .builds import Kit
from .conftest import Cli
from .tars import Layout, rootfs

pytestmark = requires("root")
EVIL = "\x1b]0;owned\x07\n\x9b31mX\rY\tZ"


@pytest.mark.parametrize(("spoiled", "message"), [
    ({"config": {"Shell": "/bin/sh"}}, "config.Shell is not a list"), ({"config": {"OnBuild": [1]}}, "config.OnBuild"),
    ({"config": {"OnBuild": 0}}, "config.OnBuild"), ({"config": {"User": False}}, "config.User"),
    ({"config": {"Healthcheck": []}}, "config.Healthcheck is not an object"),
    ({"config": {"Healthcheck": {"Test": [1]}}}, "config.Healthcheck.Test"),
    ({"config": {"Healthcheck": {"Retries": "3"}}}, "config.Healthcheck.Retries"),
    ({"config": {"Healthcheck": {"Interval": 1.5}}}, "config.Healthcheck.Interval"),
    ({"created": 5}, "created is not a text"), ({"author": []}, "author is not a text"),
    ({"history": ["RUN x"]}, r"history\[0\] is not an object"),
    ({"history": [{}, {"created_by": ["x"]}]}, r"history\[1\].created_by is not a text"),
    ({"history": [{"comment": {}}]}, r"history\[0\].comment"),
])
def test_odd_shapes_are_refused(spoiled, message) -> None:
    with pytest.raises(ImageError, match=f"refuse configuration: {message}"):
        documents.check_config({"rootfs": {"diff_ids": []}, **spoiled}, "configuration", 0)


def test_null_is_as_good_as_absent() -> None:
    keys = ("Env", "Cmd", "Shell", "OnBuild", "User", "Labels", "Volumes", "Healthcheck")
    steps = [{"created": None, "created_by": "x", "comment": None, "author": None}]
    documents.check_config({"rootfs": {"diff_ids": []}, "created": None, "author": None, "history": steps,
                            "config": dict.fromkeys(keys)}, "configuration", 0)
    documents.check_config({"rootfs": {"diff_ids": []}, "history": None, "config": {
        "Healthcheck": {"Test": None, "Interval": None, "Retries": 0}}}, "configuration", 0)


def test_no_listing_is_a_strangers(cli: Cli, memory: Path, store: Store) -> None:
    layout = Layout(memory / "img")
    steps = [{"created": EVIL, "created_by": f"RUN {EVIL}", "comment": EVIL}]
    layout.image(rootfs(**{f"etc/{EVIL[:5]}": ""}), config={"created": EVIL + "x" * 999, "history": steps})
    cli("image", "load", data=layout.archive())
    form = "{{.CreatedAt}}\t{{.Name}}"
    for words, lines in ((("list",), 2), (("list", "--format", form), 1), (("list", "--format", f"table {form}"), 2),
                         (("history", "img:1"), 2), (("diff", "img:1"), None)):
        out = cli("image", *words)
        assert not [char for char in out if char not in "\n\t" and not char.isprintable()], (words, out)
        assert lines in (None, out.count("\n")), (words, out)
        assert words[-1] not in ("list", "img:1") or max(map(len, out.splitlines())) < 200, (words, out)
    (step,) = json.loads(cli("image", "history", "--format", "json", "img:1"))
    assert (step["created"], step["created_by"], step["comment"]) == (EVIL, f"RUN {EVIL}", EVIL)
    assert json.loads(cli("image", "list", "--format", "json"))[0]["created"] == EVIL + "x" * 999
    assert cli("image", "inspect", "--format", "{{.created}}", "img:1") == f"{EVIL}{'x' * 999}\n"


def test_a_build_shows_a_trigger_without_obeying_it(kit: Kit, memory: Path) -> None:
    layout = Layout(memory / "img")
    layout.image(rootfs(), config={"config": {"OnBuild": [f"LABEL a={EVIL[:11]}"]}})
    kit.cli("image", "load", data=layout.archive())
    kit.build("FROM img:1\n")
    assert "LABEL a=?]0;owned?" in kit.told and "\x1b" not in kit.told
    layout = Layout(memory / "second")
    layout.image(rootfs(), config={"config": {"OnBuild": [""]}}, ref="img:2")
    kit.cli("image", "load", data=layout.archive())
    kit.build("FROM img:2\n", rc=1)
    assert kit.told == "build line 1 ONBUILD: it lacks an instruction"
