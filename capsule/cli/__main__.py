"""`python -I -m capsule.cli`: the full reader, started by the launcher for command lines that are not plain."""

from __future__ import annotations

import sys

from capsule.cli.front import main

sys.exit(main(["capsule", *sys.argv[1:]]))
