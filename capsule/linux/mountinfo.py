"""/proc/<pid>/mountinfo as tuples (man 5 proc_pid_mountinfo)."""

from __future__ import annotations

import posix

# The order of a parsed entry's items.
MOUNT_ID, PARENT_ID, DEVICE, ROOT, MOUNT_POINT, OPTIONS, OPTIONAL, TYPE, SOURCE, SUPER_OPTIONS = range(10)

_CHUNK = 1 << 16


def read_text(path: str) -> str:
    """Return all of a /proc file; bytes that are not UTF-8 survive as surrogates."""
    fd = posix.open(path, posix.O_RDONLY)
    try:
        data = posix.read(fd, _CHUNK)
        if data:
            # seq_file hands out less than asked for, so only an empty read is the end.
            while more := posix.read(fd, _CHUNK):
                data += more
    finally:
        posix.close(fd)
    return data.decode("utf-8", "surrogateescape")


def unescape(word: str) -> str:
    """Undo the kernel's octal escapes of blank, tab, newline and backslash."""
    if "\\" not in word:
        return word
    parts = word.split("\\")
    for index in range(1, len(parts)):
        part = parts[index]
        parts[index] = chr(int(part[:3], 8)) + part[3:]
    return "".join(parts)


def parse_line(line: str) -> tuple:
    """Return one line as a tuple in the order of the constants above; OPTIONAL is a list, the ids are int."""
    head, _, tail = line.partition(" - ")
    fields = head.split(" ")
    kind, source, super_options = tail.split(" ", 2)
    return (
        int(fields[0]), int(fields[1]), fields[2], unescape(fields[3]), unescape(fields[4]), fields[5], fields[6:],
        kind, unescape(source), super_options,
    )  # fmt: skip


def parse(text: str) -> list[tuple]:
    """Return every mount of a mountinfo text, in the kernel's order."""
    return [parse_line(line) for line in text.splitlines() if line]


def parse_cgroups(text: str) -> list[tuple]:
    """Return only the cgroup and cgroup2 mounts, without looking closely at any other line."""
    found = []
    position = text.find(" - cgroup")
    while position >= 0:
        start = text.rfind("\n", 0, position) + 1
        end = text.find("\n", position)
        entry = parse_line(text[start : end if end >= 0 else len(text)])
        if entry[TYPE] in ("cgroup", "cgroup2"):
            found.append(entry)
        position = text.find(" - cgroup", position + 1)
    return found
