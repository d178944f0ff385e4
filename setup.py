"""Build capsule: extensions, the freestanding programs and the launcher. `build_support/` holds the how.

    python setup.py build_ext --inplace       the extensions (CAPSULE_EXT=proc,json selects some)
    python setup.py build_launcher            build/capsule and its test variants
"""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

# A PEP 517 front end does not put this directory on the path.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from build_support import modules, programs  # noqa: E402
from build_support.lock import build_lock  # noqa: E402
from capsule._version import VERSION  # noqa: E402

C_FLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter"]
if os.environ.get("CAPSULE_WERROR"):
    C_FLAGS.append("-Werror")


def extension(module):
    """Describe one Cython module; its own `# distutils:` lines add sources and libraries."""
    return Extension(module.name, [module.path], include_dirs=["csrc"], depends=glob("csrc/*.h"), extra_compile_args=C_FLAGS)


class BuildExt(build_ext):
    """Translate and compile the selected extensions, the embedded programs first."""

    def finalize_options(self):
        with build_lock():
            programs.embed(["cc"])
            self.distribution.ext_modules[:] = cythonize(
                self.distribution.ext_modules, build_dir="build/cython", language_level=3, quiet=True
            )
        super().finalize_options()


setup(
    version=VERSION,
    packages=find_packages(include=["capsule", "capsule.*"]),
    package_data={"": ["*.pyi", "py.typed"]},
    ext_modules=[extension(module) for module in modules.extensions()],
    cmdclass={"build_ext": BuildExt},
)
