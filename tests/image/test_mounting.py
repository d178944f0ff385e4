"""An image's tree, mounted and compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers.requires import requires

from .conftest import _START, Cli
from .tars import Layout, member, rootfs, tar

pytestmark = requires("root", "overlay")


def two_layers(cli: Cli, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "img")
    layout.image(rootfs(gone="g"), tar(member("new/", b"5"), member("new/file", data=b"n"), member(".wh.gone"),
                                       member(".wh.never"), member("etc/hostname", data=b"other\n")))
    cli("image", "load", data=layout.archive())


def test_diff_tells_what_the_top_layer_does(cli: Cli, tmp_path: Path) -> None:
    two_layers(cli, tmp_path)
    assert sorted(cli("image", "diff", "img:1").splitlines()) == [
        "A /new", "A /new/file", "C /etc", "C /etc/hostname", "D /gone"]
    assert {"kind": "D", "path": "/gone"} in json.loads(cli("image", "diff", "--format", "json", "img:1"))


def test_a_mounted_image_is_whole_read_only_and_held(cli: Cli, tmp_path: Path) -> None:
    """In a mount namespace of its own, which takes the mount with it."""
    two_layers(cli, tmp_path)
    script = """
set -e
c() { "$PYTHON" -c "$START" --root "$0" "$@"; }
where=$(c image mount img:1)
cat "$where/etc/hostname" "$where/new/file"; echo
test ! -e "$where/gone" && ! touch "$where/x" 2>/dev/null
c image mount | grep -q "$where"
c image delete img:1 2>/dev/null && exit 9
c image umount img:1
c image umount img:1
test ! -e "$where"
c image delete img:1
"""
    environment = {**cli.env, "PYTHON": sys.executable, "START": _START}
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, str(cli.root)], capture_output=True, text=True,
                          env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["other", "n"]
