""".dockerignore: which files of a context are not there. The last pattern that matches decides."""

from __future__ import annotations

import re

from capsule.errors import ImageError

_PATTERNS_MAX = 10_000


class Ignored:
    """The patterns of a file."""

    def __init__(self, text: str = "") -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in text.splitlines():
            word = line.strip()
            if not word or word.startswith("#"):
                continue
            keeps = word.startswith("!")
            path = "/".join(part for part in word[keeps:].strip().split("/") if part not in ("", "."))
            if path:
                self._rules.append((keeps, _pattern(path)))
        if len(self._rules) > _PATTERNS_MAX:
            raise ImageError("read", ".dockerignore", f"more than {_PATTERNS_MAX} patterns")
        self.has_exceptions = any(keeps for keeps, _ in self._rules)

    def hides(self, path: str) -> bool:
        """Tell whether a path, relative to the context, is left out: by its own name or that of a directory above."""
        hidden = False
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for keeps, pattern in self._rules:
            if keeps == hidden and any(pattern.fullmatch(name) for name in above):
                hidden = not keeps
        return hidden


def component(pattern: str) -> re.Pattern[str]:
    """Return what a name must match for a pattern with *, ? and [...]. Raises ImageError."""
    return re.compile(_translate(pattern), re.DOTALL)


def _pattern(path: str) -> re.Pattern[str]:
    parts = []
    for part in path.split("/"):
        parts.append("(?:[^/]+/)*" if part == "**" else _translate(part) + "/")
    text = "".join(parts)
    # "**" at the end means all below; elsewhere the slash behind the last name is one too many.
    return re.compile(text + ".+" if path.endswith("**") else text[:-1], re.DOTALL)


def _translate(part: str) -> str:
    found, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            found += "[^/]*"
        elif char == "?":
            found += "[^/]"
        elif char == "[":
            end = part.find("]", at + 1)
            if end < 0:
                raise ImageError("read pattern", repr(part), "a [ has no end")
            inside = part[at:end].replace("\\", "\\\\").replace("[", "\\[")
            found += f"[{'^' + inside[1:] if inside[:1] in ('^', '!') else inside}]"
            at = end + 1
        elif char == "\\" and at < len(part):
            found += re.escape(part[at])
            at += 1
        else:
            found += re.escape(char)
    return found
