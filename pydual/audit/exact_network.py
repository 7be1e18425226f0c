"""The network as the exact audit reads it: integers, with the digest of PROOFS.md, section 8. Standard library only.

A *vector* is a list of integers with one exponent: the numbers ``integer * 2**exponent``.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add, mul, sub
from typing import Any

from pydual.errors import InputError

BITS = 60  # what rounded numbers keep, relative to the largest of their vector: two digits of a Python integer

Vector = tuple[list[int], int]  # integers, exponent
Interval = tuple[list[int], list[int], int]  # lower bounds, upper bounds, exponent
Number = tuple[int, int]  # integer, exponent


def dyadic(values: Iterable[float]) -> Vector:
    """Finite floats or integers, exactly."""
    ratios = [value.as_integer_ratio() for value in values]
    places = max((d.bit_length() for _, d in ratios), default=1)
    return [n << (places - d.bit_length()) for n, d in ratios], 1 - places


def bits(integers: list[int]) -> int:
    return max(map(abs, integers), default=0).bit_length()


def plus(a: Number, b: Number) -> Number:
    exponent = min(a[1], b[1])
    return (a[0] << (a[1] - exponent)) + (b[0] << (b[1] - exponent)), exponent


def total(vectors: Sequence[Vector]) -> Vector:
    """The sum of one or more vectors."""
    exponent = min(places for _, places in vectors)
    shifted = [v if places == exponent else [x << (places - exponent) for x in v] for v, places in vectors]
    return list(map(sum, zip(*shifted, strict=True))) if len(shifted) != 2 else list(map(add, *shifted)), exponent


def rounded_up(vector: Vector) -> Vector:
    shift = max(0, bits(vector[0]) - BITS)
    return [-(-v >> shift) for v in vector[0]], vector[1] + shift


def round_down(a: Number, exponent: int) -> int:
    """The largest integer ``n`` with ``n * 2**exponent <= a``."""
    shift = a[1] - exponent
    return a[0] << shift if shift >= 0 else a[0] >> -shift


def fraction(a: Number) -> Fraction:
    return a[0] * Fraction(2) ** a[1]


def outward(lower: list[int], upper: list[int], exponent: int) -> Interval:
    shift = max(0, bits(lower) - BITS, bits(upper) - BITS)
    return [v >> shift for v in lower], [-(-v >> shift) for v in upper], exponent + shift


class Matrix:
    """A matrix of dyadic rationals: row ``i`` has the integers ``rows[i][1]`` in the columns ``rows[i][0]``."""

    def __init__(self, matrix: Any) -> None:
        self.height, self.width = matrix.shape
        self.floats = _nonzeros(matrix)
        flat, self.exponent = dyadic(v for _, values in self.floats for v in values)
        entries = iter(flat)
        self.rows = [(columns, [next(entries) for _ in columns]) for columns, _ in self.floats]
        self.bits = bits(flat)
        diagonal = self.height == self.width and all(columns == [i] for i, (columns, _) in enumerate(self.rows))
        self.diagonal = flat if diagonal else None
        self.dense = 4 * len(flat) > self.height * self.width
        self._packed: dict[int, tuple[list[int], int]] = {}

    def transposed_times(self, w: list[int]) -> list[int]:
        """``w @ M`` as integers (times 2 ** exponent)."""
        if self.diagonal is not None:
            return list(map(mul, w, self.diagonal))
        if self.dense and w.count(0) < len(w) - 2:
            # |(w @ M)_c| < 2 ** (bits of w + bits of M + bits of the height): it fits a signed field of one bit more
            size = (max(BITS, bits(w)) + self.bits + self.height.bit_length()) // 32 * 4 + 4
            packed, offset = self._pack(size)
            return self._unpack(sum(map(mul, w, packed)) + offset, size)
        result = [0] * self.width
        for coefficient, (columns, values) in zip(w, self.rows, strict=True):
            if coefficient:
                for c, v in zip(columns, values, strict=True):
                    result[c] += coefficient * v
        return result

    def image(self, lower: list[int], upper: list[int]) -> tuple[list[int], list[int]]:
        """Interval arithmetic: the bounds of ``M @ v``, twice, from midpoint and radius (both doubled)."""
        middle, radius = list(map(add, lower, upper)), list(map(sub, upper, lower))
        middles = [sum(map(mul, values, map(middle.__getitem__, columns))) for columns, values in self.rows]
        radii = [sum(map(mul, map(abs, values), map(radius.__getitem__, columns))) for columns, values in self.rows]
        return list(map(sub, middles, radii)), list(map(add, middles, radii))

    def _pack(self, size: int) -> tuple[list[int], int]:
        """Each row as one integer, its entries in fields of ``size`` bytes, and the same for a row of ``half``s."""
        if size not in self._packed:
            half = 1 << (8 * size - 1)
            offset = int.from_bytes(half.to_bytes(size, "little") * self.width, "little")
            packed = []
            for columns, values in self.rows:
                fields = [half] * self.width
                for c, v in zip(columns, values, strict=True):
                    fields[c] += v
                packed.append(int.from_bytes(b"".join(f.to_bytes(size, "little") for f in fields), "little") - offset)
            self._packed[size] = packed, offset
        return self._packed[size]

    def _unpack(self, total: int, size: int) -> list[int]:
        data, half = total.to_bytes(size * self.width, "little"), 1 << (8 * size - 1)
        return [int.from_bytes(data[i : i + size], "little") - half for i in range(0, len(data), size)]


def _nonzeros(matrix: Any) -> list[tuple[list[int], list[float]]]:
    """The nonzero entries of each row, (columns, values), columns ascending, of a dense or CSR matrix."""
    if hasattr(matrix, "indptr"):
        starts, columns, data = matrix.indptr.tolist(), matrix.indices.tolist(), matrix.data.tolist()
        pairs: Iterable[Any] = (
            sorted(zip(columns[a:b], data[a:b], strict=True)) for a, b in zip(starts, starts[1:], strict=False)
        )
    else:
        pairs = map(enumerate, matrix.tolist())
    rows = [[(c, v) for c, v in row if v] for row in pairs]
    for row in rows:
        previous = -1
        for c, v in row:
            if not (previous < c < matrix.shape[1] and math.isfinite(v)):
                raise InputError("A weight matrix has a repeated or outlying column, NaN or infinity; repair it.")
            previous = c
    if len(rows) != matrix.shape[0]:
        raise InputError("A weight matrix has not as many rows as its shape says; repair the network.")
    return [([c for c, _ in row], [v for _, v in row]) for row in rows]


@dataclass
class Affine:
    """``v = sum M @ v[source] + bias`` over the terms (source, M); no row has more than ``longest`` nonzero entries."""

    terms: list[tuple[int, Matrix]]
    bias: Vector
    longest: int


@dataclass
class Activation:
    """``v = f(v[source])``, elementwise: ``kind`` is "relu", "sigmoid" or "tanh"; relu neurons count from ``first``."""

    source: int
    kind: str
    first: int


class Network:
    """The network as integers, checked: sources come before their use, and shapes fit."""

    def __init__(self, network: Any) -> None:
        self.sizes: list[int] = [network.input_size]
        self.primitives: list[Affine | Activation] = []
        self.neurons: list[tuple[int, int]] = []  # of each neuron: the value and the component that it is applied to
        self.output: int = network.output
        state = hashlib.sha256(f"network {network.input_size} {len(network.primitives)} {network.output}\n".encode())
        for primitive in network.primitives:
            (self._add_affine if hasattr(primitive, "terms") else self._add_activation)(primitive, state)
        if not 0 <= self.output < len(self.sizes):
            raise InputError("The network's output is none of its values; repair the network.")
        self.digest = state.hexdigest()
        activations = [p for p in self.primitives if isinstance(p, Activation)]
        self.sources = {p.source for p in activations}
        self.curved = {p.source for p in activations if p.kind != "relu"}

    def _add_activation(self, activation: Any, state: Any) -> None:
        kind = getattr(activation, "kind", "relu")
        if kind not in ("relu", "sigmoid", "tanh"):
            raise InputError(f"The network has an activation {kind!r}; the audit knows relu, sigmoid and tanh.")
        self._check(activation.source, activation.size)
        state.update(f"{kind} {activation.source}\n".encode())
        self.primitives.append(Activation(activation.source, kind, len(self.neurons)))
        if kind == "relu":
            self.neurons += [(activation.source, c) for c in range(activation.size)]
        self.sizes.append(activation.size)

    def _add_affine(self, affine: Any, state: Any) -> None:
        bias = affine.bias.tolist()
        if not all(map(math.isfinite, bias)):
            raise InputError("A bias contains NaN or infinity; repair the network.")
        state.update(f"affine {len(bias)} {len(affine.terms)}\n".encode() + struct.pack(f"<{len(bias)}d", *bias))
        terms = []
        for source, stored in affine.terms:
            matrix = Matrix(stored)
            self._check(source, matrix.width)
            if matrix.height != len(bias):
                raise InputError("A weight matrix and its bias differ in length; repair the network.")
            state.update(_matrix_bytes(source, matrix))
            del matrix.floats
            terms.append((source, matrix))
        lengths = zip(*([len(columns) for columns, _ in matrix.rows] for _, matrix in terms), strict=True)
        self.primitives.append(Affine(terms, dyadic(bias), max(map(sum, lengths), default=0)))
        self.sizes.append(len(bias))

    def _check(self, source: int, size: int) -> None:
        if not (0 <= source < len(self.sizes) and size == self.sizes[source]):
            raise InputError("A primitive of the network does not fit the value that it reads; repair the network.")


def _matrix_bytes(source: int, matrix: Matrix) -> bytes:
    starts = [0]
    for columns, _ in matrix.floats:
        starts.append(starts[-1] + len(columns))
    count = starts[-1]
    return b"".join(
        (
            f"term {source} {matrix.height} {matrix.width} {count}\n".encode(),
            struct.pack(f"<{len(starts)}q", *starts),
            struct.pack(f"<{count}q", *(c for columns, _ in matrix.floats for c in columns)),
            struct.pack(f"<{count}d", *(v for _, values in matrix.floats for v in values)),
        )
    )
