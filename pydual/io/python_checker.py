"""Checkers in Python files: ``FILE.py:NAME`` on the command line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from pydual.checker import Checker
from pydual.errors import InputError
from pydual.query import Judge
from pydual.sampling.verdicts import Judging


def load_python_checker(path: str | Path, name: str) -> Any:
    """The checker called ``name`` that the Python file ``path`` defines. The file is run, so trust where it comes from.

    Raises InputError where there is no such file or name, where running it fails, and where the name is no checker.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}; check the path.")
    module = _run(path)
    if not hasattr(module, name):
        raise InputError(f"{path} defines no '{name}'; name a checker that it defines: {path}:NAME.")
    checker = getattr(module, name)
    if isinstance(checker, type) or not isinstance(checker, Checker | Judge | Judging):
        raise InputError(
            f"'{name}' in {path} is a {type(checker).__name__}; decorate a function with @pydual.checker(region), or make "
            "a checker with pydual.overseer, pydual.equivalence or pydual.black_box."
        )
    return checker


def _run(path: Path) -> Any:
    module_name = f"pydual_checker_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file; give FILE.py:NAME.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickles of the file look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"Running {path} failed: {type(error).__name__}: {error}; mend the file.") from error
    return module
