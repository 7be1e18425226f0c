"""Arrays of expressions: numpy's functions on what is being traced."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from pydual.checker import Condition
from pydual.checkers.expression import ALLOWED, Expression, condition, euclidean_norm, largest
from pydual.errors import InputError


class Array(np.ndarray):
    """An object array of expressions or comparisons. What only moves entries is numpy's own work."""

    __array_priority__ = 1.0  # joined with arrays of numbers, it stays one

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if function in _FUNCTIONS:
            return _FUNCTIONS[function](*args, **kwargs)
        if function in _REFUSED:
            raise InputError(f"numpy.{function.__name__} does not trace; {ALLOWED}")
        return super().__array_function__(function, types, args, kwargs)

    def __bool__(self) -> bool:
        raise InputError(f"an array that depends on inputs or outputs has no truth value; {ALLOWED}")


def array(entries: Any, shape: tuple[int, ...]) -> Array:
    """The entries, row-major, as an array of that shape."""
    flat = np.empty(len(entries), dtype=object)
    flat[:] = entries
    return flat.reshape(shape).view(Array)


def smaller(a: Any, b: Any) -> Any:
    return -largest(-_as_is(a), -_as_is(b)) if _traced(a, b) else min(a, b)


def larger(a: Any, b: Any) -> Any:
    return largest(a, b) if _traced(a, b) else max(a, b)


def clipped(x: Any, lower: Any, upper: Any) -> Any:
    return smaller(larger(x, lower), upper)


def both(a: Any, b: Any) -> Condition:
    return condition(a) & condition(b)


def either(a: Any, b: Any) -> Condition:
    return condition(a) | condition(b)


def opposite(a: Any) -> Condition:
    return ~condition(a)


def _as_is(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _traced(*values: Any) -> bool:
    return any(isinstance(value, Expression) for value in values)


_ENTRIES: dict[np.ufunc, tuple[Callable[..., Any], int]] = {
    np.maximum: (larger, 2), np.fmax: (larger, 2), np.minimum: (smaller, 2), np.fmin: (smaller, 2),
    np.add: (lambda a, b: a + b, 2), np.subtract: (lambda a, b: a - b, 2), np.multiply: (lambda a, b: a * b, 2),
    np.true_divide: (lambda a, b: a / b, 2), np.power: (lambda a, b: a**b, 2), np.float_power: (lambda a, b: a**b, 2),
    np.negative: (lambda a: -a, 1), np.positive: (lambda a: a, 1), np.absolute: (abs, 1), np.fabs: (abs, 1),
    np.square: (lambda a: a * a, 1),
    np.less: (lambda a, b: a < b, 2), np.less_equal: (lambda a, b: a <= b, 2), np.greater: (lambda a, b: a > b, 2),
    np.greater_equal: (lambda a, b: a >= b, 2), np.equal: (lambda a, b: a == b, 2), np.not_equal: (lambda a, b: a != b, 2),
    np.logical_and: (both, 2), np.bitwise_and: (both, 2), np.logical_or: (either, 2), np.bitwise_or: (either, 2),
    np.logical_not: (opposite, 1), np.invert: (opposite, 1),
}  # fmt: skip


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A universal function of numpy, or its reduction, entry by entry."""
    plain = [_entries(value) for value in inputs]
    if ufunc is np.matmul and method == "__call__":
        return _matmul(*plain)
    if ufunc.__name__ == "clip" and method == "__call__":
        return _wrapped(np.frompyfunc(clipped, 3, 1)(*plain))
    if ufunc not in _ENTRIES or method not in ("__call__", "reduce"):
        raise InputError(f"numpy.{ufunc.__name__} does not trace; {ALLOWED}")
    function, count = _ENTRIES[ufunc]
    if method == "__call__":
        return _wrapped(np.frompyfunc(function, count, 1)(*plain))
    return _wrapped(_reduced(function, plain[0], options.get("axis", 0), bool(options.get("keepdims", False))))


def _reduced(function: Callable[..., Any], entries: np.ndarray, axis: Any, keep: bool) -> Any:
    axes = range(entries.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    gone = sorted(range(entries.ndim)[a] for a in axes)
    kept = [a for a in range(entries.ndim) if a not in gone]
    moved = entries.transpose(kept + gone).reshape([entries.shape[a] for a in kept] + [-1])
    if not moved.shape[-1]:
        raise InputError("a sum, maximum or condition over no entries at all does not trace")
    found = np.empty(moved.shape[:-1], dtype=object)
    for place in np.ndindex(found.shape):
        found[place] = _folded(function, list(moved[place]))
    return found.reshape([1 if a in gone else n for a, n in enumerate(entries.shape)]) if keep else found


def _folded(function: Callable[..., Any], entries: list[Any]) -> Any:
    if function is larger and _traced(*entries):
        return largest(*map(_as_is, entries))
    if function is smaller and _traced(*entries):
        return -largest(*(-_as_is(entry) for entry in entries))
    return reduce(function, entries)


def _matmul(a: np.ndarray, b: np.ndarray) -> Any:
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise InputError(f"the shapes {a.shape} and {b.shape} do not fit a matrix product")
    return _wrapped(np.dot(a, b) if max(a.ndim, b.ndim) <= 2 else np.matmul(a, b))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002 - numpy's name
    if axis is not None or keepdims or (ord not in (None, 2) and np.ndim(x) != 1):
        raise InputError("numpy.linalg.norm traces for vectors, without axis; take the norm of each row by itself")
    entries = list(_entries(x).ravel())
    if ord in (None, 2):
        return euclidean_norm(entries)
    if ord == 1:
        return sum(map(abs, entries[1:]), start=abs(entries[0]))
    if ord == np.inf:
        return _folded(larger, [abs(entry) for entry in entries])
    raise InputError(f"the norm of order {ord} does not trace; use 1, 2 or inf")


def _entries(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return np.asarray(value).view(np.ndarray) if value.dtype == object else value.astype(object)
    entry = np.empty((), dtype=object)
    if isinstance(value, (list, tuple)):
        return np.array(value, dtype=object)
    entry[()] = _as_is(value)
    return entry


def _wrapped(found: Any) -> Any:
    if isinstance(found, np.ndarray):
        return found.view(Array) if found.ndim else found[()]
    return found


_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.linalg.norm: _norm,
    np.dot: lambda a, b: _matmul(_entries(a), _entries(b)) if np.ndim(a) and np.ndim(b) else a * b,
    np.inner: lambda a, b: _matmul(_entries(a), _entries(b).T),
    np.vdot: lambda a, b: _matmul(_entries(a).ravel(), _entries(b).ravel()),
    np.clip: lambda a, a_min=None, a_max=None: _clip(a, a_min, a_max),
}
_REFUSED = {
    np.argmax, np.argmin, np.sort, np.argsort, np.where, np.select, np.round, np.median, np.isclose, np.allclose,
    np.array_equal, np.std, np.unique, np.searchsorted, np.nonzero, np.count_nonzero, np.partition, np.piecewise, np.interp,
}  # fmt: skip


def _clip(a: Any, lower: Any, upper: Any) -> Any:
    above = a if lower is None else np.maximum(a, lower)
    return above if upper is None else np.minimum(above, upper)
