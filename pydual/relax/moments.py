"""Moments of degree 2d of the inputs and unstable neurons of a cell (Lasserre 2001), sparse by layers (Waki et al. 2006).

Between variables without a clique in common, there may be moments of degree 2 and products of facts, too: a sublevel of the
hierarchy (Chen, Lasserre, Magron, Pauwels, NeurIPS 2020).

Variables are scaled: ``x = lower + scale s`` and ``z = scale s``; squares of affine functions are written out. Moments are
those of polynomials modulo the equations ``z (z - p) = 0``: where the variables of a monomial and of ``p`` have a clique in
common, ``z^2`` is replaced by ``z p``. So there are no equations left between moments, and fewer of them. Where squares make
``p`` a polynomial of a higher degree, that is done as long as the degree of the moments allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement, product
from math import comb

import numpy as np
import scipy.sparse as sparse

from pydual.region import Region
from pydual.relax.polynomials import ONE, Monomial, Polynomial, monomials, plus, times
from pydual.relax.reduced import Reduced, Rows

STEEP = 0.1  # a neuron is scaled by at least this share of the depth of its interval


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
    """What polynomials are about: a cell, its inputs of positive width, then its kept neurons. ``numbers`` (kept,) are the
    numbers of these in PROOFS.md, -1 for squares; ``all_neurons`` is how many neurons the network has."""

    reduced: Reduced
    region: Region
    numbers: np.ndarray
    all_neurons: int

    @cached_property
    def neurons(self) -> np.ndarray:
        """The numbers in PROOFS.md of the neurons that are variables."""
        return self.numbers[self.numbers >= 0]

    @cached_property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of what the neurons that are variables read."""
        return self.reduced.lower[self.numbers >= 0], self.reduced.upper[self.numbers >= 0]

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
        return np.concatenate([width, np.maximum(self.intervals[1], 0.0)])

    @cached_property
    def scale(self) -> np.ndarray:
        depth = np.concatenate([np.zeros(len(self.moving)), np.abs(self.intervals[0])])
        return np.maximum(self.upper, STEEP * depth)

    def written(self, rows: Rows) -> list[Polynomial]:
        """Affine functions of inputs and kept neurons as polynomials in the scaled variables."""
        constants, steps = rows.constant + rows.x @ self.region.lower, rows.x[:, self.moving] * self.scale[: len(self.moving)]
        found = []
        for constant, row, z in zip(constants, steps, rows.z, strict=True):
            total: Polynomial = {(): float(constant), **{(v,): float(c) for v, c in enumerate(row) if c}}
            for k in np.flatnonzero(z).tolist():
                total = plus(total, self.value(k), float(z[k]))
            found.append(total)
        return found

    def value(self, k: int) -> Polynomial:
        """The output of what is kept: a variable, or the square of what it reads."""
        if k not in self._values:
            if self.numbers[k] < 0:
                (read,) = self.written(self.reduced.inputs[k : k + 1])
                self._values[k] = times(read, read)
            else:
                v = len(self.moving) + int(np.count_nonzero(self.numbers[:k] >= 0))
                self._values[k] = {(v,): float(self.scale[v])}
        return self._values[k]

    @cached_property
    def _values(self) -> dict[int, Polynomial]:
        return {}

    @cached_property
    def sources(self) -> dict[int, Polynomial]:
        """Of each kept neuron, by variable, what it reads."""
        return dict(enumerate(self.written(self.reduced.inputs[self.numbers >= 0]), len(self.moving)))

    def cliques(self, dense: int, margins: Sequence[Polynomial]) -> list[tuple[int, ...]]:
        """All variables if they are no more than ``dense``; else those of each layer, with all that it reads, and those whose
        products a margin has."""
        if self.size <= dense:
            return [tuple(range(self.size))]
        found: dict[tuple[int, ...], set[int]] = {}
        for v, source in self.sources.items():
            reads = {w for m in source for w in m}
            found.setdefault(tuple(sorted(reads)), set(reads)).add(v)
        sets = [frozenset(clique) for clique in found.values()]
        sets += [multiplied for margin in margins if (multiplied := _multiplied(margin))]
        largest = [a for k, a in enumerate(sets) if not any(a < b or (a == b and j < k) for j, b in enumerate(sets))]
        return [tuple(sorted(clique)) for clique in largest]

    def weights(self, pairs: Iterable[tuple[int, int]]) -> list[Weight]:
        """The facts 1, z, z - p, those of the triangles, the products of both bounds of each variable, the ball's, and the
        products of the bounds of two (McCormick 1976) for ``pairs`` of variables."""
        found = [Weight((0, 0), ONE)]
        for v, i in enumerate(self.moving.tolist()):
            bounds = plus({(v,): self.upper[v] * self.scale[v]}, {(v, v): -(self.scale[v] ** 2)})
            found.append(Weight((1 + 2 * i, 2 + 2 * i), bounds))
        first = 1 + 2 * self.region.size
        for k, (v, source) in enumerate(self.sources.items()):
            number = first + 4 * int(self.neurons[k])
            low, high = float(self.intervals[0][k]), float(self.intervals[1][k])
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
        for v, w in pairs:
            ends = product(self._ends(v), self._ends(w))
            found += [Weight((f, g), times(a, b)) for (f, a), (g, b) in ends]
        return found

    def products(self) -> list[Weight]:
        """The products of two facts, but for those about the ball."""
        linear = [(w.facts[1], w.polynomial) for w in self.weights([]) if w.facts[0] == 0 < w.facts[1] and w.degree == 1]
        for v in range(self.size):
            linear += [end for end in self._ends(v) if end[0] not in {number for number, _ in linear}]
        equations = {self.facts_of_square(v) for v in self.sources}
        return [Weight((f, g), times(a, b)) for (f, a), (g, b) in combinations(sorted(linear), 2) if (f, g) not in equations]

    def _ends(self, variable: int) -> tuple[tuple[int, Polynomial], tuple[int, Polynomial]]:
        """The facts that a variable is at least its least and at most its greatest value."""
        up: Polynomial = {(variable,): float(self.scale[variable])}
        down = plus({(): float(self.upper[variable])}, up, -1.0)
        if variable < len(self.moving):
            number = 1 + 2 * int(self.moving[variable])
            return (number, up), (number + 1, down)
        number, _ = self.facts_of_square(variable)
        return (number, up), (number + 3, down)

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
    """Polynomials modulo ``z (z - p)``, as far as cliques hold the variables and ``degree`` the products."""

    def __init__(self, cell: SosCell, cliques: Iterable[tuple[int, ...]], degree: int) -> None:
        self.cell, self._cliques, self._degree = cell, [frozenset(clique) for clique in cliques], degree
        self._more = {v: max(map(len, p)) - 1 for v, p in cell.sources.items()}  # by which a replacement raises the degree
        self._reads = {v: frozenset(w for m in p for w in m) | {v} for v, p in cell.sources.items()}
        self._quotients = {v: {m: c / cell.scale[v] for m, c in p.items()} for v, p in cell.sources.items()}
        self._normal: dict[Monomial, Polynomial] = {}

    def square_in(self, monomial: Monomial) -> int | None:
        """The last variable whose square in a monomial is replaced."""
        variables = frozenset(monomial)
        for v in sorted(variables, reverse=True):
            if v in self._reads and monomial.count(v) > 1 and (self._more[v] <= 0 or self._fits(monomial, v)):
                needed = variables | self._reads[v]
                if any(needed <= clique for clique in self._cliques):
                    return v
        return None

    def _fits(self, monomial: Monomial, variable: int) -> bool:
        return len(monomial) + self._more[variable] <= self._degree

    def has_square(self, monomial: Monomial) -> bool:
        """Whether it is a multiple of a square that is replaced wherever it stands."""
        squares = {v for v in monomial if monomial.count(v) > 1 and self._more.get(v, 1) <= 0}
        return any(self.square_in((v, v)) is not None for v in squares)

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

    @property
    def reach(self) -> list[float]:
        """The greatest values of the scaled variables, whose least ones are 0."""
        return (self.cell.upper / self.cell.scale).tolist()


def largest_block(cliques: Iterable[tuple[int, ...]], degree: int) -> int:
    """How many monomials there are at most in a block."""
    return max((comb(len(clique) + degree // 2, degree // 2) for clique in cliques), default=1)


def moment_problem(
    cell: SosCell, margins: list[Polynomial], degree: int, cliques: list[tuple[int, ...]], products: Sequence[Weight] = ()
) -> MomentProblem:
    """The relaxation of an even degree, which is at least that of the margins and of what neurons read.

    Where there are ``products``, they have a multiplier each, and all variables moments of degree 2.
    """
    ring, number = Ring(cell, cliques, degree), dict[Monomial, int]({(): 0})
    blocks = []
    for weight in cell.weights(_pairs([*margins, *cell.sources.values()], combinations)):
        if weight.degree > degree:
            continue
        homes = [clique for clique in cliques if weight.support <= set(clique)]
        for clique in homes if weight.facts == (0, 0) else homes[:1]:
            basis = [m for m in monomials(clique, (degree - weight.degree) // 2) if not ring.has_square(m)]
            blocks.append(_block(ring, weight, basis, number))
    if products:
        blocks.append(_block(ring, Weight((0, 0), ONE), monomials(range(cell.size), 1), number))
        blocks += [_block(ring, weight, [()], number) for weight in products if weight.degree <= degree]
    return _completed(cell, margins, degree, ring, number, blocks)


def linear_problem(cell: SosCell, margins: list[Polynomial]) -> MomentProblem:
    """The relaxation by facts and products of two bounds alone, for margins and sources of degree 2: a linear program."""
    ring, number = Ring(cell, [tuple(range(cell.size))], 2), dict[Monomial, int]({(): 0})
    pairs = _pairs([*margins, *cell.sources.values()], combinations_with_replacement)
    blocks = [_block(ring, weight, [()], number) for weight in cell.weights(pairs) if weight.degree <= 2]
    return _completed(cell, margins, 2, ring, number, blocks)


def _completed(
    cell: SosCell, margins: list[Polynomial], degree: int, ring: Ring, number: dict[Monomial, int], blocks: list[Block]
) -> MomentProblem:
    """With the margins, once all other moments are numbered."""
    reduced = [[(number.setdefault(m, len(number)), c) for m, c in ring.reduce(margin).items()] for margin in margins]
    count, forms = len(number), np.zeros((len(margins), len(number)))
    for row, entries in enumerate(reduced):
        for column, c in entries:
            forms[row, column] += c
    for block in blocks:
        block.matrix.resize(block.matrix.shape[0], count)
    return MomentProblem(cell, degree, ring, list(number), blocks, forms, margins)


def _multiplied(polynomial: Polynomial) -> frozenset[int]:
    """The variables of its monomials of degree 2 and above."""
    return frozenset(v for m in polynomial if len(m) > 1 for v in m)


def _pairs(polynomials: Iterable[Polynomial], choose: Callable[..., Iterable[tuple[int, ...]]]) -> list[tuple[int, int]]:
    """The pairs of variables that occur in a product; ``choose`` says whether also of one and the same."""
    return sorted({(v, w) for p in polynomials for m in p if len(m) > 1 for v, w in choose(sorted(set(m)), 2)})


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
