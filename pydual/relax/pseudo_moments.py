"""What the relaxed adversary of degree 2 plays: pseudo-moments of the inputs and the kept neurons, and points made of them.

Products of facts with their multipliers prove a bound because the function less all of them is a quadratic function of
t = (inputs, kept neurons) that is bounded below, with the matrix ``S`` of its squares (relax/gram.py has the coordinates).
On the central path of the dual, the adversary's optimum of the relaxation with the barrier ``weight * log det`` has that
function's minimizer as pseudo-mean and ``weight * S^-1`` as pseudo-covariance: it is used as a Gaussian distribution.
The block of inputs of ``S`` is diagonal, so that given the kept neurons, inputs are independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sparse

from pydual.errors import InputError
from pydual.relax.gram import GramCell

SCALES = np.geomspace(0.05, 5.0, 8)  # times the standard deviation of a sample (Awasthi, Dutta, Vijayaraghavan, NeurIPS 2019)
Products = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class PseudoMoments:
    """In t: ``mean_inputs`` (moving,) and ``mean_kept`` (kept,); the covariance of kept neurons is
    ``weight * inverse(factor @ factor.T)`` with ``factor`` lower triangular; inputs given the kept neurons have the mean
    ``mean_inputs - pull @ (t_kept - mean_kept)`` and the variances ``weight / curvature``."""

    cell: GramCell
    weight: float
    mean_inputs: np.ndarray
    mean_kept: np.ndarray
    factor: np.ndarray
    pull: np.ndarray
    curvature: np.ndarray

    @property
    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """The pseudo-mean of the input (inputs,) and of the outputs of the kept neurons (kept,)."""
        return self.inputs_at(self.mean_inputs), self.cell.half * (1.0 + self.mean_kept)

    @cached_property
    def covariance_kept(self) -> np.ndarray:
        """In t."""
        inverse = scipy.linalg.solve_triangular(self.factor, np.eye(len(self.factor)), lower=True)
        return self.weight * (inverse.T @ inverse)

    @property
    def deviations(self) -> np.ndarray:
        """The pseudo-standard deviations (kept,) of the outputs of the kept neurons."""
        return self.cell.half * np.sqrt(np.diag(self.covariance_kept))

    @property
    def variances_of_inputs(self) -> np.ndarray:
        """Of the moving inputs, in t."""
        explained = np.einsum("ij,jk,ik->i", self.pull, self.covariance_kept, self.pull, optimize=True)
        return self.weight / self.curvature + explained

    @property
    def moment_matrix(self) -> np.ndarray:
        """The pseudo-moments of (1, kept neurons), in t."""
        one = np.concatenate([[1.0], self.mean_kept])
        matrix = np.outer(one, one)
        matrix[1:, 1:] += self.covariance_kept
        return matrix

    @property
    def flatness(self) -> float:
        """The second eigenvalue of the moment matrix as a share of the first: 0 if one point has these moments."""
        values = np.linalg.eigvalsh(self.moment_matrix)
        return float(max(values[-2], 0.0) / values[-1]) if len(values) > 1 else 0.0

    def inputs_at(self, t: np.ndarray) -> np.ndarray:
        """Inputs (..., inputs) for the coordinates ``t`` (..., moving), which are clipped to the box."""
        cell = self.cell
        x = np.broadcast_to(cell.center, (*t.shape[:-1], len(cell.center))).copy()
        x[..., cell.moving] += cell.radius[cell.moving] * np.clip(t, -1.0, 1.0)
        return x

    def leading_point(self) -> np.ndarray:
        """The input (inputs,) that goes with the leading eigenvector of the moment matrix, scaled to 1 at the constant."""
        leading = np.linalg.eigh(self.moment_matrix)[1][:, -1]
        if abs(leading[0]) < 1e-6:
            return self.mean[0]
        away = np.clip(leading[1:] / leading[0], -1.0, 1.0) - self.mean_kept
        return self.inputs_at(self.mean_inputs - self.pull @ away)

    def samples(self, random: np.random.Generator, number: int) -> np.ndarray:
        """Inputs (``number``, inputs) from the Gaussian distribution with these moments, each deviation times one of
        ``SCALES``; clipped to the box, not to the ball."""
        return self._draw(random, np.resize(SCALES, number)[:, None])[0]

    def pairs(self, random: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (``number``, inputs) and outputs (``number``, kept) of the kept neurons, from the Gaussian distribution with
        these moments; clipped to the box and to what the neurons' intervals allow."""
        inputs, kept = self._draw(random, np.ones((number, 1)))
        return inputs, np.clip(kept, 0.0, 2 * self.cell.half)

    def _draw(self, random: np.random.Generator, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (rows of ``scale``), with each deviation times that scale."""
        number, scale = len(scale), np.sqrt(self.weight) * scale
        kept = random.standard_normal((number, len(self.mean_kept)))
        away = scipy.linalg.solve_triangular(self.factor, kept.T, lower=True, trans="T").T
        own = random.standard_normal((number, len(self.curvature))) / np.sqrt(self.curvature)
        inputs = self.inputs_at(self.mean_inputs + scale * (own - away @ self.pull.T))
        return inputs, self.cell.half * (1.0 + self.mean_kept + scale * away)


def pseudo_moments(cell: GramCell, products: Products, weight: float) -> PseudoMoments:
    """The pseudo-moments that belong to the products, their multipliers and the betas of ``cell.products``.

    Raises InputError if these prove no bound, as then the function is not bounded below.
    """
    linear, diagonal, rows = _quadratic(cell, products)
    inputs = len(diagonal)
    pull = (rows[:, :inputs] / diagonal).T
    schur = rows[:, inputs:] - rows[:, :inputs] @ pull
    if not (diagonal > 0).all() or not np.isfinite(schur).all():
        raise InputError("The multipliers prove no bound, so that they belong to no pseudo-moments; let the ascent go on.")
    try:
        factor = np.linalg.cholesky(schur)
    except np.linalg.LinAlgError:
        raise InputError("The multipliers prove no bound: their matrix is not positive; let the ascent go on.") from None
    rest = linear[inputs:] - pull.T @ linear[:inputs]
    kept = -scipy.linalg.cho_solve((factor, True), rest) / 2 if len(rest) else rest
    mean = -linear[:inputs] / (2 * diagonal) - pull @ kept
    return PseudoMoments(cell, weight, mean, kept, factor, pull, diagonal)


def _quadratic(cell: GramCell, products: Products) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The function less the products, over t: its linear coefficients, the squares of the inputs, and the rows of the kept
    neurons in the matrix of its squares, (kept, inputs + kept).

    Facts are sparse combinations of 1, t and the kept neurons' inputs y. So are their products, and y is written out last.
    """
    pairs, multipliers, betas = products
    facts, ball = _facts(cell), 1 + 2 * cell.region.size + 4 * cell.all_neurons
    plain = pairs[:, 1] != ball
    first, second = (facts[pairs[plain, side]] for side in (0, 1))
    half = first.T @ sparse.diags_array(multipliers[plain].astype(float)) @ second
    form = sparse.csr_array((half + half.T) / 2)
    size = form.shape[0] - len(cell.half)
    y = _over_t(cell, cell.reduced.inputs.x, cell.reduced.inputs.z, cell.reduced.inputs.constant)
    known, mixed, last = form[:size, :size], form[size:, :size].toarray(), form[size:, size:]
    inner = mixed + last @ y
    chosen = np.concatenate([[0], np.arange(1 + len(cell.moving), size)])
    rows = known[chosen].toarray() + mixed[:, chosen].T @ y + y[:, chosen].T @ inner
    diagonal = known.diagonal() + (y * (mixed + inner)).sum(axis=0)
    function, cuts = (_over_t(cell, part.x, part.z, part.constant) for part in (cell.function, cell.cuts))
    linear = (function[0] - betas @ cuts - 2 * rows[0])[1:]
    squares = -diagonal[1 : 1 + len(cell.moving)]
    if cell.region.ball is not None:
        moving, of_ball = cell.moving, multipliers[~plain].sum()
        squares = squares + of_ball * cell.radius[moving] ** 2
        linear[: len(moving)] += 2 * of_ball * (cell.radius * (cell.center - cell.region.ball.center))[moving]
    return linear, squares, -rows[1:, 1:]


def _over_t(cell: GramCell, x: np.ndarray, z: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Affine functions of inputs and kept neurons as rows over (1, t)."""
    start = constant + x @ cell.center + z @ cell.half
    return np.hstack([start[:, None], (x * cell.radius)[:, cell.moving], z * cell.half])


def _facts(cell: GramCell) -> sparse.csr_array:
    """The linear facts (PROOFS.md, section 3) by number, as rows over (1, t, inputs of the kept neurons)."""
    moving, kept, neurons = cell.moving, np.arange(len(cell.half)), 1 + 2 * cell.region.size + 4 * cell.neurons
    t_inputs, t_kept = 1 + np.arange(len(moving)), 1 + len(moving) + kept
    y, radius = 1 + len(moving) + len(kept) + kept, cell.radius[moving]
    half, slope, lower = cell.half, cell.slope, cell.reduced.lower
    entries: list[tuple[Any, Any, Any]] = [(0, 0, 1.0)]  # rows, columns, values
    entries += [(1 + side + 2 * moving, column, value) for side, sign in ((0, 1), (1, -1))
                for column, value in ((0, radius), (t_inputs, sign * radius))]  # fmt: skip
    entries += [(neurons, 0, half), (neurons, t_kept, half), (neurons + 3, 0, half), (neurons + 3, t_kept, -half)]
    entries += [(neurons + 1, 0, half), (neurons + 1, t_kept, half), (neurons + 1, y, -1.0)]
    entries += [(neurons + 2, y, slope), (neurons + 2, 0, -slope * lower - half), (neurons + 2, t_kept, -half)]
    columns = zip(*(np.broadcast_arrays(*map(np.atleast_1d, entry)) for entry in entries), strict=True)
    row, column, value = (np.concatenate(parts) for parts in columns)
    shape = 1 + 2 * cell.region.size + 4 * cell.all_neurons, 1 + len(moving) + 2 * len(kept)
    return sparse.csr_array((value.astype(float), (row, column)), shape=shape)
