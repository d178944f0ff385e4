"""What build_support/lean.py leaves of Cython's C: it follows that text, and must notice when it changes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from build_support import lean  # noqa: E402
from build_support.modules import Module  # noqa: E402
from build_support.translate import target_of, translate_all  # noqa: E402

SOURCE = '''
import posix
from capsule.errors import NotFound, StateError as Other

class Box:
    __slots__ = ("lid",)

    def open(self, *, by: str) -> str:
        return f"{by} has opened what costs $5" if self.lid else b"closed"

def find(name, *, where="here"):
    return NotFound if name else Other(where, b"x", {words!r})
'''


def translated(directory: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> str:
    monkeypatch.chdir(directory)
    source = SOURCE.replace("{words!r}", repr(words))
    (directory / "lid.py").write_text(source, encoding="utf-8")
    module = Module("lid", "lid.py", False)
    assert translate_all([module], "cython", jobs=1) == []
    return Path(target_of(module, "cython")).read_text(encoding="utf-8")


def test_every_pattern_is_found_in_what_cython_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = translated(tmp_path, monkeypatch, 'a "quoted" \\ word??')
    for call in ("= capsule_import(", "= capsule_import_from(", "capsule_make_class(", "= capsule_common_type(",
                 '= capsule_module_ref("cython_runtime")', "capsule_hash(name)", "capsule_hash(name_str)"):
        assert call in text, call
    for call in ("= __Pyx_Import(", "= __Pyx_ImportFrom(", "str_length_index[i]",
                 "PyImport_GetModuleDict();\n    if (!PyDict",
                 'PyObject_SetAttrString(__pyx_m, "__builtins__"',
                 '__Pyx_PyImport_AddModuleRef("cython_runtime"); if'):
        assert call not in text, call
    assert not re.search(r"__pyx_(n|kp)_u_\w*", text)
    key = lean.key_of(b'a "quoted" \\ word??')
    assert f'CAPSULE_STRING({key}, 19, "a \\042quoted\\042 \\134 word\\077\\077")\n' in text


def test_bytes_stay_in_the_table_of_their_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = translated(tmp_path, monkeypatch, "word")
    places = sorted(int(place) for place in re.findall(r"^#define __pyx_k?[np]+_b_\w+ __pyx_string_tab\[(\d+)\]$", text,
                                                       re.MULTILINE))
    assert len(places) >= 2 and places == list(range(len(places)))
    assert f"__pyx_string_tab[{len(places)}];" in text


def test_a_module_with_other_than_ascii_keeps_its_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = translated(tmp_path, monkeypatch, "straße")
    assert "CAPSULE_STRING" not in text
    assert re.search(r"__pyx_mstate_global->__pyx_n_u_\w+", text)


def test_each_string_is_defined_once_and_common_names_come_first() -> None:
    declared = [f'CAPSULE_STRING({lean.key_of(word)}, {len(word)}, "{word.decode()}")\n'
                for word in (b"shared", b"cannot be", b"rare")]
    text = lean.strings_text(["".join(declared), declared[0], declared[0]])
    assert [text.count(line) for line in declared] == [1, 1, 1]
    assert text.index(declared[0]) < text.index(declared[2]) < text.index(declared[1])
