"""The freestanding programs (csrc/tail.c, csrc/relay.c, csrc/attend.c): compiled, stripped, and written as C arrays.

Each says in its first lines how it is built:

    /* build: -Os -nostdlib ... */        the compiler's flags
    /* sources: rt.c plan.c */            further files of csrc/ (optional)
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess

NAMES = ("tail", "relay", "monitor", "attend")
GENERATED = "build/generated"
EMBEDDED = f"{GENERATED}/embedded_programs.c"
UNWANTED_SECTIONS = (".comment", ".note.gnu.build-id", ".note.gnu.property")


def header(source: str, key: str) -> list[str]:
    """Read the words of a `/* key: words */` line at the head of a program's source."""
    pattern = re.compile(rf"/\* {key}: (.*) \*/")
    with open(source, encoding="utf-8") as file:
        matches = (pattern.fullmatch(file.readline().rstrip()) for _ in range(2))
        return next((shlex.split(match[1]) for match in matches if match), [])


def sources_of(name: str) -> list[str]:
    """List the files that a program consists of."""
    source = f"csrc/{name}.c"
    return [source, *(f"csrc/{other}" for other in header(source, "sources"))]


def is_current(target: str, command: list[str]) -> bool:
    """Tell whether the program was made by this command after the last change of any file of csrc/."""
    try:
        with open(f"{target}.cmd", encoding="utf-8") as file:
            same = file.read() == shlex.join(command)
        newest = max(entry.stat().st_mtime_ns for entry in os.scandir("csrc"))
        return same and os.stat(target).st_mtime_ns > newest
    except FileNotFoundError:
        return False


def compile_program(name: str, compiler: list[str], *, flags: tuple[str, ...], directory: str) -> str:
    """Compile and strip one program unless it is current; return its path."""
    target = f"{directory}/{name}"
    os.makedirs(directory, exist_ok=True)
    own = header(f"csrc/{name}.c", "build")
    if not own:
        raise SystemExit(f"csrc/{name}.c: the first line must be /* build: FLAGS */")
    command = [*compiler, *own, *flags, "-Icsrc", "-Wl,--fatal-warnings", *sources_of(name), "-o", target + ".tmp"]
    if is_current(target, command):
        return target
    if subprocess.run(command).returncode:
        raise SystemExit(f"cannot build csrc/{name}.c: {shlex.join(command)}")
    removals = [word for section in UNWANTED_SECTIONS for word in ("-R", section)]
    subprocess.run(["strip", "--strip-all", *removals, target + ".tmp"], check=True)
    os.replace(target + ".tmp", target)
    with open(f"{target}.cmd", "w", encoding="utf-8") as file:
        file.write(shlex.join(command))
    return target


def as_array(name: str, image: bytes) -> str:
    """Write an image as the C definitions capsule_NAME_image and capsule_NAME_size."""
    rows = (image[i : i + 24] for i in range(0, len(image), 24))
    body = "\n".join("\t" + ",".join(map(str, row)) + "," for row in rows)
    return (
        f"extern const unsigned char capsule_{name}_image[];\nextern const size_t capsule_{name}_size;\n"
        f"const unsigned char capsule_{name}_image[] = {{\n{body}\n}};\n"
        f"const size_t capsule_{name}_size = sizeof(capsule_{name}_image);\n"
    )


def write_if_changed(path: str, text: str) -> None:
    """Replace a generated file only when its text differs, so that nothing is rebuilt in vain."""
    try:
        with open(path, "rb") as file:
            if file.read() == text.encode():
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def embed(compiler: list[str], *, flags: tuple[str, ...] = (), directory: str = GENERATED) -> str:
    """Build the programs and write embedded_programs.c; return its path."""
    parts = ["/* Made by build_support/programs.py. */\n#include <stddef.h>\n"]
    for name in NAMES:
        if not os.path.exists(f"csrc/{name}.c") or not all(map(os.path.exists, sources_of(name))):
            print(f"warning: csrc/{name}.c is incomplete: this build cannot start containers")
            parts.append(as_array(name, b"#!/nonexistent\n"))
            continue
        with open(compile_program(name, compiler, flags=flags, directory=directory), "rb") as file:
            parts.append(as_array(name, file.read()))
    target = f"{directory}/embedded_programs.c"
    write_if_changed(target, "\n".join(parts))
    return target
