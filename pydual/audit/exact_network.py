"""The network as the exact audit reads it: integers, with the digest of PROOFS.md, section 8. Standard library only."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from math import isfinite
from operator import add, lt, mul, sub
from typing import Any

try:  # optional: long integers of the same value, sooner
    from flint import fmpz as long
except ImportError:
    long = int  # type: ignore[assignment, misc]

from pydual.audit.exact_region import BITS, Interval, Vector, bits, dyadic
from pydual.errors import InputError

LONG = 512  # bits from which on rows are not packed: they would be kept in too much memory


class Matrix:
    """A matrix of dyadic rationals: row ``i`` has the integers ``rows[i][1]`` in the columns ``rows[i][0]``."""

    def __init__(self, rows: list[list[tuple[int, float]]], width: int) -> None:
        self.width = width
        flat, self.exponent = dyadic(v for row in rows for _, v in row)
        entries = iter(flat)
        self.rows = [([c for c, _ in row], [next(entries) for _ in row]) for row in rows]
        self.bits = bits(flat)
        self._dense = 4 * len(flat) > len(rows) * width
        self._size, self._packed = 0, list[Any]()

    def transposed_times(self, w: list[int]) -> list[int]:
        """``w @ M`` as integers (times 2 ** exponent)."""
        if self._dense and w.count(0) < len(w) - 2 and bits(w) + self.bits < LONG:
            return self._dense_product(w)
        result = [0] * self.width
        for coefficient, (columns, values) in zip(w, self.rows, strict=True):
            if coefficient:
                for c, v in zip(columns, values, strict=True):
                    result[c] += coefficient * v
        return result

    def _dense_product(self, w: list[int]) -> list[int]:
        """The same with one multiplication a row: rows are packed into long integers, an entry in ``size`` bytes."""
        # |(w @ M)_c| < 2 ** (bits of w + bits of M + bits of the height): it fits a signed field of one bit more
        size = (max(BITS, bits(w)) + self.bits + len(w).bit_length()) // 32 * 4 + 4
        if size > self._size:
            packed = (sum(v << 8 * size * c for c, v in zip(*row, strict=True)) for row in self.rows)
            self._size, self._packed = size, list(map(long, packed))
        size = self._size
        half = 1 << (8 * size - 1)  # added to each field, and taken off again, so that no field is negative
        halves = int.from_bytes(half.to_bytes(size, "little") * self.width, "little")
        data = (int(sum(map(mul, w, self._packed))) + halves).to_bytes(size * self.width, "little")
        return [int.from_bytes(data[i : i + size], "little") - half for i in range(0, len(data), size)]

    def image(self, interval: Interval) -> Interval:
        """Interval arithmetic: the bounds of ``M @ v`` from midpoint and radius, both doubled."""
        lower, upper, exponent = interval
        middle, radii = list(map(add, lower, upper)), self.magnitudes(list(map(sub, upper, lower)))
        middles = [sum(map(mul, values, map(middle.__getitem__, columns))) for columns, values in self.rows]
        return list(map(sub, middles, radii)), list(map(add, middles, radii)), self.exponent + exponent - 1

    def magnitudes(self, v: list[int]) -> list[int]:
        """``|M| @ v`` as integers (times 2 ** exponent)."""
        return [sum(map(mul, map(abs, values), map(v.__getitem__, columns))) for columns, values in self.rows]


def _canonical(stored: Any) -> tuple[Matrix, bytes]:
    """A dense or CSR matrix, checked, and its canonical form."""
    height, width = stored.shape
    if hasattr(stored, "indptr"):
        starts, columns, data = (array.tolist() for array in (stored.indptr, stored.indices, stored.data))
        places = zip(starts, starts[1:], strict=False)
        pairs: Any = (sorted(zip(columns[a:b], data[a:b], strict=True)) for a, b in places)
    else:
        pairs = map(enumerate, stored.tolist())
    rows = [[(c, v) for c, v in row if v] for row in pairs]
    ascending = all(all(map(lt, [-1, *(c for c, _ in row)], [*(c for c, _ in row), width])) for row in rows)
    if len(rows) != height or not ascending or not all(isfinite(v) for row in rows for _, v in row):
        raise InputError("A weight matrix has a missing row, a repeated or outlying column, NaN or infinity; repair it.")
    ends = [0]
    for row in rows:
        ends.append(ends[-1] + len(row))
    form = f"{height} {width} {ends[-1]}\n".encode() + struct.pack(f"<{len(ends)}q", *ends)
    form += struct.pack(f"<{ends[-1]}q", *(c for row in rows for c, _ in row))
    return Matrix(rows, width), form + struct.pack(f"<{ends[-1]}d", *(v for row in rows for _, v in row))


@dataclass
class Affine:
    """``v = sum M @ v[source] + bias`` over the terms (source, M); no row has more than ``longest`` entries in all.

    ``mixes``: written out over what is not affine, the map may have several entries of one component in a row.
    """

    terms: list[tuple[int, Matrix]]
    bias: Vector
    longest: int
    mixes: bool


@dataclass
class Activation:
    """``v = f(v[source])``, elementwise: ``kind`` "relu", "sigmoid", "tanh" or "square"; relu neurons count from ``first``."""

    source: int
    kind: str
    first: int


class Network:
    """The network as integers, checked: sources come before their use, and shapes fit."""

    def __init__(self, network: Any) -> None:
        self.sizes: list[int] = [network.input_size]
        self.values: list[Affine | Activation | None] = [None]  # value 0 is the input
        self.neurons: list[tuple[int, int]] = []  # of each neuron: the value and the component that it is applied to
        self.output: int = network.output
        self._state = hashlib.sha256(f"network {network.input_size} {len(network.primitives)} {network.output}\n".encode())
        for primitive in network.primitives:
            value = self._affine(primitive) if hasattr(primitive, "terms") else self._activation(primitive)
            self.values.append(value)
        if not 0 <= self.output < len(self.sizes):
            raise InputError("The network's output is none of its values; repair the network.")
        self.digest = self._state.hexdigest()
        activations = [v for v in self.values if isinstance(v, Activation)]
        self.sources = {v.source for v in activations}
        self.curved = {v.source for v in activations if v.kind != "relu"}

    def is_affine(self, value: int) -> bool:
        return isinstance(self.values[value], Affine)

    def _activation(self, activation: Any) -> Activation:
        kind, source, size, first = getattr(activation, "kind", "relu"), activation.source, activation.size, len(self.neurons)
        if kind not in ("relu", "sigmoid", "tanh", "square"):
            raise InputError(f"The network has an activation {kind!r}; the audit knows relu, sigmoid, tanh and square.")
        self._check(source, size)
        self._state.update(f"{kind} {source}\n".encode())
        if kind == "relu":
            self.neurons += [(source, c) for c in range(size)]
        self.sizes.append(size)
        return Activation(source, kind, first)

    def _affine(self, affine: Any) -> Affine:
        bias, terms = affine.bias.tolist(), []
        if not all(map(isfinite, bias)):
            raise InputError("A bias contains NaN or infinity; repair the network.")
        self._state.update(f"affine {len(bias)} {len(affine.terms)}\n".encode() + struct.pack(f"<{len(bias)}d", *bias))
        for source, stored in affine.terms:
            self._check(source, stored.shape[1])
            matrix, form = _canonical(stored)
            if len(matrix.rows) != len(bias):
                raise InputError("A weight matrix and its bias differ in length; repair the network.")
            self._state.update(f"term {source} ".encode() + form)
            terms.append((source, matrix))
        self.sizes.append(len(bias))
        lengths = zip(*([len(columns) for columns, _ in matrix.rows] for _, matrix in terms), strict=True)
        longest, sources = max(map(sum, lengths), default=0), [source for source, _ in terms]
        mixes = longest > 1 and (any(map(self.is_affine, sources)) or len(set(sources)) < len(sources))
        return Affine(terms, dyadic(bias), longest, mixes)

    def _check(self, source: int, size: int) -> None:
        if not (0 <= source < len(self.sizes) and size == self.sizes[source]):
            raise InputError("A primitive of the network does not fit the value that it reads; repair the network.")
