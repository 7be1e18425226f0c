"""From the matrices that are dual to moments to the terms of a Sos leaf (PROOFS.md, section 3), and what they prove.

Solvers are inaccurate; what they leave is folded into the matrices of the weight 1 (Peyrl and Parrilo 2008), and what is
left then is charged against the bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve

from pydual.relax.moments import Block, MomentProblem
from pydual.relax.polynomials import Polynomial, monomials, plus, times

FOLDS = 10
RIDGE = 1e-12
SMALL = 1e-12  # eigenvalues below this share of the greatest one are dropped


@dataclass(frozen=True, eq=False)
class SosTerms:
    """A Sos leaf's variables, terms (terms, 3) and coefficients as in PROOFS.md, section 7."""

    variables: np.ndarray
    terms: np.ndarray
    coefficients: np.ndarray


def squares(problem: MomentProblem, weights: np.ndarray, grams: list[np.ndarray]) -> tuple[float, SosTerms]:
    """What the weights of the margins and a matrix for each block prove, in floating point, and the terms that do."""
    grams = folded(problem, weights @ problem.forms, grams)
    factors = [_triangular(problem, block, _factor(gram)) for block, gram in zip(problem.blocks, grams, strict=True)]
    left: Polynomial = {}
    for weight, margin in zip(weights.tolist(), problem.margins, strict=True):
        left = plus(left, margin, weight)
    writer = _Writer(problem)
    for block, factor in zip(problem.blocks, factors, strict=True):
        product = times(block.weight.polynomial, _sum_of_squares(block, factor))
        left = plus(left, problem.ring.written(product), -1.0 / block.norm)
        for row in factor / np.sqrt(block.norm):
            writer.add(block.weight.facts, problem.ring.written(dict(zip(block.basis, row.tolist(), strict=True))))
    quotients, scale = problem.ring.divide(left), problem.cell.scale
    for v, quotient in quotients.items():
        if quotient:
            square = plus({(v, v): scale[v] ** 2}, times({(v,): scale[v]}, problem.cell.sources[v]), -1.0)
            shrunk = {m: c / scale[v] ** 2 for m, c in quotient.items()}
            left = plus(left, times(square, shrunk), -1.0)
            writer.add(problem.cell.facts_of_square(v), shrunk)
    return float(_least(problem, left)), writer.terms()


def folded(problem: MomentProblem, function: np.ndarray, grams: list[np.ndarray]) -> list[np.ndarray]:
    """Positive semidefinite matrices whose squares add up to ``function`` (moments,), but for the constant, more nearly."""
    free = [k for k, block in enumerate(problem.blocks) if block.weight.facts == (0, 0)]
    normal = sum((problem.blocks[k].matrix.T @ problem.blocks[k].matrix).toarray() for k in free)[1:, 1:]
    normal[np.diag_indices_from(normal)] += RIDGE * normal.diagonal().max(initial=1.0)
    grams = [_clipped(gram) for gram in grams]
    for _ in range(FOLDS):
        left = function - sum(b.matrix.T @ gram.ravel() for b, gram in zip(problem.blocks, grams, strict=True))
        step = np.concatenate([[0.0], solve(normal, left[1:], assume_a="pos")])
        for k in free:
            gram = grams[k] + (problem.blocks[k].matrix @ step).reshape(grams[k].shape)
            grams[k] = _clipped(gram)
    return grams


def _clipped(gram: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def _factor(gram: np.ndarray) -> np.ndarray:
    """Rows L with ``L^T L`` nearly the matrix."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > SMALL * max(values[-1], 1e-300)
    return (vectors[:, kept] * np.sqrt(values[kept])).T


def _triangular(problem: MomentProblem, block: Block, factor: np.ndarray) -> np.ndarray:
    """Rows with the same sum of squares and more zeros, above all at what is long when written out: audits square each."""
    lengths = [len(problem.ring.written({m: 1.0})) for m in block.basis]
    order = np.argsort(-np.array(lengths), kind="stable")
    rows = np.zeros((min(factor.shape), len(order)))
    rows[:, order] = np.linalg.qr(factor[:, order], mode="r")
    return rows


def _sum_of_squares(block: Block, factor: np.ndarray) -> Polynomial:
    gram = (factor.T @ factor).tolist()
    total: Polynomial = {}
    for m, row in zip(block.basis, gram, strict=True):
        for n, value in zip(block.basis, row, strict=True):
            key = tuple(sorted(m + n))
            total[key] = total.get(key, 0.0) + value
    return total


def _least(problem: MomentProblem, left: Polynomial) -> float:
    """Section 4: the constant and the negative coefficients."""
    reach, total = problem.reach, 0.0
    for m, c in left.items():
        most = float(np.prod([reach[v] for v in m]))
        total += c if not m else min(0.0, c) * most
    return total


class _Writer:
    """Collects terms; polynomials in scaled variables become those of PROOFS.md."""

    def __init__(self, problem: MomentProblem) -> None:
        cell = problem.cell
        self.variables = np.concatenate([cell.moving, cell.region.size + cell.neurons]).astype(np.int32)
        self._scale, self._terms = cell.scale.tolist(), list[tuple[int, int, int]]()
        self._coefficients: list[np.ndarray] = []

    def add(self, facts: tuple[int, int], polynomial: Polynomial) -> None:
        degree = max(map(len, polynomial))
        everything = monomials(range(len(self._scale)), degree)
        values = [polynomial.get(m, 0.0) / float(np.prod([self._scale[v] for v in m])) for m in everything]
        self._terms.append((*facts, degree))
        self._coefficients.append(np.array(values))

    def terms(self) -> SosTerms:
        terms = np.array(self._terms, dtype=np.int32).reshape(-1, 3)
        return SosTerms(self.variables, terms, np.concatenate([np.zeros(0), *self._coefficients]))
