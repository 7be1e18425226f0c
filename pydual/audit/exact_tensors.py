"""Tensors of the exact audit's ONNX reader, and the primitives that it builds. Standard library only.

Operators list places: which entries of a tensor an entry of the result is made of. Lists of places come from ``Graph.outer``.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from types import SimpleNamespace
from typing import Any

from pydual.errors import InputError, UnsupportedError

MAX_ENTRIES = 2**22  # of all tensors, matrices and lists of places that a model makes
OUTSIDE = -(2**62)  # a place in no tensor: negative, whatever is added
# of each TensorProto.DataType that is read: the format of a number, and the field of the numbers that are not raw
STORED = {1: ("f", "float_data"), 6: ("i", "int32_data"), 7: ("q", "int64_data"), 11: ("d", "double_data")}

Shape = tuple[int, ...]
Rows = Iterable[tuple[Sequence[int], Sequence[float]]]  # of each row of a matrix: columns (negative: none), and entries


def require(fits: bool, complaint: str, error: type[InputError] = InputError) -> None:
    """Refuse a model or node unless it fits; the complaint is a sentence without its end."""
    if not fits:
        raise error(f"{complaint}.")


@dataclass(frozen=True)
class Tensor:
    """A tensor, row-major: the numbers of a constant, or the places 0, 1, ... in a value."""

    shape: Shape
    entries: Sequence[Any]
    value: int | None = None

    def __post_init__(self) -> None:
        fits = len(self.shape) <= 32 and min(self.shape, default=1) > 0 and prod(self.shape) == len(self.entries)
        require(fits, f"{len(self.entries)} entries are given an empty or unlike shape, or one of more than 32 axes")

    def reshaped(self, shape: Iterable[int]) -> Tensor:
        return Tensor(tuple(shape), self.entries, self.value)

    @property
    def numbers(self) -> Sequence[Any]:
        """The entries of what must be a constant."""
        require(self.value is None, "a tensor depends on the input where it must be constant", UnsupportedError)
        return self.entries


class Graph:
    """A network under construction, in the form that ``exact_network`` reads."""

    def __init__(self, shape: Shape) -> None:
        self.budget = MAX_ENTRIES
        self.primitives: list[Any] = []
        self.activations: dict[tuple[str, int | None], Tensor] = {}  # a value has one of a kind
        self.folded = False  # whether constants were computed in floats
        self.input_size, self.output, self.output_size = prod(shape), 0, 0
        self.spend(self.input_size)
        self.input = Tensor(shape, range(self.input_size), 0)

    def spend(self, entries: int) -> None:
        self.budget -= entries
        require(self.budget >= 0, f"the tensors and matrices have more than {MAX_ENTRIES} entries", UnsupportedError)

    def constant(self, message: Any) -> Tensor:
        """The tensor of a TensorProto."""
        known = message.element in STORED and not message.location
        require(known, "a constant is not float32, float64, int32 or int64, or not in the file", UnsupportedError)
        code, field = STORED[message.element]
        packed = message.raw_data or struct.pack(f"<{len(getattr(message, field))}{code}", *getattr(message, field))
        entries = [number for (number,) in struct.iter_unpack(f"<{code}", packed)]
        require(all(map(isfinite, entries)), "a constant contains NaN or infinity")
        self.spend(len(entries))
        return Tensor(tuple(message.dims), entries)

    def _new(self, shape: Shape, size: int, **primitive: Any) -> Tensor:
        self.spend(size)
        self.primitives.append(SimpleNamespace(size=size, **primitive))
        return Tensor(shape, range(size), len(self.primitives))

    def affine(self, terms: Iterable[tuple[Tensor, Rows]], bias: Iterable[float], shape: Shape) -> Tensor:
        """The affine map with a matrix for each of ``terms``, which must depend on the input."""
        matrices = [(x.value, self._matrix(x, rows)) for x, rows in terms]
        require(bool(matrices), "arithmetic on constants is not supported", UnsupportedError)
        numbers = array("d", bias)
        return self._new(shape, len(numbers), terms=matrices, bias=numbers)

    def _matrix(self, x: Tensor, rows: Rows) -> Any:
        require(x.value is not None, "an operator on constants alone is not supported", UnsupportedError)
        starts, indices, data = array("q", [0]), array("q"), array("d")
        for columns, entries in rows:
            kept = [(c, v) for c, v in zip(columns, entries, strict=True) if c >= 0]
            self.spend(len(kept) + 1)
            indices.extend(c for c, _ in kept)
            data.extend(v for _, v in kept)
            starts.append(len(indices))
        return SimpleNamespace(shape=(len(starts) - 1, len(x.entries)), indptr=starts, indices=indices, data=data)

    def activation(self, kind: str, x: Tensor) -> Tensor:
        require(x.value is not None, f"the {kind} of a constant is not supported", UnsupportedError)
        key = kind, x.value
        if key not in self.activations:
            self.activations[key] = self._new(x.shape, len(x.entries), kind=kind, source=x.value)
        return self.activations[key].reshaped(x.shape)

    def relu(self, *terms: tuple[Tensor, Tensor | float]) -> Tensor:
        """The relu of a weighted sum."""
        return self.activation("relu", self.weighted_sum(*terms))

    def outer(self, axes: Sequence[Sequence[int]]) -> list[int]:
        """The sums of one number from each axis, row-major."""
        require(all(axes), "a tensor has no entries", UnsupportedError)
        self.spend(prod(map(len, axes)))
        result = [0]
        for axis in axes:
            result = [a + b for a in result for b in axis]
        return result

    def move(self, x: Tensor, places: list[int], shape: Shape, fill: float | None = None) -> Tensor:
        """The entries of ``x`` at ``places``, or ``fill`` where they are negative."""
        if x.value is None:
            return Tensor(shape, [fill if p < 0 else x.entries[p] for p in places])
        if fill is None and places == [*x.entries]:
            return x.reshaped(shape)
        bias = [fill if fill and p < 0 else 0.0 for p in places]
        return self.affine([(x, ones((p,) for p in places))], bias, shape)

    def pick(self, x: Tensor, axes: Sequence[Sequence[int]]) -> Tensor:
        """The entries of ``x`` whose places are the sums of one number from each axis."""
        return self.move(x, self.outer(axes), tuple(map(len, axes)))

    def spread(self, x: Tensor, shape: Shape) -> list[Any]:
        """The entries of ``x``, broadcast to a shape."""
        require(broadcast(x.shape, shape) == shape, f"the shape {x.shape} does not fit {shape}")
        axes = zip(offsets((1,) * (len(shape) - len(x.shape)) + x.shape), shape, strict=True)
        return [x.entries[i] for i in self.outer([axis if len(axis) == n else [0] * n for axis, n in axes])]

    def weighted_sum(self, *terms: tuple[Tensor, Tensor | float]) -> Tensor:
        """The sum of weighted tensors, entry by entry; a weight is a constant, or a number."""
        pairs = [(x, w if isinstance(w, Tensor) else scalar(w)) for x, w in terms]
        shape = broadcast(*(tensor.shape for pair in pairs for tensor in pair))
        bias, matrices = self.spread(scalar(0.0), shape), []
        for x, w in pairs:
            require(w.value is None, "a product of values that depend on the input is not supported", UnsupportedError)
            places, weights = self.spread(x, shape), self.spread(w, shape)
            if x.value is not None:
                matrices.append((x, zip(zip(places), zip(weights), strict=True)))
            else:
                bias = [b + weight * entry for b, weight, entry in zip(bias, weights, places, strict=True)]
        return self.affine(matrices, bias, shape)


def scalar(number: float) -> Tensor:
    return Tensor((), [number])


def ones(places: Iterable[Sequence[int]]) -> Rows:
    return ((row, [1.0] * len(row)) for row in places)


def split_up(entries: Sequence[Any], width: int) -> list[Any]:
    return [entries[at : at + width] for at in range(0, len(entries), width)]


def offsets(shape: Shape) -> list[Sequence[int]]:
    """For each axis, what its indices add to the place of an entry."""
    steps = [prod(shape[i + 1 :]) for i in range(len(shape))]
    return [range(0, n * step, step) for n, step in zip(shape, steps, strict=True)]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape: aligned at the last axis, where a size 1 or a missing axis fits every size."""
    rank = max(map(len, shapes))
    columns = list(zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True))
    require(all({*sizes} <= {1, max(sizes)} for sizes in columns), f"the shapes {shapes} do not fit each other")
    return tuple(map(max, columns))
