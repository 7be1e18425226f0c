"""Moments of degree 2d of the inputs and unstable neurons of a cell (Lasserre 2001), sparse by layers (Waki et al. 2006).

Variables are scaled: ``x = lower + scale s`` and ``z = scale s``. Moments are those of polynomials modulo the equations
``z (z - p) = 0``: where the variables of a monomial and of ``p`` have a clique in common, ``z^2`` is replaced by ``z p``.
So there are no equations left between moments, and fewer of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from math import comb

import numpy as np
import scipy.sparse as sparse

from pydual.region import Region
from pydual.relax.reduced import Reduced, Rows

Monomial = tuple[int, ...]  # ascending numbers of variables
Polynomial = dict[Monomial, float]

ONE: Polynomial = {(): 1.0}
STEEP = 0.1  # a neuron is scaled by at least this share of the depth of its interval


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for m, c in a.items():
        for n, e in b.items():
            key = tuple(sorted(m + n))
            product[key] = product.get(key, 0.0) + c * e
    return product


def plus(a: Polynomial, b: Polynomial, factor: float = 1.0) -> Polynomial:
    """``a + factor b``."""
    total = dict(a)
    for m, c in b.items():
        total[m] = total.get(m, 0.0) + factor * c
    return total


def monomials(variables: Sequence[int], degree: int) -> list[Monomial]:
    """Those up to a degree: by degree, then lexicographically."""
    return [m for d in range(degree + 1) for m in combinations_with_replacement(variables, d)]


@dataclass(frozen=True, eq=False)
class Weight:
    """A product of two facts of PROOFS.md as a polynomial, which is >= 0 in the cell."""

    facts: tuple[int, int]
    polynomial: Polynomial

    @property
    def degree(self) -> int:
        return max(map(len, self.polynomial))

    @property
    def support(self) -> set[int]:
        return {v for m in self.polynomial for v in m}


@dataclass(frozen=True, eq=False)
class SosCell:
    """What polynomials are about: a cell, its inputs of positive width, then its kept neurons. ``neurons`` (kept,) are the
    numbers of these in PROOFS.md, ``all_neurons`` how many the network has."""

    reduced: Reduced
    region: Region
    neurons: np.ndarray
    all_neurons: int

    @cached_property
    def moving(self) -> np.ndarray:
        return np.flatnonzero(self.region.upper > self.region.lower)

    @property
    def size(self) -> int:
        return len(self.moving) + len(self.neurons)

    @cached_property
    def upper(self) -> np.ndarray:
        """The greatest values of x - lower and z."""
        width = (self.region.upper - self.region.lower)[self.moving]
        return np.concatenate([width, np.maximum(self.reduced.upper, 0.0)])

    @cached_property
    def scale(self) -> np.ndarray:
        depth = np.concatenate([np.zeros(len(self.moving)), np.abs(self.reduced.lower)])
        return np.maximum(self.upper, STEEP * depth)

    def written(self, rows: Rows) -> list[Polynomial]:
        """Affine functions of inputs and kept neurons as polynomials in the scaled variables."""
        constants = rows.constant + rows.x @ self.region.lower
        matrix = np.hstack([rows.x[:, self.moving], rows.z]) * self.scale
        return [
            {(): float(constant), **{(v,): float(c) for v, c in enumerate(row) if c}}
            for constant, row in zip(constants, matrix, strict=True)
        ]

    @cached_property
    def sources(self) -> dict[int, Polynomial]:
        """Of each kept neuron, by variable, what it reads."""
        return dict(enumerate(self.written(self.reduced.inputs), len(self.moving)))

    def cliques(self, dense: int) -> list[tuple[int, ...]]:
        """All variables if they are no more than ``dense``; else those of each layer, with all that it reads."""
        if self.size <= dense:
            return [tuple(range(self.size))]
        found: dict[tuple[int, ...], set[int]] = {}
        for v, source in self.sources.items():
            reads = {w for m in source for w in m}
            found.setdefault(tuple(sorted(reads)), set(reads)).add(v)
        sets = [frozenset(clique) for clique in found.values()]
        largest = [a for k, a in enumerate(sets) if not any(a < b or (a == b and j < k) for j, b in enumerate(sets))]
        return [tuple(sorted(clique)) for clique in largest]

    def weights(self) -> list[Weight]:
        """The facts 1, z, z - p, those of the triangles, the products of both bounds of each variable, and the ball's."""
        found = [Weight((0, 0), ONE)]
        for v, i in enumerate(self.moving.tolist()):
            bounds = plus({(v,): self.upper[v] * self.scale[v]}, {(v, v): -(self.scale[v] ** 2)})
            found.append(Weight((1 + 2 * i, 2 + 2 * i), bounds))
        first = 1 + 2 * self.region.size
        for k, (v, source) in enumerate(self.sources.items()):
            number = first + 4 * int(self.neurons[k])
            low, high = float(self.reduced.lower[k]), float(self.reduced.upper[k])
            z: Polynomial = {(v,): float(self.scale[v])}
            room = plus({(): self.upper[v]}, z, -1.0)
            found += [Weight((0, number), z), Weight((0, number + 1), plus(z, source, -1.0))]
            found.append(Weight((number, number + 3), times(z, room)))
            if low < 0 < high:
                slope = high / (high - low)
                chord = plus({(): -slope * low}, source, slope)
                found.append(Weight((0, number + 2), plus(chord, z, -1.0)))
        if self.region.ball is not None and self.region.ball.norm == "l2":
            found.append(Weight((0, first + 4 * self.all_neurons), self._in_ball()))
        return found

    def facts_of_square(self, variable: int) -> tuple[int, int]:
        """The facts z and z - p of a kept neuron."""
        number = 1 + 2 * self.region.size + 4 * int(self.neurons[variable - len(self.moving)])
        return number, number + 1

    def _in_ball(self) -> Polynomial:
        ball = self.region.ball
        assert ball is not None
        total: Polynomial = {(): float(ball.radius**2)}
        for i, (low, center) in enumerate(zip(self.region.lower.tolist(), ball.center.tolist(), strict=True)):
            step: Polynomial = {(): low - center}
            if i in self.moving:
                v = int(np.searchsorted(self.moving, i))
                step = plus(step, {(v,): float(self.scale[v])})
            total = plus(total, times(step, step), -1.0)
        return total


class Ring:
    """Polynomials modulo ``z (z - p)``, as far as cliques hold the variables."""

    def __init__(self, cell: SosCell, cliques: Iterable[tuple[int, ...]]) -> None:
        self.cell, self._cliques = cell, [frozenset(clique) for clique in cliques]
        self._reads = {v: frozenset(w for m in p for w in m) | {v} for v, p in cell.sources.items()}
        self._quotients = {v: {m: c / cell.scale[v] for m, c in p.items()} for v, p in cell.sources.items()}
        self._normal: dict[Monomial, Polynomial] = {}

    def square_in(self, monomial: Monomial) -> int | None:
        """The last variable whose square in a monomial is replaced."""
        variables = frozenset(monomial)
        for v in sorted(variables, reverse=True):
            if v in self._reads and monomial.count(v) > 1:
                needed = variables | self._reads[v]
                if any(needed <= clique for clique in self._cliques):
                    return v
        return None

    def has_square(self, monomial: Monomial) -> bool:
        """Whether it is a multiple of a square that is replaced."""
        return any(monomial.count(v) > 1 and self.square_in((v, v)) is not None for v in set(monomial))

    def normal(self, monomial: Monomial) -> Polynomial:
        """What a monomial is equal to."""
        if monomial not in self._normal:
            v = self.square_in(monomial)
            self._normal[monomial] = {monomial: 1.0}
            if v is not None:
                rest = list(monomial)
                rest.remove(v)
                self._normal[monomial] = self.reduce(times({tuple(rest): 1.0}, self._quotients[v]))
        return self._normal[monomial]

    def reduce(self, polynomial: Polynomial) -> Polynomial:
        total: Polynomial = {}
        for m, c in polynomial.items():
            for n, e in self.normal(m).items():
                total[n] = total.get(n, 0.0) + c * e
        return total

    def divide(self, polynomial: Polynomial) -> dict[int, Polynomial]:
        """The h of ``polynomial = sum h s (s - p / scale) + what it is equal to``, by the kept neurons' variables s."""
        left, quotients = dict(polynomial), dict[int, Polynomial]()
        for v in sorted(self._reads, reverse=True):
            quotients[v] = {}
            most = max((m.count(v) for m in left), default=0)
            for power in range(most, 1, -1):
                for m in [m for m in left if m.count(v) == power and self.square_in(m) == v]:
                    rest = list(m)
                    rest.remove(v)
                    rest.remove(v)
                    c = quotients[v][tuple(rest)] = left.pop(m)
                    for n, e in times({tuple(sorted([*rest, v])): c}, self._quotients[v]).items():
                        left[n] = left.get(n, 0.0) + e
        return quotients


@dataclass(frozen=True, eq=False)
class Block:
    """``weight b b^T`` for the monomials b in ``basis``, divided by ``norm``, as a matrix (m m, moments) of the moments.

    ``shift @ basis`` are the monomials of ``2 s - 1``, with which solvers do better.
    """

    weight: Weight
    basis: list[Monomial]
    norm: float
    shift: np.ndarray
    matrix: sparse.csr_array

    @property
    def shifted(self) -> sparse.csr_array:
        """The matrix for the monomials of 2 s - 1."""
        return sparse.csr_array(sparse.kron(self.shift, self.shift) @ self.matrix)


@dataclass(frozen=True, eq=False)
class MomentProblem:
    """``moments``, the first of which is 1, and what holds for them; ``forms`` (forms, moments) are the margins."""

    cell: SosCell
    degree: int
    ring: Ring
    moments: list[Monomial]
    blocks: list[Block]
    forms: np.ndarray
    margins: list[Polynomial]


def largest_block(cliques: Iterable[tuple[int, ...]], degree: int) -> int:
    """How many monomials there are at most in a block."""
    return max((comb(len(clique) + degree // 2, degree // 2) for clique in cliques), default=1)


def moment_problem(cell: SosCell, margins: Rows, degree: int, cliques: list[tuple[int, ...]]) -> MomentProblem:
    """The relaxation of an even degree."""
    ring, number = Ring(cell, cliques), dict[Monomial, int]({(): 0})
    blocks = []
    for weight in cell.weights():
        homes = [clique for clique in cliques if weight.support <= set(clique)]
        for clique in homes if weight.facts == (0, 0) else homes[:1]:
            basis = [m for m in monomials(clique, (degree - weight.degree) // 2) if not ring.has_square(m)]
            blocks.append(_block(ring, weight, basis, number))
    polynomials = cell.written(margins)
    reduced = [[(number.setdefault(m, len(number)), c) for m, c in polynomial.items()] for polynomial in polynomials]
    count, forms = len(number), np.zeros((len(polynomials), len(number)))
    for row, entries in enumerate(reduced):
        for column, c in entries:
            forms[row, column] += c
    for block in blocks:
        block.matrix.resize(block.matrix.shape[0], count)
    return MomentProblem(cell, degree, ring, list(number), blocks, forms, polynomials)


def _block(ring: Ring, weight: Weight, basis: list[Monomial], number: dict[Monomial, int]) -> Block:
    norm, size = max(map(abs, weight.polynomial.values())), len(basis)
    known: dict[Monomial, list[tuple[int, float]]] = {}
    entries: list[tuple[int, int, float]] = []
    for a, m in enumerate(basis):
        for b, n in enumerate(basis):
            key = tuple(sorted(m + n))
            if key not in known:
                reduced = ring.reduce(times({key: 1.0 / norm}, weight.polynomial))
                known[key] = [(number.setdefault(k, len(number)), c) for k, c in reduced.items()]
            entries += [(a * size + b, column, c) for column, c in known[key]]
    rows, columns, values = zip(*entries, strict=True)
    matrix = sparse.csr_array(sparse.coo_array((values, (rows, columns)), shape=(size * size, len(number))))
    return Block(weight, basis, norm, _shift(basis), matrix)


def _shift(basis: list[Monomial]) -> np.ndarray:
    """The monomials of 2 s - 1 as polynomials in s; the basis has the divisors of its monomials."""
    place, matrix = {m: k for k, m in enumerate(basis)}, np.zeros((len(basis), len(basis)))
    for row, monomial in enumerate(basis):
        polynomial = ONE
        for v in monomial:
            polynomial = times(polynomial, {(): -1.0, (v,): 2.0})
        for m, c in polynomial.items():
            matrix[row, place[m]] = c
    return matrix
