"""The known word that a wrong one was probably meant to be. Only asked after a mistake."""

from __future__ import annotations

_ALIASES = {"mnt": "mount"}


def nearest(word: str, words) -> str:
    """Return the one of `words` that differs in case, prefix (CAP_), ending or few letters; "" if none does."""
    known = [each for each in words if each]
    lower = word.lower()
    if not lower or word in known:
        return ""
    if _ALIASES.get(lower) in known:
        return _ALIASES[lower]
    for matches in (_same, _tail, _head):
        found = [each for each in known if matches(lower, each.lower())]
        if len(found) == 1:
            return found[0]
    return _closest(lower, known)


def _same(word: str, known: str) -> bool:
    return word.replace("-", "_") == known


def _tail(word: str, known: str) -> bool:
    return known.endswith("_" + word)


def _head(word: str, known: str) -> bool:
    return len(word) >= 3 and known.startswith(word)


def _closest(word: str, known: list[str]) -> str:
    """Return the word fewest edits away: at most two, of short words one (two neighbours changed over are two)."""
    best, least = "", (2 if len(word) > 3 else 1) + 1
    for each in known:
        edits = distance(word, each.lower())
        if edits < least:
            best, least = each, edits
    return best


def distance(left: str, right: str) -> int:
    """Return the number of single-character edits between two words, 3 for "too many"."""
    if abs(len(left) - len(right)) > 2:
        return 3
    row = list(range(len(right) + 1))
    for i, a in enumerate(left):
        previous, row[0] = row[0], i + 1
        for j, b in enumerate(right):
            previous, row[j + 1] = row[j + 1], min(row[j] + 1, row[j + 1] + 1, previous + (a != b))
    return row[-1]
