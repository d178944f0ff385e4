"""Make translated modules cheap to load: start-up time of the launcher is the sum of what its modules initialise.

Before Cython: annotations, which nothing reads at run time, are blanked. After it: the code objects that only
introspection would use are left out, and strings come from one table that all modules share
(csrc/launcher_lean.c), so that "surrogateescape" is decoded, hashed and interned once and not in twenty modules.

The second half follows the text that Cython writes. Where a pattern is not found the C is left as it is: slower,
never different.
"""

from __future__ import annotations

import ast
import hashlib
import re

#: Seen in generated C: what starts the file's private table, and what fills it.
_LENGTHS = re.compile(r"str_length_index\[\] = \{(.*?)\};")
_BYTES = re.compile(r"/\* compression: none .*?\n.*?\bbytes(?:\[\])? = (.*?);\n", re.DOTALL)
_PLAIN_BYTES = re.compile(r"\bbytes(?:\[\])? = (\".*?\");\n", re.DOTALL)
_FILL = re.compile(
    r"PyObject \*string = PyUnicode_DecodeUTF8\(bytes \+ pos, bytes_length, NULL\);\n"
    r"( *if \(likely\(string\) && i >= (\d+)\) PyUnicode_InternInPlace\(&string\);\n)?"
)
_DEFINED = re.compile(r"^#define (__pyx_\w+) __pyx_string_tab\[(\d+)\]$", re.MULTILINE)
_CODE_OBJECTS = re.compile(
    r"^(static int __Pyx_CreateCodeObjects\(__pyx_mstatetype \*__pyx_mstate\) \{\n).*?^\}\n", re.MULTILINE | re.DOTALL
)
_COPIED = re.compile(
    r"^    if \(unlikely\(__Pyx_copy_spec_to_module\(spec, moddict, \"\w+\", \"__\w+__\", [01]\) < 0\)\) goto bad;\n",
    re.MULTILINE,
)
_HAS_NAME = "PyObject_HasAttr(imported_module, imported_name)"
_MAKE_CLASS = "__Pyx_PyObject_FastCallDict(metaclass, margs+1, 3 | __Pyx_PY_VECTORCALL_ARGUMENTS_OFFSET, mkw)"


# -- before Cython -------------------------------------------------------------------------------------------


def _blank(lines: list[bytearray], start: tuple[int, int], end: tuple[int, int]) -> None:
    """Overwrite a range with spaces; positions are (line from 1, byte column)."""
    for number in range(start[0], end[0] + 1):
        line = lines[number - 1]
        first = start[1] if number == start[0] else 0
        last = end[1] if number == end[0] else len(line.rstrip(b"\n"))
        line[first:last] = b" " * (last - first)


def _before(lines: list[bytearray], position: tuple[int, int], token: bytes) -> tuple[int, int]:
    """Find the token that stands before a position, possibly on an earlier line."""
    number, column = position
    while True:
        found = lines[number - 1].rfind(token, 0, column)
        if found >= 0:
            return number, found
        number -= 1
        column = len(lines[number - 1])


def _span(node: ast.expr) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)


def strip_annotations(source: str) -> str:
    """Blank every annotation of parameters, results and assigned names; lines and columns stay."""
    lines = [bytearray(line) for line in source.encode().splitlines(keepends=True)]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and node.annotation:
            start, end = _span(node.annotation)
            _blank(lines, _before(lines, start, b":"), end)
        elif isinstance(node, ast.FunctionDef) and node.returns:
            start, end = _span(node.returns)
            _blank(lines, _before(lines, start, b"->"), end)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            start, end = _span(node.annotation)
            _blank(lines, _before(lines, start, b":"), end)
    return b"".join(lines).decode()


# -- after Cython --------------------------------------------------------------------------------------------


def drop_code_objects(text: str) -> str:
    """Leave out the code objects of methods and generators: `__code__` becomes None."""
    return _CODE_OBJECTS.sub(r"\1  (void)__pyx_mstate;\n  return 0;\n}\n", text, count=1)


def _literal(text: str) -> bytes:
    """Read adjacent C string literals."""
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
    return b"".join(ast.literal_eval(f'b"{part}"') for part in parts)


def _strings(text: str) -> list[bytes] | None:
    """Read the strings of a module's private table, or None where the text is not as expected."""
    lengths = _LENGTHS.search(text)
    data = _BYTES.search(text) or _PLAIN_BYTES.search(text)
    if not lengths or not data:
        return None
    raw = _literal(data[1])
    found, position = [], 0
    for length in re.findall(r"\{(\d+)\}", lengths[1]):
        found.append(raw[position : position + int(length)])
        position += int(length)
    return found if position <= len(raw) else None


def key_of(text: bytes, *, interned: bool) -> int:
    """Name a string by 64 bits, never 0; equal in every module, checked for collisions by the linker's caller."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"interned" if interned else b"").digest()) or 1


def _unused(text: str, count: int) -> set[int]:
    """List the entries of the private table that nothing in the module refers to."""
    names = {name: int(index) for name, index in _DEFINED.findall(text) if int(index) < count}
    mentions = re.findall(r"\b__pyx_(?:n|kp)_\w+", text)
    often = {name for name in set(mentions) & set(names) if mentions.count(name) > 1}
    return {index for name, index in names.items() if name not in often}


def share_strings(text: str) -> str:
    """Take a module's strings from the shared table, without those that are not used."""
    fill = _FILL.search(text)
    strings = _strings(text)
    if not fill or not strings or "PyObject **stringtab" not in text:
        return text
    first_interned = int(fill[2]) if fill[2] else len(strings)
    unused = _unused(text, len(strings))
    keys = ",".join(
        "0" if i in unused else f"{key_of(string, interned=i >= first_interned):#x}u"
        for i, string in enumerate(strings)
    )
    start = text.rindex("    PyObject **stringtab", 0, fill.start())
    return (
        text[:start]
        + f"    static const unsigned long long capsule_keys[] = {{{keys}}};\n"
        + text[start : fill.start()]
        + "PyObject *string = capsule_string(capsule_keys[i], bytes + pos, bytes_length, "
        + f"i >= {first_interned});\n"
        + text[fill.end() :]
    )


def spare_attributes(text: str) -> str:
    """Leave out __loader__, __file__ and __package__, and the errors made only to learn that a name is not there."""
    text = _COPIED.sub("", text)
    return text.replace(_HAS_NAME, "capsule_has_name(imported_module, imported_name)")


def make_classes(text: str) -> str:
    """Have classes made by csrc/launcher_types.c, which knows a shorter way than type()."""
    return text.replace(_MAKE_CLASS, "capsule_make_class(metaclass, name, bases, dict, mkw)")


def make_lean(text: str) -> str:
    """Apply all of them to the C text of a module."""
    lean = share_strings(make_classes(spare_attributes(drop_code_objects(text))))
    return '#include "launcher_lean.h"\n' + lean if lean != text else text
