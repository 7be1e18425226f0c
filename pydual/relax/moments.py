"""Moments of degree 2d of the inputs and unstable neurons of a cell (Lasserre 2001), sparse by layers (Waki et al. 2006).

Between variables without a clique in common, there may be moments of degree 2 and products of facts, too; subsets of the
variables may have moments of degree 4 (subsets.py).

Moments are those of polynomials modulo the equations ``z (z - p) = 0`` (ring.py): where the variables of a monomial and of
``p`` have a clique in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from math import comb

import numpy as np
import scipy.sparse as sparse

from pydual.relax.polynomials import ONE, Monomial, Polynomial, monomials, times
from pydual.relax.ring import Ring
from pydual.relax.sos_cell import SosCell, Weight


@dataclass(frozen=True, eq=False)
class Block:
    """``weight b b^T`` for the monomials b in ``basis``, divided by ``norm``, as a matrix (m m, moments) of the moments.

    ``shift @ basis`` are the monomials of what ranges from -1 to 1 (``2 s - 1``), with which solvers do better.
    """

    weight: Weight
    basis: list[Monomial]
    norm: float
    shift: np.ndarray
    matrix: sparse.csr_array

    @property
    def shifted(self) -> sparse.csr_array:
        """The matrix for the monomials of what ranges from -1 to 1."""
        if len(self.basis) == 1:
            return self.matrix
        return sparse.csr_array(sparse.kron(self.shift, self.shift) @ self.matrix)


@dataclass(frozen=True, eq=False)
class MomentProblem:
    """``moments``, the first of which is 1, and what holds for them; ``forms`` (forms, moments) are the margins.

    All cliques have the moments up to ``degree``, and ``subsets`` sets of variables more than these (subsets.py).
    """

    cell: SosCell
    degree: int
    ring: Ring
    moments: list[Monomial]
    blocks: list[Block]
    forms: np.ndarray
    margins: list[Polynomial]
    subsets: int = 0

    @property
    def highest(self) -> int:
        """The degree of the moments that only some sets of variables have, or else all cliques."""
        return max(map(len, self.moments))

    @property
    def reach(self) -> list[float]:
        """The greatest values of the scaled variables, whose least ones are 0."""
        return (self.cell.upper / self.cell.scale).tolist()


class Assembly:
    """The blocks of a relaxation so far, and the numbers of their moments."""

    def __init__(self, ring: Ring) -> None:
        self.ring, self._number, self._blocks = ring, dict[Monomial, int]({(): 0}), list[Block]()

    def add(self, weight: Weight, basis: list[Monomial]) -> None:
        """The matrix of a weight; the basis has the divisors of its monomials."""
        norm, size = max(map(abs, weight.polynomial.values())), len(basis)
        known: dict[Monomial, list[tuple[int, float]]] = {}
        entries: list[tuple[int, int, float]] = []
        for a, m in enumerate(basis):
            for b, n in enumerate(basis):
                key = tuple(sorted(m + n))
                if key not in known:
                    reduced = self.ring.reduce(times({key: 1.0 / norm}, weight.polynomial))
                    known[key] = [(self._number.setdefault(k, len(self._number)), c) for k, c in reduced.items()]
                entries += [(a * size + b, column, c) for column, c in known[key]]
        rows, columns, values = zip(*entries, strict=True)
        matrix = sparse.csr_array(sparse.coo_array((values, (rows, columns)), shape=(size * size, len(self._number))))
        self._blocks.append(Block(weight, basis, norm, _shift(self.ring, basis), matrix))

    def add_cliques(
        self, margins: list[Polynomial], degree: int, cliques: list[tuple[int, ...]], products: Sequence[Weight]
    ) -> None:
        """What ``moment_problem`` asks of moments."""
        cell = self.ring.cell
        for weight in cell.weights(_pairs([*margins, *cell.sources.values()], combinations)):
            if weight.degree > degree:
                continue
            homes = [clique for clique in cliques if weight.support <= set(clique)]
            for clique in homes if weight.facts == (0, 0) else homes[:1]:
                self.add(weight, [m for m in monomials(clique, (degree - weight.degree) // 2) if not self.ring.has_square(m)])
        if products:
            self.add(Weight((0, 0), ONE), monomials(range(cell.size), 1))
        for weight in products:
            if weight.degree <= degree:
                self.add(weight, [()])

    def finish(self, margins: list[Polynomial], degree: int, subsets: int = 0) -> MomentProblem:
        """With the margins, once all other moments are numbered."""
        number, ring = self._number, self.ring
        reduced = [[(number.setdefault(m, len(number)), c) for m, c in ring.reduce(margin).items()] for margin in margins]
        count, forms = len(number), np.zeros((len(margins), len(number)))
        for row, entries in enumerate(reduced):
            for column, c in entries:
                forms[row, column] += c
        for block in self._blocks:
            block.matrix.resize(block.matrix.shape[0], count)
        return MomentProblem(ring.cell, degree, ring, list(number), self._blocks, forms, margins, subsets)


def largest_block(cliques: Iterable[tuple[int, ...]], degree: int) -> int:
    """How many monomials there are at most in a block."""
    return max((comb(len(clique) + degree // 2, degree // 2) for clique in cliques), default=1)


def moment_problem(
    cell: SosCell, margins: list[Polynomial], degree: int, cliques: list[tuple[int, ...]], products: Sequence[Weight] = ()
) -> MomentProblem:
    """The relaxation of an even degree, which is at least that of the margins and of what neurons read.

    Where there are ``products``, they have a multiplier each, and all variables moments of degree 2.
    """
    assembly = Assembly(Ring(cell, cliques, degree))
    assembly.add_cliques(margins, degree, cliques, products)
    return assembly.finish(margins, degree)


def linear_problem(cell: SosCell, margins: list[Polynomial]) -> MomentProblem:
    """The relaxation by facts and products of two bounds alone, for margins and sources of degree 2: a linear program."""
    assembly = Assembly(Ring(cell, [tuple(range(cell.size))], 2))
    for weight in cell.weights(_pairs([*margins, *cell.sources.values()], combinations_with_replacement)):
        if weight.degree <= 2:
            assembly.add(weight, [()])
    return assembly.finish(margins, 2)


def _pairs(polynomials: Iterable[Polynomial], choose: Callable[..., Iterable[tuple[int, ...]]]) -> list[tuple[int, int]]:
    """The pairs of variables that occur in a product; ``choose`` says whether also of one and the same."""
    return sorted({(v, w) for p in polynomials for m in p if len(m) > 1 for v, w in choose(sorted(set(m)), 2)})


def _shift(ring: Ring, basis: list[Monomial]) -> np.ndarray:
    """The monomials of what ranges from -1 to 1, in terms of those of the basis."""
    place, matrix = {m: k for k, m in enumerate(basis)}, np.zeros((len(basis), len(basis)))
    for row, monomial in enumerate(basis):
        polynomial = ONE
        for v in monomial:
            polynomial = times(polynomial, ring.centered(v))
        for m, c in polynomial.items():
            matrix[row, place[m]] = c
    return matrix
