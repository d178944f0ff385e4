"""The freestanding programs (csrc/tail.c, csrc/relay.c): compiled, stripped, and written as C arrays.

Each names its compiler flags in its first line: `/* build: -Os -nostdlib ... */`.
"""

from __future__ import annotations

import os
import shlex
import subprocess

NAMES = ("tail", "relay")
GENERATED = "build/generated"
EMBEDDED = f"{GENERATED}/embedded_programs.c"


def flags_of(source: str) -> list[str]:
    """Read the compiler flags from the `/* build: ... */` line of a freestanding program."""
    with open(source, encoding="utf-8") as file:
        head = file.readline().strip()
    prefix, suffix = "/* build:", "*/"
    if not (head.startswith(prefix) and head.endswith(suffix)):
        raise SystemExit(f"{source}: the first line must be {prefix} FLAGS {suffix}")
    return shlex.split(head[len(prefix) : -len(suffix)])


def compile_program(name: str, compiler: list[str], *, defines: tuple[str, ...] = (), directory: str = GENERATED) -> str:
    """Compile and strip one program unless it is newer than all of csrc; return its path."""
    source, target = f"csrc/{name}.c", f"{directory}/{name}"
    os.makedirs(directory, exist_ok=True)
    command = [*compiler, *flags_of(source), *defines, "-Icsrc", "-o", target + ".tmp", source]
    newest = max(os.stat(f"csrc/{entry}").st_mtime_ns for entry in os.listdir("csrc"))
    stamp = f"{target}.cmd"
    try:
        with open(stamp, encoding="utf-8") as file:
            same = file.read() == shlex.join(command)
        if same and os.stat(target).st_mtime_ns > newest:
            return target
    except FileNotFoundError:
        pass
    subprocess.run(command, check=True)
    subprocess.run(["strip", "--strip-all", "-R", ".comment", "-R", ".note.gnu.build-id", target + ".tmp"], check=True)
    os.replace(target + ".tmp", target)
    with open(stamp, "w", encoding="utf-8") as file:
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
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def embed(compiler: list[str], *, defines: tuple[str, ...] = (), directory: str = GENERATED) -> str:
    """Build the programs and write embedded_programs.c; return its path."""
    parts = ["/* Made by build_support/programs.py. */\n#include <stddef.h>\n"]
    for name in NAMES:
        if not os.path.exists(f"csrc/{name}.c"):
            parts.append(as_array(name, b"#!/nonexistent\n"))
            continue
        with open(compile_program(name, compiler, defines=defines, directory=directory), "rb") as file:
            parts.append(as_array(name, file.read()))
    target = f"{directory}/embedded_programs.c"
    write_if_changed(target, "\n".join(parts))
    return target
