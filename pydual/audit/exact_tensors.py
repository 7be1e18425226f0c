"""Tensors of the exact audit's ONNX reader, and the primitives that it builds. Standard library only.

All operators that only move entries (slices, transpositions, padding, ...) are lists of places, made by ``Graph.outer``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import isfinite, prod
from operator import add, mul
from types import SimpleNamespace
from typing import Any

from pydual.errors import InputError, UnsupportedError

MAX_ENTRIES = 2**22  # of all tensors and matrices that a model makes
MAX_RANK = 32

Shape = tuple[int, ...]
Rows = Iterable[tuple[Sequence[int], Sequence[float]]]  # of each row of a matrix: columns (-1: none), and entries


@dataclass(frozen=True)
class Operand:
    """A tensor, row-major: the numbers of a constant, all int or all float; or the places 0, 1, ... in a value."""

    shape: Shape
    entries: Sequence[Any]
    value: int | None = None

    def reshaped(self, shape: Iterable[int]) -> Operand:
        shape = ranked(shape)
        if prod(shape) != prod(self.shape) or min(shape, default=0) < 0:
            raise InputError(f"the shapes {self.shape} and {shape} do not fit each other")
        return Operand(shape, self.entries, self.value)


class Graph:
    """The primitives of a network under construction."""

    def __init__(self, shape: Shape) -> None:
        self.budget = MAX_ENTRIES
        self.primitives: list[Any] = []
        self.folded = False  # whether float constants were computed from others
        self.input = self.new(shape)

    def spend(self, entries: int) -> None:
        self.budget -= entries
        if self.budget < 0:
            raise UnsupportedError(f"the tensors and matrices have more than {MAX_ENTRIES} entries")

    def new(self, shape: Shape, *primitives: Any) -> Operand:
        self.primitives += primitives
        self.spend(prod(shape))
        if not prod(shape):
            raise UnsupportedError(f"a tensor of shape {shape} is empty")
        return Operand(shape, range(prod(shape)), len(self.primitives))

    def constant(self, shape: Shape, entries: Sequence[Any]) -> Operand:
        """A constant that was computed: all int if all are, else all float."""
        self.spend(len(entries))
        if float in set(map(type, entries)):
            entries = list(map(float, entries))
        elif any(not -(2**63) <= v < 2**63 for v in entries):
            raise InputError("an integer constant does not fit 64 bits")
        if not all(map(isfinite, entries)):
            raise InputError("a constant becomes NaN or infinite")
        return Operand((len(entries),), entries).reshaped(shape)

    def outer(self, axes: Sequence[Sequence[int]]) -> list[int]:
        """The sums of one number from each axis, row-major; with negative numbers among them, the least."""
        self.spend(prod(map(len, axes)))
        result = [0]
        for axis in axes:
            if min(axis, default=0) < 0:
                result = [a + b if a >= 0 <= b else min(a, b) for a in result for b in axis]
            else:
                result = [a + b if a >= 0 else a for a in result for b in axis]
        return result

    def affine(self, terms: Sequence[tuple[Operand, Rows]], bias: Iterable[float], shape: Shape) -> Operand:
        packed = [(x.value, self._matrix(rows, prod(x.shape))) for x, rows in terms]
        numbers = array("d", bias)
        if any(matrix.shape[0] != len(numbers) for _, matrix in packed) or len(numbers) != prod(shape):
            raise InputError(f"the parts of a tensor of shape {shape} differ in length")
        return self.new(shape, SimpleNamespace(terms=packed, bias=numbers, size=len(numbers)))

    def _matrix(self, rows: Rows, width: int) -> Any:
        starts, indices, data = array("q", [0]), array("q"), array("d")
        for columns, entries in rows:
            if min(columns) < 0:
                kept = [t for t, column in enumerate(columns) if column >= 0]
                columns, entries = [columns[t] for t in kept], [entries[t] for t in kept]
            self.spend(len(columns) + 1)
            indices.extend(columns)
            data.extend(entries)
            starts.append(len(indices))
        return SimpleNamespace(shape=(len(starts) - 1, width), indptr=starts, indices=indices, data=data)

    def relu(self, x: Operand) -> Operand:
        if x.value is None:
            return self.constant(x.shape, [max(type(v)(0), v) for v in x.entries])
        return self.new(x.shape, SimpleNamespace(source=x.value, size=prod(x.shape)))

    def select(self, x: Operand, columns: list[int], shape: Shape, fill: float = 0.0) -> Operand:
        rows = (((column,), (1.0,)) for column in columns)
        return self.affine([(x, rows)], [fill if column < 0 else 0.0 for column in columns], shape)

    def pick(self, x: Operand, axes: Sequence[Sequence[int]]) -> Operand:
        """The entries of ``x`` whose places are the sums of one number from each axis."""
        shape, places = tuple(map(len, axes)), self.outer(axes)
        if x.value is None:
            return self.constant(shape, [x.entries[i] for i in places])
        return x.reshaped(shape) if in_order(places, x) else self.select(x, places, shape)

    def spread(self, x: Operand, shape: Shape) -> Sequence[Any]:
        """The entries of ``x``, broadcast to a shape."""
        return x.entries if x.shape == shape else [x.entries[i] for i in self.outer(spread(x.shape, shape))]

    def fold(self, operation: Callable[[Any, Any], Any], a: Operand, b: Operand) -> Operand:
        """An operation on two constants, entry by entry."""
        shape = broadcast(a.shape, b.shape)
        return self.constant(shape, list(map(operation, self.spread(a, shape), self.spread(b, shape))))

    def weighted_sum(self, *terms: tuple[Operand, Operand | int]) -> Operand:
        """The sum of weighted tensors, entry by entry; a weight is a constant, or an integer."""
        pairs = [(x, scalar(w) if isinstance(w, int) else w) for x, w in terms]
        weighted = [(x, w) for x, w in pairs if x.value is not None]
        fixed = [(x, w) for x, w in pairs if x.value is None]
        for x, w in fixed:
            floats = float in map(type, (*x.entries[:1], *w.entries[:1]))
            self.folded |= floats and (len(fixed) > 1 or any(v not in (-1, 1) for v in w.entries))
        constants = [self.fold(mul, x, w) for x, w in fixed]
        if not weighted:
            return reduce(partial(self.fold, add), constants)
        shape = broadcast(*(p.shape for pair in weighted for p in pair), *(c.shape for c in constants))
        self.spend(prod(shape))
        bias = [0.0] * prod(shape)
        for other in constants:
            bias = list(map(add, bias, self.spread(other, shape)))
        columns = [split_up(self.spread(x, shape)) for x, _ in weighted]
        entries = [split_up(self.spread(w, shape)) for _, w in weighted]
        terms_of = [(x, zip(c, e, strict=True)) for (x, _), c, e in zip(weighted, columns, entries, strict=True)]
        return self.affine(terms_of, bias, shape)


def ranked(shape: Iterable[int]) -> Shape:
    """A shape that has not too many axes: of a longer one, even the product would take long."""
    shape = tuple(shape)
    if len(shape) > MAX_RANK:
        raise UnsupportedError(f"a tensor has more than {MAX_RANK} axes")
    return shape


def in_order(places: list[int], x: Operand) -> bool:
    """Whether places are all those of a value, ascending."""
    return len(places) == len(x.entries) and places == list(x.entries)


def scalar(number: float) -> Operand:
    return Operand((), [number])


def split_up(entries: Sequence[Any], width: int = 1) -> Iterator[Any]:
    return (entries[at : at + width] for at in range(0, len(entries), width))


def offsets(shape: Shape) -> list[Sequence[int]]:
    """For each axis, what its indices add to the place of an entry."""
    axes: list[Sequence[int]] = []
    step = 1
    for n in reversed(shape):
        axes.append(range(0, n * step, step))
        step *= max(n, 1)
    return axes[::-1]


def spread(shape: Shape, target: Shape) -> list[Sequence[int]]:
    """The same where ``shape`` is broadcast to ``target``."""
    if broadcast(shape, target) != target:
        raise InputError(f"the shape {shape} does not fit {target}")
    axes = offsets((1,) * (len(target) - len(shape)) + shape)
    return [axis if len(axis) == n else [0] * n for axis, n in zip(axes, target, strict=True)]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape: aligned at the last axis, where a size 1 or a missing axis fits every size."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        size = set(sizes) - {1} or {1}
        if len(size) > 1:
            raise InputError(f"the shapes {shapes} do not fit each other")
        result.append(size.pop())
    return tuple(result)
