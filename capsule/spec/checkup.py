"""All problems of a config.json: the one checker (load.py) runs, what it finds is repaired in a copy, it runs again.

So nothing is checked in two ways, and loading for real stops at the first problem as ever. A repair is a suggestion
where there is one, else the value goes; a second problem of one place is the repair's and is not told.
"""

from __future__ import annotations

from capsule._ext.json import JSONError, loads
from capsule.errors import CapsuleError, Unsupported
from capsule.linux.names import CAPABILITIES
from capsule.spec import check, load, suggest
from capsule.spec.mount_options import WORDS
from capsule.spec.schema import CAPABILITY_SETS, CONFIG

CONFIG_PROBLEM = "config"  # load_config would refuse it, or do something else than meant
UNSUPPORTED = "unsupported"  # this version does not have it
HOST = "host"  # this machine does not have it
NOTE = "note"  # it has no effect

_ROUNDS_MAX = 1000
# What stands in for a required value that is missing, so that the rest can be looked at.
_STAND_INS = {
    "ociVersion": "1.0.0", "root": {"path": "rootfs"}, "root.path": "rootfs", "process.cwd": "/",
    "process.args": ["sh"],
    "linux.uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
    "linux.gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
    "linux.seccomp.defaultAction": "SCMP_ACT_ALLOW",
}
# Words of file systems that look like a mistyped word of ours.
_DATA_WORDS = ("newinstance", "nsdelegate", "noswap", "acl", "noacl", "noload", "nodiscard", "discard", "nobarrier")


class Problem:
    """One finding: JSON path, what is wrong, a suggestion or "", and the kind."""

    __slots__ = ("path", "cause", "suggestion", "kind")

    def __init__(self, path: str, cause: str, suggestion: str = "", kind: str = CONFIG_PROBLEM) -> None:
        self.path = path
        self.cause = cause
        self.suggestion = suggestion
        self.kind = kind


def examine(data: bytes):
    """Return (problems, Config): the Config of the repaired document, None where it could not be repaired.

    Nothing of the host is looked at.
    """
    try:
        tree = loads(data)
    except JSONError as err:
        return [Problem(err.path, str(err))], None
    document = _Document(tree)
    config = document.load()
    return document.problems + _words(loads(data)), config


class _Document:
    """A tree under repair; `origins` tell where the elements of a shortened list stood."""

    __slots__ = ("tree", "problems", "told", "origins")

    def __init__(self, tree) -> None:
        self.tree = tree
        self.problems: list[Problem] = []
        self.told: list[str] = []
        self.origins: dict[int, list[int]] = {}

    def load(self):
        """Load and repair until it loads; None where a repair fails."""
        for _ in range(_ROUNDS_MAX):
            try:
                return load.build_config(self.tree, b"{}")
            except CapsuleError as err:
                steps = parse_path(err.subject)
                place = self._origin(steps)
                again = place in self.told
                mended = not again and self._tell(err, steps, place)
                if not steps or not (mended or self._repair(steps, again)):
                    return None
        return None

    def _tell(self, err: CapsuleError, steps: list, place: str) -> bool:
        """Note a problem; True where its suggestion has repaired it."""
        self.told.append(place)
        kind = UNSUPPORTED if isinstance(err, Unsupported) else CONFIG_PROBLEM
        parent, key = self._find(steps)
        suggestion = ""
        if kind == CONFIG_PROBLEM and parent is not None:
            suggestion, value = _suggest(steps, parent[key])
            if suggestion:
                parent[key] = value
        cause = err.cause.partition("; did you mean")[0] if suggestion else err.cause
        self.problems.append(Problem(place, cause, suggestion, kind))
        return bool(suggestion)

    def _repair(self, steps: list, again: bool) -> bool:
        """Take away what is wrong, `again` and with it what lies around; False where nothing can be done."""
        parent, key = self._find(steps)
        if parent is not None and not again:
            self._drop(parent, key)
            return True
        name = check.path_of(_place(steps))
        return (name in _STAND_INS and self._stand_in(steps, _STAND_INS[name])) or self._drop_around(steps)

    def _stand_in(self, steps: list, value) -> bool:
        parent = self._reach(steps[:-1])
        if not isinstance(parent, dict) or parent.get(steps[-1]) == value:
            return False
        parent[steps[-1]] = value
        return True

    def _drop_around(self, steps: list) -> bool:
        """Remove the list's element, or else the object, that a problem lies in."""
        for size in range(len(steps) - 1, 0, -1):
            if isinstance(steps[size - 1], int):
                parent, key = self._find(steps[:size])
                if parent is not None:
                    self._drop(parent, key)
                    return True
        for size in range(len(steps) - 1, 1, -1):
            parent, key = self._find(steps[:size])
            if parent is not None:
                self._drop(parent, key)
                return True
        return False

    def _drop(self, parent, key) -> None:
        if isinstance(parent, list):
            self.origins.setdefault(id(parent), list(range(len(parent)))).pop(key)
        del parent[key]

    def _reach(self, steps: list):
        """Return the value at a place, None where there is none."""
        value = self.tree
        for step in steps:
            key = _key(value, step)
            if key is None:
                return None
            value = value[key]
        return value

    def _find(self, steps: list):
        """Return (container, key) of a place that is there, (None, None) otherwise."""
        if not steps:
            return None, None
        parent = self._reach(steps[:-1])
        key = _key(parent, steps[-1])
        return (None, None) if key is None else (parent, key)

    def _origin(self, steps: list) -> str:
        """Render a place with the indices that the document was given with."""
        place = None
        value = self.tree
        for step in steps:
            key = _key(value, step)
            shown = step
            if isinstance(value, list) and isinstance(step, int):
                moved = self.origins.get(id(value))
                shown = moved[step] if moved is not None and step < len(moved) else step
            place = _below(place, shown)
            value = None if key is None else value[key]
        return check.path_of(place)


def _below(place, step):
    """Return the place of a step below another, as check.path_of reads it."""
    return (place, step)


def _place(steps: list):
    place = None
    for step in steps:
        place = _below(place, step)
    return place


def _key(value, step):
    """Return the key or index by which a value has a step; a key in any case, as the checker reads it."""
    if isinstance(value, list) and isinstance(step, int):
        return step if step < len(value) else None
    if isinstance(value, dict) and isinstance(step, str):
        if step in value:
            return step
        for key in value:
            if key.lower() == step.lower():
                return key
    return None


def parse_path(text: str) -> list:
    """Read what check.path_of has rendered: keys as strings, indices as numbers; [] for what is no path."""
    steps: list = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            quoted = text.startswith('["', at)
            end = text.find('"]' if quoted else "]", at + 1 + quoted)
            if end < 0:
                return []
            inside = text[at + 1 + quoted : end]
            steps.append(inside if quoted else int(inside))
            at = end + 1 + quoted
            continue
        at += text[at] == "."
        end = at
        while end < len(text) and text[end] not in ".[":
            end += 1
        if end == at:
            return []
        steps.append(text[at:end])
        at = end
    return steps


def _rule_at(steps: list):
    """Return the schema's rule for a place, None where it has none."""
    rule: tuple = CONFIG
    for step in steps:
        if rule[0] == check.OBJECT and isinstance(step, str):
            if step not in rule[1]:
                return None
            rule = rule[1][step]
        elif rule[0] in (check.LIST, check.MAP):
            rule = rule[1]
        else:
            return None
    return rule


def _suggest(steps: list, value) -> tuple:
    """Return (the suggestion as JSON text, its value), ("", None) where nothing comes to mind."""
    rule = _rule_at(steps)
    if rule is None:
        return "", None
    kind = rule[0]
    if isinstance(value, str):
        if kind == check.WORD or (steps[0] == "mounts" and len(steps) == 4 and steps[2] == "options"):
            found = suggest.nearest(value, rule[1] if kind == check.WORD else WORDS)
            return (f'"{found}"', found) if found else ("", None)
        if kind == check.INT and value.isascii() and value.isdigit() and rule[1] <= int(value[:20]) <= rule[2]:
            return value, int(value)
        if kind == check.BOOL and value in ("true", "false"):
            return value, value == "true"
    if kind == check.LIST and rule[1][0] == check.STRING and isinstance(value, str):
        return f"[{check.quote(value)}]", [value]
    if kind == check.STRING and type(value) is int:
        return f'"{value}"', str(value)
    return "", None


def _words(tree) -> list[Problem]:
    """Find the words that the loader passes over: unknown keys, capabilities, words for a file system."""
    found: list[Problem] = []
    _unknown_keys(tree, CONFIG, None, found)
    if not isinstance(tree, dict):
        return found
    process = tree.get("process")
    sets = process.get("capabilities") if isinstance(process, dict) else None
    for name in CAPABILITY_SETS:
        listed = sets.get(name) if isinstance(sets, dict) else None
        for index, word in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(word, str) and word not in CAPABILITIES:
                near = suggest.nearest(word, CAPABILITIES)
                found.append(Problem(f"process.capabilities.{name}[{index}]",
                                     f"no capability is called {check.quote(word)}; it is ignored",
                                     f'"{near}"' if near else ""))
    mounts = tree.get("mounts")
    for index, mount in enumerate(mounts if isinstance(mounts, list) else []):
        options = mount.get("options") if isinstance(mount, dict) else None
        if not isinstance(options, list):
            continue
        for at, word in enumerate(options):
            if isinstance(word, str) and word not in WORDS and word not in _DATA_WORDS and "=" not in word:
                if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
                    continue  # the loader refuses it there
                near = suggest.nearest(word, WORDS)
                if near:
                    found.append(Problem(f"mounts[{index}].options[{at}]",
                                         f"{check.quote(word)} is handed to the file system", f'"{near}"', NOTE))
    return found


def unknown_keys(document: object) -> list[str]:
    """Return the JSON paths of the keys that the specification does not have."""
    found: list[Problem] = []
    _unknown_keys(document, CONFIG, None, found)
    return [problem.path for problem in found]


def _unknown_keys(value, rule: tuple, place, found: list[Problem]) -> None:
    """Find keys that the specification does not have: they are ignored; one like a known key is a mistake."""
    if rule[0] == check.OBJECT and isinstance(value, dict):
        fields = rule[1]
        lower = [name.lower() for name in fields]
        for key, item in value.items():
            if key in fields:
                _unknown_keys(item, fields[key], (place, key), found)
            elif key.lower() not in lower:
                near = suggest.nearest(key, [name for name in fields if name not in value])
                found.append(Problem(check.path_of((place, key)), "is no key of the specification and is ignored",
                                     f'"{near}"' if near else "", CONFIG_PROBLEM if near else NOTE))
    elif rule[0] == check.LIST and isinstance(value, list):
        for index, item in enumerate(value):
            _unknown_keys(item, rule[1], (place, index), found)
    elif rule[0] == check.MAP and isinstance(value, dict):
        for key, item in value.items():
            _unknown_keys(item, rule[1], (place, key), found)
