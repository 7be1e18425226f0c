"""The door to the C++ core: hands it scipy's BLAS and LAPACK once it needs them, and says how many threads it may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from pydual import _core

__all__ = ["_core", "one_thread", "single_threaded_blas", "threads"]

_alone: ContextVar[bool] = ContextVar("_alone", default=False)


def threads() -> int:
    """The threads that the core may use: one within ``one_thread``, else the processors of this process."""
    if _alone.get():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, and in the present thread only, the core runs no threads: others work beside it."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


class _Limit:
    """BLAS has one limit for the whole process: the first to come sets it, the last to leave lifts it."""

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0
        self._limiters: list[Any] = []

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._set()

    def extend(self) -> None:
        """To a library that was loaded just now."""
        with self._lock:
            if self._users:
                self._set()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            while self._limiters and not self._users:
                self._limiters.pop().restore_original_limits()

    def _set(self) -> None:
        from threadpoolctl import threadpool_limits

        self._limiters.append(threadpool_limits(limits=1, user_api="blas"))


_limit = _Limit()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within it, BLAS uses one thread: the core runs threads of its own."""
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


def _linear_algebra() -> dict[str, Any]:
    """For the core, which asks for it once: small networks need none, and scipy takes long to import."""
    import scipy.linalg.cython_blas as cython_blas
    import scipy.linalg.cython_lapack as cython_lapack

    _limit.extend()
    return {**cython_blas.__pyx_capi__, **cython_lapack.__pyx_capi__}


_core.set_linear_algebra(_linear_algebra)
