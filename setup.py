"""Build capsule: extensions, the freestanding programs and the launcher. `build_support/` holds the how.

    python setup.py build_ext --inplace       the extensions (CAPSULE_EXT=proc,json selects some)
    python setup.py build_launcher            build/capsule, and build/capsule-stop for the tests
"""

import os
import shutil
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Command, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

# The classes exist in distutils only (setuptools brings its own copy of distutils).
from distutils.command.build import build  # isort: skip
from distutils.command.build_scripts import build_scripts  # isort: skip

ROOT = os.path.dirname(os.path.abspath(__file__))
# A PEP 517 front end does not put this directory on the path.
sys.path.insert(0, ROOT)

from build_support import launcher, modules, programs  # noqa: E402
from build_support.lock import build_lock  # noqa: E402
from capsule._version import VERSION  # noqa: E402

C_FLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter"]
if os.environ.get("CAPSULE_WERROR"):
    C_FLAGS.append("-Werror")
if os.environ.get("CAPSULE_STOP_POINTS"):
    C_FLAGS.append("-DCAPSULE_STOP_POINTS")


def extension(module):
    """Describe one Cython module; its own `# distutils:` lines add sources and libraries."""
    return Extension(
        module.name, [module.path], include_dirs=["csrc"], depends=glob("csrc/*.h"), extra_compile_args=C_FLAGS
    )


class BuildExt(build_ext):
    """Translate and compile the selected extensions, the embedded programs first."""

    def finalize_options(self):
        with build_lock():
            if any(modules.names_source(module, programs.EMBEDDED) for module in modules.extensions()):
                programs.embed(launcher.compiler())
            self.distribution.ext_modules[:] = cythonize(
                self.distribution.ext_modules, build_dir="build/cython", language_level=3, quiet=True
            )
        super().finalize_options()


class BuildLauncher(Command):
    """Build the launcher for use from this tree: build/capsule and the flavours that the tests need."""

    description = "build the launcher executable for use from the source tree"
    user_options = [("flavours=", None, f"comma-separated, of {', '.join(launcher.FLAVOURS)} (default: the first two)")]

    def initialize_options(self):
        self.flavours = "capsule,capsule-stop"

    def finalize_options(self):
        self.flavours = self.flavours.split(",")

    def run(self):
        with build_lock():
            for path in launcher.build(VERSION, library=ROOT, flavours=self.flavours):
                self.announce(f"built {path}", level=2)


class BuildScripts(build_scripts):
    """Install the launcher where scripts go."""

    def run(self):
        self.mkpath(self.build_dir)
        with build_lock():
            (path,) = launcher.build(VERSION, library="", flavours=["capsule"])
            shutil.copy2(path, os.path.join(self.build_dir, "capsule"))


class Build(build):
    """Always build the scripts: the list of them is empty, the launcher is not."""

    sub_commands = [
        (name, None if name == "build_scripts" else predicate) for name, predicate in build.sub_commands
    ]


setup(
    version=VERSION,
    packages=find_packages(include=["capsule", "capsule.*"]),
    package_data={"": ["*.pyi", "py.typed"]},
    ext_modules=[extension(module) for module in modules.extensions()],
    cmdclass={"build": Build, "build_ext": BuildExt, "build_launcher": BuildLauncher, "build_scripts": BuildScripts},
)
