"""Builds the C++ core; everything else about the package is in pyproject.toml.

PYDUAL_WERROR=1 turns warnings into errors, PYDUAL_SANITIZE=address,undefined builds with those sanitizers.
"""

import os
import sys
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

msvc = sys.platform == "win32"
compile_flags = [] if msvc else ["-O3"]
link_flags = []
if os.environ.get("PYDUAL_WERROR") == "1":
    compile_flags += ["/W4", "/WX"] if msvc else ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
if sanitizers := os.environ.get("PYDUAL_SANITIZE"):
    compile_flags += ["-O1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]
    link_flags += [f"-fsanitize={sanitizers}"]

core = Pybind11Extension(
    "pydual._core",
    sorted(glob("cpp/**/*.cpp", recursive=True)),
    include_dirs=["cpp"],
    depends=sorted(glob("cpp/**/*.h*", recursive=True)),
    cxx_std=17,
    extra_compile_args=compile_flags,
    extra_link_args=link_flags,
)
ParallelCompile(default=0).install()
setup(ext_modules=[core])
