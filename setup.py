"""Builds the C++ core and the rounded audit; everything else about the package is in pyproject.toml.

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

rounding = ["/fp:strict"] if msvc else ["-frounding-math", "-fno-trapping-math"]  # the rounded audit changes the rounding mode


def extension(name, sources, flags):
    return Pybind11Extension(
        name,
        sorted(path for pattern in sources for path in glob(pattern)),
        include_dirs=["cpp"],
        depends=sorted(glob("cpp/**/*.h*", recursive=True)),
        cxx_std=17,
        extra_compile_args=compile_flags + flags,
        extra_link_args=link_flags,
    )


core = extension("pydual._core", ["cpp/core/*.cpp", "cpp/kernels/*.cpp", "cpp/bind/*.cpp"], [])
audit = extension("pydual.audit._rounded", ["cpp/audit/*.cpp"], rounding)
ParallelCompile(default=0).install()
setup(ext_modules=[core, audit])
