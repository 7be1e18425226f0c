"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from pydual.errors import InputError


def as_path(path: str | os.PathLike[str], example: str) -> Path:
    """The path, or an InputError for anything that is none."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"A path is needed, such as '{example}'; got a {type(path).__name__}.")
    return Path(path)
