"""Build capsule: extensions, the freestanding programs and the launcher. `build_support/` holds the how.

    python setup.py build_ext --inplace       the extensions (CAPSULE_EXT=proc,json selects some)
    python setup.py build_launcher            build/capsule, and build/capsule-stop for the tests
"""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Command, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

# In distutils only, of which setuptools brings its own copy.
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
    """Build the launcher instead of copying scripts; it is installed where scripts go."""

    def get_source_files(self):
        return []

    def run(self):
        self.mkpath(self.build_dir)
        with build_lock():
            launcher.build(VERSION, library="", flavours=["capsule"], directory=self.build_dir)


setup(
    version=VERSION,
    packages=find_packages(include=["capsule", "capsule.*"]),
    package_data={"": ["*.pyi", "py.typed"]},
    exclude_package_data={"": ["*.pyx"]},  # MANIFEST.in names them, for the source distribution alone
    ext_modules=[extension(module) for module in modules.extensions()],
    # The name counts, not the file: without one, scripts are neither built nor installed.
    scripts=["capsule"],
    cmdclass={"build_ext": BuildExt, "build_launcher": BuildLauncher, "build_scripts": BuildScripts},
)
