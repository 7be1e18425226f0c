"""The network as the exact audit reads it: integers, with the digest of PROOFS.md, section 8. Standard library only."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from operator import add, lt, mul, sub
from typing import Any

try:  # optional: long integers of the same value, sooner
    from flint import fmpz as long
except ImportError:
    long = int  # type: ignore[assignment, misc]

from pydual.audit.exact_numbers import BITS, Vector, bits, dyadic, fraction
from pydual.errors import InputError

Row = tuple[list[int], list[Any]]  # the columns of entries, ascending, and the entries: floats or fractions


class Matrix:
    """A matrix of dyadic rationals: row ``i`` has the integers ``rows[i][1]`` in the columns ``rows[i][0]``."""

    def __init__(self, rows: list[Row], width: int) -> None:
        self.height, self.width = len(rows), width
        flat, self.exponent = dyadic(v for _, values in rows for v in values)
        entries = iter(flat)
        self.rows = [(columns, [next(entries) for _ in columns]) for columns, _ in rows]
        self.bits = bits(flat)
        diagonal = self.height == self.width and all(columns == [i] for i, (columns, _) in enumerate(self.rows))
        self.diagonal = flat if diagonal else None
        self.dense = 4 * len(flat) > self.height * self.width
        self._packed: dict[int, tuple[list[Any], int]] = {}

    def transposed_times(self, w: list[int]) -> list[int]:
        """``w @ M`` as integers (times 2 ** exponent)."""
        if self.diagonal is not None:
            return list(map(mul, w, self.diagonal))
        if self.dense and w.count(0) < len(w) - 2:
            # |(w @ M)_c| < 2 ** (bits of w + bits of M + bits of the height): it fits a signed field of one bit more
            size = (max(BITS, bits(w)) + self.bits + self.height.bit_length()) // 32 * 4 + 4
            packed, offset = self._pack(size)
            return self._unpack(int(sum(map(mul, w, packed))) + offset, size)
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
        radii, _ = self.magnitudes((radius, 0))
        return list(map(sub, middles, radii)), list(map(add, middles, radii))

    def magnitudes(self, v: Vector) -> Vector:
        """``|M| @ v``."""
        entries, places = v
        sums = [sum(map(mul, map(abs, values), map(entries.__getitem__, columns))) for columns, values in self.rows]
        return sums, places + self.exponent

    def _pack(self, size: int) -> tuple[list[Any], int]:
        """Each row as one integer, its entries in fields of ``size`` bytes, and the same for a row of ``half``s."""
        if size not in self._packed:
            half = 1 << (8 * size - 1)
            offset = int.from_bytes(half.to_bytes(size, "little") * self.width, "little")
            packed = []
            for columns, values in self.rows:
                fields = [half] * self.width
                for c, v in zip(columns, values, strict=True):
                    fields[c] += v
                packed.append(long(int.from_bytes(b"".join(f.to_bytes(size, "little") for f in fields), "little") - offset))
            self._packed[size] = packed, offset
        return self._packed[size]

    def _unpack(self, total: int, size: int) -> list[int]:
        data, half = total.to_bytes(size * self.width, "little"), 1 << (8 * size - 1)
        return [int.from_bytes(data[i : i + size], "little") - half for i in range(0, len(data), size)]


def _nonzeros(matrix: Any) -> list[Row]:
    """The rows of a dense or CSR matrix, checked."""
    height, width = matrix.shape
    if hasattr(matrix, "indptr"):
        starts, columns, data = (array.tolist() for array in (matrix.indptr, matrix.indices, matrix.data))
        places = zip(starts, starts[1:], strict=False)
        pairs: Any = (sorted(zip(columns[a:b], data[a:b], strict=True)) for a, b in places)
    else:
        pairs = map(enumerate, matrix.tolist())
    kept = [[(c, v) for c, v in row if v] for row in pairs]
    rows = [([c for c, _ in row], [v for _, v in row]) for row in kept]
    ascending = all(all(map(lt, [-1, *columns], [*columns, width])) for columns, _ in rows)
    if len(rows) != height or not ascending or not all(isfinite(v) for _, values in rows for v in values):
        raise InputError("A weight matrix has a missing row, a repeated or outlying column, NaN or infinity; repair it.")
    return rows


def _canonical_term(source: int, rows: list[Row], width: int) -> bytes:
    starts = [0]
    for columns, _ in rows:
        starts.append(starts[-1] + len(columns))
    count = starts[-1]
    head = f"term {source} {len(rows)} {width} {count}\n".encode() + struct.pack(f"<{len(starts)}q", *starts)
    columns_of_all = struct.pack(f"<{count}q", *(c for columns, _ in rows for c in columns))
    return head + columns_of_all + struct.pack(f"<{count}d", *(v for _, values in rows for v in values))


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


Entries = dict[tuple[int, int], Fraction]


def _part_of(row: Entries, source: int) -> Row:
    """The part of a row that belongs to one value."""
    part = sorted((c, v) for (s, c), v in row.items() if s == source)
    return [c for c, _ in part], [v for _, v in part]


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
        self.written = self._write_out()

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
        if not all(map(isfinite, bias)):
            raise InputError("A bias contains NaN or infinity; repair the network.")
        state.update(f"affine {len(bias)} {len(affine.terms)}\n".encode() + struct.pack(f"<{len(bias)}d", *bias))
        terms = []
        for source, stored in affine.terms:
            rows, width = _nonzeros(stored), stored.shape[1]
            self._check(source, width)
            if len(rows) != len(bias):
                raise InputError("A weight matrix and its bias differ in length; repair the network.")
            state.update(_canonical_term(source, rows, width))
            terms.append((source, Matrix(rows, width)))
        lengths = zip(*([len(columns) for columns, _ in matrix.rows] for _, matrix in terms), strict=True)
        self.primitives.append(Affine(terms, dyadic(bias), max(map(sum, lengths), default=0)))
        self.sizes.append(len(bias))

    def _write_out(self) -> dict[int, Affine]:
        """Affine values as maps over the input and outputs of activations, where a component meets itself in a row."""
        written: dict[int, Affine] = {}
        reach: list[set[int]] = [{0}]  # of each value, the values that are not affine and that it reads through affine ones
        for value, affine in enumerate(self.primitives, 1):
            if not isinstance(affine, Affine):
                reach.append({value})
                continue
            reached = [s for source, _ in affine.terms for s in reach[source]]
            reach.append(set(reached))
            mixed = any(reach[s] != {s} and any(len(c) > 1 for c, _ in matrix.rows) for s, matrix in affine.terms)
            if mixed or len(set(reached)) < len(reached):
                rows = [self._written_row(affine, i, written) for i in range(self.sizes[value])]
                if any(met for _, _, met in rows):
                    parts = {s: Matrix([_part_of(row, s) for row, _, _ in rows], self.sizes[s]) for s in set(reached)}
                    written[value] = Affine(list(parts.items()), dyadic([bias for _, bias, _ in rows]), 0)
        return written

    def _written_row(self, affine: Affine, i: int, written: dict[int, Affine]) -> tuple[Entries, Fraction, bool]:
        """Entries by value and component, the bias, and whether a component met itself."""
        row: Entries = {}
        bias, met = Fraction(0), False
        pending = [(affine, i, Fraction(1))]
        while pending:
            at, i, factor = pending.pop()
            bias += factor * fraction((at.bias[0][i], at.bias[1]))
            for source, matrix in at.terms:
                inner = written.get(source) or (self.primitives[source - 1] if source else None)
                for c, v in zip(*matrix.rows[i], strict=True):
                    entry = factor * fraction((v, matrix.exponent))
                    if isinstance(inner, Affine):
                        pending.append((inner, c, entry))
                    else:
                        met = met or (source, c) in row
                        row[source, c] = row.get((source, c), Fraction(0)) + entry
        return row, bias, met

    def _check(self, source: int, size: int) -> None:
        if not (0 <= source < len(self.sizes) and size == self.sizes[source]):
            raise InputError("A primitive of the network does not fit the value that it reads; repair the network.")
