"""Tables as Go's tabwriter lays them out with the widths runc chose: scripts cut them by column."""

from __future__ import annotations

from capsule import log

_MIN_WIDTH = 12
_PADDING = 3


def layout(rows: list) -> str:
    """Return rows of cells as lines; every column but the last is padded. No cell makes lines of its own."""
    if not rows:
        return ""
    rows = [[log.plain(cell) for cell in row] for row in rows]
    widths = [0] * len(rows[0])
    for row in rows:
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], len(cell) + _PADDING, _MIN_WIDTH)
    lines = []
    for row in rows:
        cells = [cell + " " * (widths[column] - len(cell)) for column, cell in enumerate(row[:-1])]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)
