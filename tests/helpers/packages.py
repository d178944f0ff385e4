"""Roots of images made of this machine's own Debian packages: their files, and the libraries these are linked with."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_LEFT_OUT = re.compile(r"^/usr/share/(doc|man|locale|lintian|bug|mysql/(?!english|charsets|[^/]*\.sql))")


def add_packages(root: Path, *packages: str) -> None:
    """Put the files of installed packages into a root, links followed, and the shared libraries that they need."""
    listed = subprocess.run(["dpkg", "-L", *packages], capture_output=True, text=True, check=True).stdout.splitlines()
    files = [path for path in dict.fromkeys(listed) if not _LEFT_OUT.match(path) and os.path.isfile(path)]
    linked = [path for path in files if os.access(path, os.X_OK) or ".so" in os.path.basename(path)]
    # Scripts and static programs are no failure of ldd's that matters here.
    told = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=False).stdout
    files += re.findall(r"(?:=>\s+|^\s+)(/\S+) \(0x", told, re.MULTILINE)
    names = "\0".join(path.lstrip("/") for path in dict.fromkeys(files)).encode()
    packed = subprocess.Popen(["tar", "-C", "/", "--dereference", "--null", "-T", "-", "-cf", "-"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    unpacked = subprocess.Popen(["tar", "-C", root, "-xf", "-"], stdin=packed.stdout)
    assert packed.stdin is not None and packed.stdout is not None
    packed.stdout.close()
    packed.stdin.write(names)
    packed.stdin.close()
    assert (packed.wait(), unpacked.wait()) == (0, 0)
