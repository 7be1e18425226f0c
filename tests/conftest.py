"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def bench() -> Path:
    """The folder of benchmark instances beside the checkout; tests that need it skip where there is none."""
    folder = Path(__file__).parents[1].parent / "shared" / "bench"
    if not folder.is_dir():
        pytest.skip("the benchmark folder ../shared/bench is not here")
    return folder
