"""The launcher: all hot modules, the C core and a core-only interpreter in one executable.

Variants are tried in order, each linked and started with a small probe program, and the first that works is
used: libpython.a with our own frozen table, libpython.a as it is, libpython.so, and last a script. See
docs/build.md and docs/decisions/0001-launcher.md.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import shlex
import subprocess
import sys
import sysconfig
from typing import NamedTuple

from build_support import lean, modules, programs, python
from build_support.modules import Module
from build_support.objects import Compilation, compile_all
from build_support.programs import as_array, write_if_changed
from build_support.translate import target_of, translate_all

#: One directory for each Python, so that building with another one spoils nothing.
ROOT = f"build/launcher/{python.tag()}"
ENTRY = "capsule.cli.main"
VARIANTS = ("static-frozen", "static", "shared")
OWN_SOURCES = ("csrc/launcher.c", "csrc/launcher_data.c", "csrc/launcher_lean.c", "csrc/launcher_memory.c",
               "csrc/launcher_names.c", "csrc/launcher_posix.c", "csrc/launcher_types.c", "csrc/seal.c")
JOBS = min(2, os.cpu_count() or 1)

C_WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Wshadow", "-Wvla", "-Wstrict-prototypes",
              "-Werror=implicit-function-declaration")
# Modules run once, from cold: what counts is how many pages of them are read (docs/decisions/0002-hot-path.md).
OPTIMISE_MODULES = ("-Os", "-fwrapv", "-fno-strict-aliasing")
OPTIMISE = ("-O2", "-fwrapv", "-fno-strict-aliasing", "-fno-semantic-interposition")
# Not position independent: an executable that relocates nothing starts a quarter of a millisecond sooner.
CODE = ("-fno-pie", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-DNDEBUG")
LINK = ("-no-pie", "-Wl,--gc-sections", "-Wl,--as-needed", "-Wl,-O1", "-Wl,--hash-style=gnu", "-Wl,-z,noexecstack",
        "-Wl,--build-id=none", "-Wl,-T,build_support/launcher.ld",
        # csrc/launcher_names.c and csrc/launcher_posix.c
        "-Wl,--wrap=PyUnicode_InternFromString", "-Wl,--wrap=PyObject_SetAttrString",
        "-Wl,--wrap=PyInit_posix", "-Wl,--wrap=PyModule_AddIntConstant")


#: Entry of the launchers that test the seal, and what it is linked with.
SEAL_PROBE = (
    Module("seal_probe", "tests/helpers/seal_probe.py", False),
    Module("capsule", "capsule/__init__.py", True),
    Module("capsule._ext", "capsule/_ext/__init__.py", True),
    Module("capsule._ext.seal", "capsule/_ext/seal.pyx", False),
)


#: The C core of the flavour that looks for mistakes in it. Freestanding programs have no library that could report
#: one: there an undefined operation is an illegal instruction.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g")
TRAPS = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")


#: The last fallback by the name that tests give it.
SCRIPT = "capsule-script"


class Flavour(NamedTuple):
    """A build of the launcher: file name, the flags that differ for the C core (and its linking) and for the
    freestanding programs, and its modules if not all (entry first)."""

    name: str
    flags: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    modules: tuple[Module, ...] = ()


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour("capsule"),
        Flavour("capsule-stop", ("-DCAPSULE_STOP_POINTS",), ("-DCAPSULE_STOP_POINTS",)),
        Flavour("capsule-noseal", ("-DCAPSULE_NO_SEAL",)),
        Flavour("capsule-imports", ("-DCAPSULE_TRACE_IMPORTS",)),
        Flavour("capsule-sanitized", SANITIZERS, TRAPS),
        Flavour("seal-probe", modules=SEAL_PROBE),
        Flavour("seal-probe-noseal", ("-DCAPSULE_NO_SEAL",), modules=SEAL_PROBE),
    )
}


def compiler() -> list[str]:
    """Return the C compiler: $CC, or cc."""
    return shlex.split(os.environ.get("CC", "cc"))


def c_string(text: str) -> str:
    """Quote a text as a C string literal."""
    return '"' + "".join(f"\\{byte:03o}" if byte < 32 or byte > 126 or byte in b'"\\' else chr(byte)
                         for byte in text.encode("utf-8", "surrogateescape")) + '"'


def commit() -> str:
    """Name the commit that is built, "none" outside a repository."""
    ended = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return ended.stdout.strip() or "none" if os.path.exists(".git") else "none"


def init_name(module: Module) -> str:
    """Name a module's initialiser: unique in one executable, where base names are not."""
    return "PyInit_" + module.name.replace("_", "_1").replace(".", "_")


# -- generated C ---------------------------------------------------------------------------------------------


def table_text(linked: list[Module], entry: str) -> str:
    """Write the module table and the names of posix, sorted as strcmp() sorts."""
    rows = [(m.name, init_name(m), int(m.is_package)) for m in linked]
    rows.append(("capsule._launcher", "PyInit_capsule__launcher", 0))
    rows.sort(key=lambda row: row[0].encode())
    prototypes = "\n".join(f"PyObject *{init}(void);" for _, init, _ in rows)
    entries = "\n".join(f'\t{{ "{name}", {init}, {package} }},' for name, init, package in rows)
    names = modules.names_of("posix", linked)
    posix = "\n".join(f'\t"{name}",' for name in names)
    return (
        f'/* Made by build_support/launcher.py. */\n#include "launcher.h"\n\n{prototypes}\n\n'
        f"const struct capsule_module capsule_modules[] = {{\n{entries}\n}};\n"
        f"const size_t capsule_module_count = {len(rows)};\nconst char capsule_entry[] = {c_string(entry)};\n"
        f"\nconst char *const capsule_posix_names[] = {{\n{posix}\n\tNULL,\n}};\n"
        f"const size_t capsule_posix_name_count = {len(names)};\n"
    )


def settings_text(variant: str, version: str, library: str) -> str:
    """Write the words that capsule._launcher tells."""
    words = {"version": version, "commit": commit(), "variant": variant, "python": python.executable(),
             "library": library}
    lines = "".join(f"const char capsule_{name}[] = {c_string(text)};\n" for name, text in words.items())
    return f'/* Made by build_support/launcher.py. */\n#include "launcher.h"\n\n{lines}'


#: Built-in modules of the static-frozen interpreter; nothing else may be assumed (docs/architecture.md).
INITTAB = {
    "posix": "PyInit_posix",
    "errno": "PyInit_errno",
    "_io": "PyInit__io",
    "time": "PyInit_time",
    "marshal": "PyMarshal_Init",
    "_imp": "PyInit__imp",
    "_warnings": "_PyWarnings_Init",
    "gc": "PyInit_gc",
    "builtins": None,
    "sys": None,
}


def frozen_text() -> str:
    """Write what takes the place of libpython's frozen.o, deepfreeze.o and config.o.

    An object that defines every symbol of an archive member keeps the linker from taking the member.
    """
    with open("build_support/bootstrap.py", encoding="utf-8") as file:
        code = compile(file.read(), "<capsule importlib>", "exec", dont_inherit=True, optimize=2)
    rows = "\n".join(f'\t{{ "{name}", {init or "NULL"} }},' for name, init in INITTAB.items())
    prototypes = "\n".join(f"PyObject *{init}(void);" for init in INITTAB.values() if init)
    return f"""/* Made by build_support/launcher.py. */
#include <Python.h>

struct _module_alias {{
	const char *name;
	const char *orig;
}};

{as_array("importlib", marshal.dumps(code))}
static const struct _frozen bootstrap[] = {{
	{{ .name = "_frozen_importlib", .code = capsule_importlib_image, .size = sizeof(capsule_importlib_image) }},
	{{ .name = NULL }},
}};
static const struct _frozen none[] = {{ {{ .name = NULL }} }};
static const struct _module_alias no_aliases[] = {{ {{ NULL, NULL }} }};

const struct _frozen *_PyImport_FrozenBootstrap = bootstrap;
const struct _frozen *_PyImport_FrozenStdlib = none;
const struct _frozen *_PyImport_FrozenTest = none;
const struct _frozen *PyImport_FrozenModules = NULL;
const struct _module_alias *_PyImport_FrozenAliases = no_aliases;

/* What else deepfreeze.o defines, which is gone in 3.13. */
#if PY_VERSION_HEX >= 0x030c0000 && PY_VERSION_HEX < 0x030d0000
uint32_t _Py_next_func_version = 1;
#endif
#if PY_VERSION_HEX < 0x030d0000
int _Py_Deepfreeze_Init(void);
void _Py_Deepfreeze_Fini(void);
int _Py_Deepfreeze_Init(void) {{ return 0; }}
void _Py_Deepfreeze_Fini(void) {{ }}
#endif

{prototypes}

struct _inittab _PyImport_Inittab[] = {{
{rows}
	{{ NULL, NULL }},
}};
"""


# -- objects -------------------------------------------------------------------------------------------------


def module_job(module: Module, generated: str) -> Compilation:
    """Say how to compile a translated module."""
    own = init_name(module)
    base = module.name.rpartition(".")[2]
    flags = [*compiler(), *OPTIMISE_MODULES, *CODE, "-w", "-Icsrc", *python.include_flags(), f"-DPyInit_{base}={own}",
             "-DCYTHON_COMPRESS_STRINGS=0", "-DCYTHON_CLINE_IN_TRACEBACK=0"]
    return Compilation(target_of(module, generated), f"{ROOT}/objects/{module.name}.o", tuple(flags))


def c_job(source: str, flavour: Flavour) -> Compilation:
    """Say how to compile a source of the C core."""
    flags = [*compiler(), "-std=gnu11", *OPTIMISE, *CODE, *C_WARNINGS, *flavour.flags, "-Icsrc",
             *python.include_flags()]
    if os.environ.get("CAPSULE_WERROR"):
        flags.append("-Werror")
    return Compilation(source, f"{ROOT}/{flavour.name}/{source.replace('/', '_')}.o", tuple(flags))


def strings_source(linked: list[Module], generated: str, directory: str) -> str:
    """Write the strings of translated modules; return the path."""
    texts = []
    for module in linked:
        with open(target_of(module, generated), encoding="utf-8") as file:
            texts.append(file.read())
    path = f"{directory}/strings.c"
    write_if_changed(path, lean.strings_text(texts))
    return path


def core_sources(linked: list[Module], embedded: str) -> list[str]:
    """List the C sources that the linked .pyx name, each once, and the launcher's own."""
    sources = set(OWN_SOURCES)
    for module in linked:
        if module.is_cython:
            sources.update(modules.directive(module.path, "sources"))
    return sorted(embedded if source == programs.EMBEDDED else source for source in sources)


def libraries(linked: list[Module]) -> list[str]:
    """List the libraries that the linked .pyx ask for."""
    names = (name for m in linked if m.is_cython for name in modules.directive(m.path, "libraries"))
    return list(dict.fromkeys(f"-l{name}" for name in names))


# -- variants ------------------------------------------------------------------------------------------------


def link_flags(variant: str) -> list[str] | None:
    """Return the linker's words for a variant, or None where this Python does not offer it."""
    if variant == "shared":
        return python.shared_flags()
    archive = python.static_library()
    return [archive, *python.system_libraries(built_in=variant == "static")] if archive else None


def link(target: str, variant: str, objects: list[str], extra: list[str]) -> bool:
    """Link an executable and strip it, unless CAPSULE_STRIP=0 wants it for perf; tell whether that worked."""
    flags = link_flags(variant)
    if flags is None:
        return False
    temporary = f"{target}.{os.getpid()}"
    command = [*compiler(), *LINK, "-o", temporary, *objects, *flags, *extra]
    if subprocess.run(command).returncode:
        return False
    if os.environ.get("CAPSULE_STRIP") != "0":
        # Into a new file: in place it is written piecemeal, and lies in the page cache so (a tenth of a start).
        subprocess.run(["strip", "--strip-all", "-o", f"{temporary}.stripped", temporary], check=True)
        os.replace(f"{temporary}.stripped", temporary)
    os.replace(temporary, target)
    return True


def probe(variant: str, version: str) -> str | None:
    """Link the probe program as `variant`; return its path if it compiles, starts and finds all it needs."""
    directory = f"{ROOT}/probe"
    module = Module("capsule_probe", "build_support/probe.py", False)
    if translate_all([module], directory, jobs=1):
        raise SystemExit("cannot translate build_support/probe.py")
    flavour = Flavour(f"probe/{variant}")
    table, settings = f"{directory}/modules.c", f"{directory}/settings-{variant}.c"
    write_if_changed(table, table_text([module], module.name))
    write_if_changed(settings, settings_text(variant, version, ""))
    strings = strings_source([module], directory, directory)
    work = [module_job(module, directory),
            *(c_job(source, flavour) for source in (*OWN_SOURCES, table, settings, strings))]
    if variant == "static-frozen":
        write_if_changed(f"{ROOT}/frozen.c", frozen_text())
        work.append(c_job(f"{ROOT}/frozen.c", flavour))
    target = f"{directory}/{variant}/probe"
    try:
        compile_all(work, jobs=JOBS)
    except SystemExit as err:  # a later Python may declare otherwise what frozen_text() defines
        print(f"launcher: {err}")
        return None
    if not link(target, variant, [job.target for job in work], []):
        return None
    ended = subprocess.run([os.path.abspath(target)], cwd="/", env={}, stdin=subprocess.DEVNULL)
    if ended.returncode:
        print(f"launcher: the {variant} probe ended with status {ended.returncode}")
        return None
    return target


def choose_variant(version: str) -> str:
    """Return the first variant that links and starts, "script" when none does; remembered between builds.

    CAPSULE_LAUNCHER names one to use, for measurements and tests of the fallbacks.
    """
    wanted = os.environ.get("CAPSULE_LAUNCHER")
    if wanted:
        if wanted != "script" and not probe(wanted, version):
            raise SystemExit(f"the launcher variant {wanted!r} does not link or start with {sys.executable}")
        return wanted
    state = hashlib.sha256(repr((sys.version, python.executable(), compiler(), LINK, OPTIMISE, CODE)).encode())
    for path in (*OWN_SOURCES, "csrc/launcher.h", "build_support/bootstrap.py",
                 "build_support/probe.py", __file__):
        with open(path, "rb") as file:
            state.update(file.read())
    memory = f"{ROOT}/variant.json"
    try:
        with open(memory, encoding="utf-8") as file:
            known = json.load(file)
        if known["of"] == state.hexdigest():
            return str(known["variant"])
    except (FileNotFoundError, ValueError, KeyError):
        pass
    chosen = next((variant for variant in VARIANTS if probe(variant, version)), "script")
    if chosen != VARIANTS[0]:
        print(f"launcher: {VARIANTS[0]} is not possible with {python.executable()}: built as {chosen}")
    write_if_changed(memory, json.dumps({"of": state.hexdigest(), "variant": chosen}))
    return chosen


# -- the whole -----------------------------------------------------------------------------------------------


def write_script(target: str, library: str) -> None:
    """Write the last fallback: the same code, uncompiled, in an isolated Python without site."""
    place = repr(library or sysconfig.get_path("platlib"))
    text = (f"#!{python.executable()} -IS\n# capsule without a compiled launcher: slower, otherwise equal.\n"
            f"import sys\n\nsys.path.insert(0, {place})\nfrom capsule.__main__ import main\n\nmain()\n")
    write_if_changed(target, text)
    os.chmod(target, 0o755)


def linked_modules() -> list[Module]:
    """List the modules to link, and refuse a hot one that imports what the launcher does not have."""
    linked = modules.hot_modules()
    for module in linked:
        if not module.is_cython and not modules.is_lean(module.path):
            raise SystemExit(f"{module.path}: a hot module may import only capsule and "
                             f"{', '.join(sorted(modules.BUILT_IN))}")
    return linked


def build(version: str, *, library: str, flavours: list[str], directory: str = "build") -> list[str]:
    """Build the wanted flavours in a directory and return their paths.

    `library` is the directory that holds the package when it is used from there, "" when it is installed.
    """
    variant = choose_variant(version)
    if variant == "script":
        write_script(f"{directory}/capsule", library)
        return [f"{directory}/capsule"]
    settings = f"{ROOT}/settings{'' if library else '-installed'}.c"
    write_if_changed(settings, settings_text(variant, version, library))
    if SCRIPT in flavours:
        write_script(f"{directory}/{SCRIPT}", library)
    return [f"{directory}/{SCRIPT}" if name == SCRIPT else build_flavour(FLAVOURS[name], variant, settings, directory)
            for name in flavours]


def build_flavour(flavour: Flavour, variant: str, settings: str, directory: str) -> str:
    """Translate, compile and link DIRECTORY/NAME."""
    linked = list(flavour.modules) or linked_modules()
    entry = flavour.modules[0].name if flavour.modules else ENTRY
    generated = f"{ROOT}/cython"
    refused = translate_all(linked, generated, jobs=JOBS)
    if refused:
        raise SystemExit(f"Cython refused: {', '.join(refused)}")
    table = f"{ROOT}/{flavour.name}/modules.c"
    write_if_changed(table, table_text(linked, entry))
    work = [module_job(module, generated) for module in linked]
    strings = strings_source(linked, generated, f"{ROOT}/{flavour.name}")
    sources = [*flavour_sources(flavour, linked, variant), settings, table, strings]
    work += [c_job(source, flavour) for source in sources]
    compiled = compile_all(work, jobs=JOBS)
    target = f"{directory}/{flavour.name}"
    objects = [job.target for job in work]
    if compiled or not is_newer(target, objects):
        if not link(target, variant, objects, [*libraries(linked), *flavour.flags]):
            raise SystemExit(f"cannot link {target} ({variant})")
    return target


def flavour_sources(flavour: Flavour, linked: list[Module], variant: str) -> list[str]:
    """List the C sources of a flavour; some have freestanding programs of their own."""
    embedded = programs.EMBEDDED
    if any(modules.names_source(module, embedded) for module in linked):
        directory = f"{ROOT}/{flavour.name}/programs" if flavour.programs else programs.GENERATED
        embedded = programs.embed(compiler(), flags=flavour.programs, directory=directory)
    sources = core_sources(linked, embedded)
    if variant == "static-frozen":
        write_if_changed(f"{ROOT}/frozen.c", frozen_text())
        sources.append(f"{ROOT}/frozen.c")
    return sources


def is_newer(target: str, inputs: list[str]) -> bool:
    """Tell whether `target` exists and is newer than every input."""
    try:
        made = os.stat(target).st_mtime_ns
    except FileNotFoundError:
        return False
    return all(os.stat(path).st_mtime_ns <= made for path in inputs)
