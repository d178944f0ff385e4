"""Make translated modules cheap to load: start-up time of the launcher is the sum of what its modules initialise.

Before Cython: annotations, which nothing reads at run time, are blanked. After it: the code objects that only
introspection would use are left out, strings are objects that the linker has laid out (strings_text()), and the
import statement asks the launcher's table and not importlib's protocol (csrc/launcher_lean.h).

The second half follows the text that Cython writes. Where a pattern is not found the C is left as it is: slower,
never different.
"""

from __future__ import annotations

import ast
import hashlib
import re

#: Seen in generated C: what starts the file's private table of strings, and what fills it.
_LENGTHS = re.compile(r"str_length_index\[\] = \{(.*?)\};")
_BYTES = re.compile(r"/\* compression: none .*?\n.*?\bbytes(?:\[\])? = (.*?);\n", re.DOTALL)
_PLAIN_BYTES = re.compile(r"\bbytes(?:\[\])? = (\".*?\");\n", re.DOTALL)
_FILL = re.compile(
    r"^    for \(int i = 0; i < (\d+); i\+\+\) \{\n"
    r"      Py_ssize_t bytes_length = str_length_index\[i\]\.length;\n.*?^    \}\n",
    re.MULTILINE | re.DOTALL,
)
_HASH = re.compile(r"for \(Py_ssize_t i = 0; (i < \d+; i\+\+\) \{\n +if \(unlikely\(PyObject_Hash\(stringtab\[i\]\))")
_TABLE = "PyObject **stringtab = __pyx_mstate->__pyx_string_tab;\n"
_TABLE_SIZE = re.compile(r"\bPyObject \*__pyx_string_tab\[(\d+)\];")
_DEFINED = re.compile(r"^#define (__pyx_\w+) __pyx_string_tab\[(\d+)\]\n", re.MULTILINE)
_USED = re.compile(r"(&?)__pyx_mstate(?:_global)?->(__pyx_(?:n|kp)_u_\w*)")
_KNOWN_HASH = re.compile(r"\(\(PyASCIIObject ?\*\) ?(\w+)\)->hash\b")
_DECLARED = re.compile(r"^CAPSULE_STRING\((\w+), (\d+), .*\)$", re.MULTILINE)
_CODE_OBJECTS = re.compile(
    r"^(static int __Pyx_CreateCodeObjects\(__pyx_mstatetype \*__pyx_mstate\) \{\n).*?^\}\n", re.MULTILINE | re.DOTALL
)
_COPIED = re.compile(
    r"^    if \(unlikely\(__Pyx_copy_spec_to_module\(spec, moddict, \"\w+\", \"__\w+__\", [01]\) < 0\)\) goto bad;\n",
    re.MULTILINE,
)
_IMPORT = re.compile(r"= __Pyx_Import\(([^,()]+), (\w+), (\d+), NULL, 0\)")
#: What each module does for itself although the launcher has done it, or does it once for all.
_ONCE = (
    ("= __Pyx_ImportFrom(", "= capsule_import_from("),
    ("= __Pyx_PyImport_AddModuleRef(__Pyx_BUILTIN_MODULE_NAME)", "= capsule_module_ref(__Pyx_BUILTIN_MODULE_NAME)"),
    ('= __Pyx_PyImport_AddModuleRef("cython_runtime")', '= capsule_module_ref("cython_runtime")'),
    ("= __Pyx_FetchCommonTypeFromSpec(", "= capsule_common_type(__Pyx_FetchCommonTypeFromSpec, "),
)
_BUILTINS = re.compile(r"^  if \(PyObject_SetAttrString\(__pyx_m, \"__builtins__\", .*\n", re.MULTILINE)
_REGISTERED = re.compile(
    r"^  \{\n    PyObject \*modules = PyImport_GetModuleDict\(\);.*?^  \}\n", re.MULTILINE | re.DOTALL
)
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


def key_of(text: bytes) -> str:
    """Name a string: the same in every module."""
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def static_strings(text: str) -> str:
    """Replace a module's table of strings, made when it is loaded, by objects that strings_text() defines.

    A module with a string that is not ASCII keeps its table.
    """
    fill, strings, size = _FILL.search(text), _strings(text), _TABLE_SIZE.search(text)
    if not fill or not strings or not size or _TABLE not in text:
        return text
    count = int(fill[1])
    if not all(string.isascii() for string in strings[:count]):
        return text
    keys = {name: key_of(strings[int(index)]) for name, index in _DEFINED.findall(text) if int(index) < count}
    lean = _shrink_table(text.replace(fill[0], f"    pos = {sum(map(len, strings[:count]))};\n"), count, int(size[1]))
    used = set()

    def refer(match: re.Match[str]) -> str:
        key = keys[match[2]]
        used.add(key)
        return f"((PyObject **)&capsule_p_{key})" if match[1] else f"((PyObject *)&capsule_s_{key})"

    lean = _USED.sub(lambda match: refer(match) if match[2] in keys else match[0], lean)
    if re.search(r"\b__pyx_(?:n|kp)_u_\w*", lean):
        return text
    lean = _KNOWN_HASH.sub(r"capsule_hash(\1)", lean)
    declared = "".join(sorted({
        f"CAPSULE_STRING({key_of(string)}, {len(string)}, {as_literal(string)})\n"
        for string in strings[:count] if key_of(string) in used
    }))
    return declared + lean


def _shrink_table(text: str, count: int, size: int) -> str:
    """Leave the first `count` entries, the strings, out of a table that holds bytes behind them."""
    text = text.replace(f"__pyx_string_tab[{size}];", f"__pyx_string_tab[{size - count}];")
    text = text.replace(_TABLE, _TABLE.replace(";", f" - {count};"))
    text = re.sub(rf"(for \(int i=0; i<){size}(; \+\+i\) \{{ \w+\(\w+->__pyx_string_tab\[i\]\); \}})",
                  rf"\g<1>{size - count}\2", text)
    text = _HASH.sub(rf"for (Py_ssize_t i = {count}; \1", text)
    return _DEFINED.sub(lambda match: "" if int(match[2]) < count
                        else f"#define {match[1]} __pyx_string_tab[{int(match[2]) - count}]\n", text)


def as_literal(text: bytes) -> str:
    """Quote bytes as a C string literal."""
    plain = range(32, 127)
    return '"' + "".join(chr(byte) if byte in plain and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text) + '"'


def strings_text(texts: list[str]) -> str:
    """Write the file that defines every string that the C texts of modules declare, once.

    What many modules name comes first and messages last: a page that is never used costs nothing.
    """
    uses: dict[str, int] = {}
    for text in texts:
        for match in _DECLARED.finditer(text):
            uses[match[0]] = uses.get(match[0], 0) + 1
    order = list(uses)
    names = [line for line in order if re.search(r'"[\w.]+"\)$', line)]
    common = [line for line in names if uses[line] > 2]
    rare = [line for line in names if uses[line] <= 2]
    messages = sorted(set(order) - set(names), key=order.index)
    lines = "\n".join([*common, *rare, *messages])
    head = '/* Made by build_support/lean.py. */\n#define CAPSULE_DEFINE_STRINGS\n#include "launcher_lean.h"\n\n'
    return f"{head}{lines}\n"


def spare_attributes(text: str) -> str:
    """Leave out __loader__, __file__ and __package__, and what the launcher has entered already."""
    return _REGISTERED.sub("", _BUILTINS.sub("", _COPIED.sub("", text)), count=1)


def import_directly(text: str) -> str:
    """Have modules, their names and the types that they share looked up by csrc/launcher_lean.c."""
    for old, new in _ONCE:
        text = text.replace(old, new)
    return _IMPORT.sub(r"= capsule_import(\1, \2, \3)", text)


def make_classes(text: str) -> str:
    """Have classes made by csrc/launcher_types.c, which knows a shorter way than type()."""
    return text.replace(_MAKE_CLASS, "capsule_make_class(metaclass, name, bases, dict, mkw)")


def make_lean(text: str) -> str:
    """Apply all of them to the C text of a module."""
    lean = static_strings(make_classes(import_directly(spare_attributes(drop_code_objects(text)))))
    return '#include "launcher_lean.h"\n' + lean if lean != text else text
