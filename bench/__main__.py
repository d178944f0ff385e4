"""`python bench` and `python -m bench`: see main.py."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "tests")]

from bench.main import main  # noqa: E402 - the path comes first

sys.exit(main())
