"""Build the extensions; every .pyx names its own C sources with `# distutils: sources`."""
import os
from glob import glob
from setuptools import Extension, setup
from Cython.Build import cythonize
only = os.environ.get("CAPSULE_EXT")
names = [os.path.basename(p)[:-4] for p in sorted(glob("capsule/_ext/*.pyx"))]
exts = [Extension(f"capsule._ext.{n}", [f"capsule/_ext/{n}.pyx"], include_dirs=["csrc"],
        extra_compile_args=["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter"])
        for n in names if not only or n in only.split(",")]
setup(name="capsule", version="0.1.0", packages=["capsule"], ext_modules=cythonize(exts, language_level=3))
