"""The Vagrantfile is one that vagrant takes; its machines cannot be started here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from helpers.requires import requires

pytestmark = requires("vagrant")

VAGRANT = Path(__file__).resolve().parents[2] / "vagrant"


def validate(place: Path, text: str) -> subprocess.CompletedProcess:
    """Let vagrant judge a Vagrantfile of this text that lies beside the guest's scripts."""
    directory = place / "vagrant"
    shutil.copytree(VAGRANT / "guest", directory / "guest")
    (directory / "Vagrantfile").write_text(text, encoding="utf-8")
    environment = {**os.environ, "VAGRANT_HOME": str(place / "home"), "HOME": str(place)}
    return subprocess.run(["vagrant", "validate"], cwd=directory, env=environment, capture_output=True, text=True,
                          timeout=300, check=False)


def test_the_vagrantfile_is_valid(tmp_path):
    done = validate(tmp_path, (VAGRANT / "Vagrantfile").read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_would_be_told(tmp_path):
    text = (VAGRANT / "Vagrantfile").read_text(encoding="utf-8")
    done = validate(tmp_path, text.replace("machine.memory", "machine.memroy"))
    assert done.returncode != 0
    assert "memroy" in done.stdout + done.stderr
