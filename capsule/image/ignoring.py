""".dockerignore: which files of a context are not there. The last pattern that matches decides."""

from __future__ import annotations

from capsule.errors import ImageError
from capsule.image import patterns

_PATTERNS_MAX = 10_000


class Ignored:
    """The patterns of a file. Raises ImageError for what is none, with the number of its line."""

    def __init__(self, text: str = "") -> None:
        self._rules: list[tuple[bool, patterns.Path]] = []
        for number, line in enumerate(text.splitlines(), 1):
            word = line.strip()
            if not word or word.startswith("#"):
                continue
            keeps = word.startswith("!")
            try:
                pattern = patterns.Path(word[keeps:].strip())
            except ImageError as err:
                raise ImageError(f"read .dockerignore line {number}", err.subject, err.cause) from err
            if pattern:
                self._rules.append((keeps, pattern))
        if len(self._rules) > _PATTERNS_MAX:
            raise ImageError("read", ".dockerignore", f"more than {_PATTERNS_MAX} patterns")
        self.is_empty = not self._rules
        self.has_exceptions = any(keeps for keeps, _ in self._rules)

    def hides(self, path: str) -> bool:
        """Tell whether a path, relative to the context, is left out: by its own name or that of a directory above."""
        hidden = False
        parts = path.split("/")
        for keeps, pattern in self._rules:
            if keeps == hidden and pattern.fits(parts):
                hidden = not keeps
        return hidden
