"""Tensors of the exact audit's ONNX reader, and the primitives that it builds. Standard library only.

All operators that only move entries (slices, transpositions, padding, ...) are lists of places, given to ``Graph.move``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
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
Rows = Iterable[tuple[Sequence[int], Sequence[float]]]  # of each row of a matrix: columns (negative: none), and entries


def require(fits: bool, complaint: str, error: type[InputError] = InputError) -> None:
    """Refuse a node unless it fits; the complaint is the middle of a sentence, whoever calls names the node."""
    if not fits:
        raise error(complaint)


@dataclass(frozen=True)
class Operand:
    """A tensor, row-major: the numbers of a constant, all int or all float; or the places 0, 1, ... in a value."""

    shape: Shape
    entries: Sequence[Any]
    value: int | None = None

    def reshaped(self, shape: Iterable[int]) -> Operand:
        shape = ranked(shape)
        fits = prod(shape) == len(self.entries) and min(shape, default=0) >= 0
        require(fits, f"a tensor of shape {self.shape} cannot have the shape {shape}")
        return Operand(shape, self.entries, self.value)

    @property
    def numbers(self) -> Sequence[Any]:
        """The entries of what must be a constant."""
        require(self.value is None, "a tensor depends on the input where it must be constant", UnsupportedError)
        return self.entries


class Graph:
    """The primitives of a network under construction."""

    def __init__(self, shape: Shape) -> None:
        self.budget = MAX_ENTRIES
        self.primitives: list[Any] = []
        self.activations: dict[tuple[str, int], Operand] = {}  # a value has one of a kind
        self.folded = False  # whether float constants were computed from others
        self.input = self._new(shape)

    def spend(self, entries: int) -> None:
        self.budget -= entries
        require(self.budget >= 0, f"the tensors and matrices have more than {MAX_ENTRIES} entries", UnsupportedError)

    def _new(self, shape: Shape, *primitives: Any) -> Operand:
        self.primitives += primitives
        self.spend(prod(shape))
        require(prod(shape) > 0, f"a tensor of shape {shape} is empty", UnsupportedError)
        return Operand(shape, range(prod(shape)), len(self.primitives))

    def constant(self, shape: Iterable[int], entries: Sequence[Any]) -> Operand:
        """A constant that was computed: all int if all are, else all float."""
        self.spend(len(entries))
        if float in set(map(type, entries)):
            entries = list(map(float, entries))
        else:
            require(all(-(2**63) <= v < 2**63 for v in entries), "an integer constant does not fit 64 bits")
        require(all(map(isfinite, entries)), "a constant becomes NaN or infinite")
        return Operand((len(entries),), entries).reshaped(shape)

    def affine(self, terms: Sequence[tuple[Operand, Rows]], bias: Iterable[float], shape: Shape) -> Operand:
        """The affine map with a matrix for each of ``terms``, which must depend on the input."""
        packed = [(x.value, self._matrix(rows, len(x.entries))) for x, rows in terms]
        numbers = array("d", bias)
        require(all(x.value is not None for x, _ in terms), "an input is constant, which is not supported", UnsupportedError)
        lengths = {len(numbers), prod(shape), *(matrix.shape[0] for _, matrix in packed)}
        require(len(lengths) == 1, f"the parts of a tensor of shape {shape} differ in length")
        return self._new(shape, SimpleNamespace(terms=packed, bias=numbers, size=len(numbers)))

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

    def activation(self, x: Operand, kind: str) -> Operand:
        if x.value is None:
            require(kind == "relu", f"the {kind} of a constant has no rule for its last bit", UnsupportedError)
            return self.constant(x.shape, [max(type(v)(0), v) for v in x.entries])
        if (kind, x.value) not in self.activations:
            new = self._new(x.shape, SimpleNamespace(kind=kind, source=x.value, size=len(x.entries)))
            self.activations[kind, x.value] = new
        return self.activations[kind, x.value].reshaped(x.shape)

    def relu(self, x: Operand) -> Operand:
        return self.activation(x, "relu")

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

    def move(self, x: Operand, places: list[int], shape: Shape, fill: float | None = None) -> Operand:
        """The entries of ``x`` at ``places``, or ``fill`` where they are negative."""
        if x.value is None:
            return self.constant(shape, [fill if p < 0 else x.entries[p] for p in places])
        if fill is None and len(places) == len(x.entries) and places == list(x.entries):
            return x.reshaped(shape)
        rows = (((p,), (1.0,)) for p in places)
        return self.affine([(x, rows)], [fill or 0.0 if p < 0 else 0.0 for p in places], shape)

    def pick(self, x: Operand, axes: Sequence[Sequence[int]]) -> Operand:
        """The entries of ``x`` whose places are the sums of one number from each axis."""
        return self.move(x, self.outer(axes), tuple(map(len, axes)))

    def spread(self, x: Operand, shape: Shape) -> Sequence[Any]:
        """The entries of ``x``, broadcast to a shape."""
        return x.entries if x.shape == shape else [x.entries[i] for i in self.outer(spread_axes(x.shape, shape))]

    def fold(self, operation: Callable[[Any, Any], Any], a: Operand, b: Operand) -> Operand:
        """An operation on two constants, entry by entry."""
        shape = broadcast(a.shape, b.shape)
        return self.constant(shape, list(map(operation, self.spread(a, shape), self.spread(b, shape))))

    def weighted_sum(self, *terms: tuple[Operand, Operand | int]) -> Operand:
        """The sum of weighted tensors, entry by entry; a weight is a constant, or an integer."""
        pairs = [(x, scalar(w) if isinstance(w, int) else w) for x, w in terms]
        fixed = [(x, w) for x, w in pairs if x.value is None]
        for x, w in fixed:
            floats = float in map(type, (*x.entries[:1], *w.numbers[:1]))
            self.folded |= floats and (len(fixed) > 1 or any(v not in (-1, 1) for v in w.entries))
        constants = [self.fold(mul, x, w) for x, w in fixed]
        if len(fixed) == len(pairs):
            return reduce(partial(self.fold, add), constants)
        shape = broadcast(*(operand.shape for pair in pairs for operand in pair))
        self.spend(prod(shape))
        bias = reduce(partial(self.fold, add), constants, Operand(shape, [0.0] * prod(shape)))
        parts = [(x, self.spread(x, shape), self.spread(w, shape)) for x, w in pairs if x.value is not None]
        rows = [(x, (((c,), (v,)) for c, v in zip(columns, weights, strict=True))) for x, columns, weights in parts]
        return self.affine(rows, bias.entries, shape)


def ranked(shape: Iterable[int]) -> Shape:
    """A shape that has not too many axes: of a longer one, even the product would take long."""
    shape = tuple(shape)
    require(len(shape) <= MAX_RANK, f"a tensor has more than {MAX_RANK} axes", UnsupportedError)
    return shape


def scalar(number: float) -> Operand:
    return Operand((), [number])


def split_up(entries: Sequence[Any], width: int) -> list[Any]:
    return [entries[at : at + width] for at in range(0, len(entries), width)]


def offsets(shape: Shape) -> list[Sequence[int]]:
    """For each axis, what its indices add to the place of an entry."""
    steps = [prod(shape[i + 1 :]) for i in range(len(shape))]
    return [[i * step for i in range(n)] for n, step in zip(shape, steps, strict=True)]


def spread_axes(shape: Shape, target: Shape) -> list[Sequence[int]]:
    """The same where ``shape`` is broadcast to ``target``."""
    require(broadcast(shape, target) == target, f"the shape {shape} does not fit {target}")
    axes = offsets((1,) * (len(target) - len(shape)) + shape)
    return [axis if len(axis) == n else [0] * n for axis, n in zip(axes, target, strict=True)]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape: aligned at the last axis, where a size 1 or a missing axis fits every size."""
    rank = max(map(len, shapes))
    columns = list(zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True))
    require(all(len({*sizes} - {1}) <= 1 for sizes in columns), f"the shapes {shapes} do not fit each other")
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in columns)
