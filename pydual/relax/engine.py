"""The door to the C++ core: hands it scipy's BLAS once, and says how many threads it may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg.cython_blas as cython_blas

from pydual import _core

_core.set_dgemm(cython_blas.__pyx_capi__["dgemm"])

__all__ = ["_core", "single_threaded_blas", "threads"]


def threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within it, BLAS uses one thread: the core runs threads of its own."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
