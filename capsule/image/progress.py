"""How far a long command is: a bar that is drawn again on a terminal, a plain line for each step elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from capsule import log

_FD = 2
_WIDTH = 30
_REDRAW = 0.1  # seconds
_MB = 1_000_000


class Progress:
    """Steps of one command, told on standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._terminal = os.isatty(_FD)

    def line(self, text: str) -> None:
        """Tell a step, which may be in an image's words."""
        if not self.quiet:
            self._write(f"{log.plain(text)}\n")

    def layer(self, number: int, count: int, descriptor: dict) -> Callable[[int], None] | None:
        """Tell that a layer is unpacked now; returns what is told how many of its bytes were read."""
        name = f"layer {number + 1}/{count} {descriptor['digest'].rpartition(':')[2][:12]}"
        if not self._terminal or self.quiet:
            self.line(f"unpacking {name} ({descriptor['size'] / _MB:.1f} MB)")
            return None
        return self._bar(f"unpacking {name}", descriptor["size"])

    def _bar(self, title: str, total: int) -> Callable[[int], None]:
        drawn = 0.0

        def draw(done: int) -> None:
            nonlocal drawn
            now = time.monotonic()
            if now - drawn < _REDRAW and done < total:
                return
            drawn = now
            full = _WIDTH * min(done, total) // max(total, 1)
            end = "\n" if done >= total else ""
            self._write(f"\r{title} [{'=' * full}{' ' * (_WIDTH - full)}] {done / _MB:.1f}/{total / _MB:.1f} MB{end}")

        finished = False

        def once(done: int) -> None:
            nonlocal finished
            if not finished:
                draw(done)
                finished = done >= total

        return once

    def _write(self, text: str) -> None:
        try:
            os.write(_FD, text.encode("utf-8", "replace"))
        except OSError:
            pass  # nobody looks
