"""A Dockerfile → instructions. The subset that is built is in docs/build-images.md; the rest is refused by its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from capsule.errors import ImageError, Unsupported
from capsule.image import healthcheck
from capsule.image.documents import SIZE_MAX

WORDS = ("FROM", "RUN", "COPY", "ADD", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD", "LABEL", "EXPOSE", "VOLUME",
         "ARG", "STOPSIGNAL", "SHELL", "HEALTHCHECK", "ONBUILD", "MAINTAINER")
#: Options that an instruction may have; others are refused.
FLAGS = {"COPY": ("from", "chown", "chmod"), "ADD": ("chown", "chmod"), "FROM": (), "RUN": (),
         "HEALTHCHECK": healthcheck.FLAGS}
_NO_TRIGGER = ("FROM", "ONBUILD", "MAINTAINER")
_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(.+?)\s*$")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)")
_HEREDOC = re.compile(r"<<-?[\"']?[A-Za-z_]\w*")


@dataclass
class Instruction:
    """One instruction: `word` in capitals, `rest` behind it and its flags, `line` where it begins, from 1."""

    word: str
    rest: str
    line: int
    flags: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        flags = "".join(f" --{name}={value}" for name, value in self.flags.items())
        return f"{self.word}{flags} {self.rest}"


@dataclass
class Stage:
    """What one FROM begins. base: as it is written; name: of AS, or ""."""

    base: str
    name: str
    line: int
    instructions: list[Instruction] = field(default_factory=list)


@dataclass
class Dockerfile:
    """The file: arguments before the first FROM, and the stages."""

    arguments: list[Instruction]
    stages: list[Stage]
    escape: str


def parse(data: bytes) -> Dockerfile:
    """Read a Dockerfile. Raises ImageError, Unsupported, both with the number of the line."""
    if len(data) > SIZE_MAX:
        raise ImageError("read", "Dockerfile", f"larger than {SIZE_MAX} bytes")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as err:
        raise ImageError("read", "Dockerfile", f"not UTF-8: {err.reason}") from err
    escape = _escape(lines)
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for number, text in _logical(lines, escape):
        found = _instruction(number, text)
        if found.word == "FROM":
            stages.append(_stage(found, stages))
        elif stages:
            stages[-1].instructions.append(found)
        elif found.word == "ARG":
            arguments.append(found)
        else:
            raise ImageError(f"build line {number}", found.word, "only ARG may stand before the first FROM")
    if not stages:
        raise ImageError("build", "Dockerfile", "it has no FROM")
    return Dockerfile(arguments, stages, escape)


def _escape(lines: list[str]) -> str:
    """Read the directives that the file may begin with."""
    for number, line in enumerate(lines, 1):
        found = _DIRECTIVE.match(line.strip())
        if found is None:
            break
        name, value = found[1].lower(), found[2]
        if name == "escape":
            if value not in ("\\", "`"):
                raise ImageError(f"build line {number}", "escape", "expected \\ or `")
            return value
    return "\\"


def _logical(lines: list[str], escape: str) -> list[tuple[int, str]]:
    """Join continued lines; comments and empty lines within are left out, as Docker does."""
    found: list[tuple[int, str]] = []
    parts: list[str] = []
    begin = 0
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if not parts:
            begin = number
        ends = line.rstrip()
        if ends.endswith(escape):
            parts.append(ends[:-1])
            continue
        found.append((begin, "".join([*parts, line]).strip()))
        parts = []
    if parts:
        found.append((begin, "".join(parts).strip()))
    return found


def _instruction(number: int, text: str) -> Instruction:
    word, rest = [*text.split(None, 1), ""][:2]
    word = word.upper()
    if word not in WORDS:
        raise Unsupported(f"build line {number}", word, f"is not built; the instructions are {', '.join(WORDS)}")
    if not rest:
        raise ImageError(f"build line {number}", word, "it lacks its argument")
    if word in ("RUN", "COPY", "ADD") and _HEREDOC.search(rest):
        raise Unsupported(f"build line {number}", word, "here-documents are not built; write a file and COPY it")
    flags: dict[str, str] = {}
    while word in FLAGS and (found := _FLAG.match(rest)):
        if found[1] not in FLAGS[word] or not found[2]:
            known = ", ".join(f"--{name}" for name in FLAGS[word]) or "none"
            raise Unsupported(f"build line {number}", f"{word} --{found[1]}", f"is not built; its options are {known}")
        flags[found[1]], rest = found[2], rest[found.end() :]
    if word == "ONBUILD":
        trigger(number, rest)
    elif word == "HEALTHCHECK":
        _check_health(number, flags, rest)
    return Instruction(word, rest, number, flags)


def trigger(number: int, text: str) -> Instruction:
    """Read what an ONBUILD has done when something is built upon its image. Raises ImageError, Unsupported."""
    word = text.split(None, 1)[0].upper() if text.strip() else ""
    if not word:
        raise ImageError(f"build line {number}", "ONBUILD", "it lacks an instruction")
    if word in _NO_TRIGGER:
        raise ImageError(f"build line {number}", "ONBUILD", f"{word} cannot be done then")
    return _instruction(number, text)


def _check_health(number: int, flags: dict[str, str], rest: str) -> None:
    try:
        healthcheck.parse(flags, rest)
    except ImageError as err:
        raise ImageError(f"build line {number}", "HEALTHCHECK", f"{err.subject}: {err.cause}") from err


def _stage(found: Instruction, stages: list[Stage]) -> Stage:
    words = found.rest.split()
    if len(words) not in (1, 3) or len(words) == 3 and words[1].upper() != "AS":
        raise ImageError(f"build line {found.line}", "FROM", "expected FROM IMAGE [AS NAME]")
    name = words[2].lower() if len(words) == 3 else ""
    if name and (name.isdigit() or any(stage.name == name for stage in stages)):
        raise ImageError(f"build line {found.line}", f"AS {name}", "the name is a number, or taken")
    return Stage(words[0], name, found.line)
