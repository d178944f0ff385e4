"""Turn samples into medians and ratios; write them as JSON, as a table and as a plot."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

BASE = "crun"

# row → targets of capsule against crun: (wall, cpu)
TARGETS = {
    "run, pauses": (0.55, 1.0), "run, back to back": (0.85, 1.0), "create, pauses": (0.50, None),
    "exec, pauses": (0.45, None), "exec, back to back": (1.0, None), "start": (1.0, None), "kill": (1.0, None),
    "library: run to exit, destroy": (1.0, None), "delete": (1.0, None), "state": (1.0, None), "list": (1.0, None),
    "engine-like run, pauses": (0.55, 1.0), "engine-like run, back to back": (0.85, 1.0),
}


def summary(samples: dict[str, dict[str, list]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return row → runtime → medians in ms and their ratios to BASE."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row, by_runtime in samples.items():
        found[row] = {}
        for name, values in by_runtime.items():
            if values:
                found[row][name] = {"wall": median(v[0] for v in values), "cpu": median(v[1] for v in values),
                                    "runs": len(values)}
        base = found[row].get(BASE)
        for entry in found[row].values():
            if base:
                entry["wall_ratio"] = entry["wall"] / base["wall"]
                entry["cpu_ratio"] = entry["cpu"] / max(base["cpu"], 0.001)
    return found


def _cell(entry: dict[str, float] | None) -> str:
    if not entry:
        return "– | –"
    ratio = f"{entry['wall_ratio']:.2f} / {entry['cpu_ratio']:.2f}" if "wall_ratio" in entry else "–"
    return f"{entry['wall']:.2f} / {entry['cpu']:.2f} | {ratio}"


def table(rows: dict, memory: dict, names: list[str]) -> str:
    """Return markdown: wall / CPU in ms and their ratios to BASE, for each runtime."""
    head = " | ".join(f"{name} | {name} : {BASE}" for name in names)
    lines = [f"| ms, wall / CPU | {head} | target |", "|" + "---|" * (2 + 2 * len(names))]
    for row, entries in rows.items():
        target = " / ".join("–" if limit is None else f"≤ {limit:.2f}" for limit in TARGETS.get(row, ()))
        cells = " | ".join(_cell(entries.get(name)) for name in names)
        lines.append(f"| {row} | {cells} | {target} |")
    lines += ["", "| KiB, Pss / private | " + " | ".join(names) + " |", "|" + "---|" * (1 + len(names))]
    for row, entries in memory.items():
        cells = " | ".join(f"{entries[name]['pss']} / {entries[name]['private']}" if name in entries else "–"
                           for name in names)
        lines.append(f"| {row} | {cells} |")
    return "\n".join(lines) + "\n"


COLORS = {"capsule": "#2f6f9f", "crun": "#b9b9b9", "runc": "#d98c4a"}
LABEL, SCALE, BAR, GAP = 230, 220, 11, 12


def plot(rows: dict, names: list[str], title: str) -> str:
    """Return an SVG of the wall ratios to BASE, a group of bars for each row."""
    group = BAR * len(names) + GAP
    height = 60 + group * len(rows)
    width = LABEL + SCALE * 3
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="8" y="20" font-size="14">{escape(title)}</text>']
    for index, name in enumerate(names):
        parts.append(f'<rect x="{LABEL + 110 * index}" y="30" width="10" height="10" '
                     f'fill="{COLORS.get(name, "#777")}"/>'
                     f'<text x="{LABEL + 14 + 110 * index}" y="40">{escape(name)}</text>')
    for row_index, (row, entries) in enumerate(rows.items()):
        top = 54 + group * row_index
        parts.append(f'<text x="8" y="{top + BAR * len(names) / 2 + 4}">{escape(row)}</text>')
        for index, name in enumerate(names):
            ratio = entries.get(name, {}).get("wall_ratio")
            if ratio is None:
                continue
            y = top + BAR * index
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{min(ratio, 2.7) * SCALE:.1f}" height="{BAR - 1}" '
                         f'fill="{COLORS.get(name, "#777")}"/>'
                         f'<text x="{LABEL + min(ratio, 2.7) * SCALE + 4:.1f}" y="{y + 9}" '
                         f'font-size="10">{ratio:.2f}</text>')
    x = LABEL + SCALE
    parts.append(f'<line x1="{x}" y1="48" x2="{x}" y2="{height - 6}" stroke="black" stroke-dasharray="3 3"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(directory: Path, label: str, document: dict, text: str, picture: str) -> list[Path]:
    """Write the three files and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [(f"{label}.json", json.dumps(document, indent=1) + "\n"), (f"{label}.md", text),
             (f"{label}.svg", picture)]
    paths = []
    for name, content in files:
        (directory / name).write_text(content, encoding="utf-8")
        paths.append(directory / name)
    return paths
