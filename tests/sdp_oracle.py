"""Raghunathan, Steinhardt and Liang's semidefinite relaxation (NeurIPS 2018) with triangle rows, written down a second time.

From the network's primitives and the intervals that it is told, over v = (1, x, h): inputs of positive width, and outputs of
the neurons whose sign the intervals leave open. ``optimum`` asks a conic solver, ``lagrangian`` multiplies out what a dual's
multipliers mean, ``lowest`` is the least value of that. Benches use it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cvxpy
import numpy as np
import scipy.linalg

from pydual.operators.primitives import Relu
from pydual.problem import Problem
from pydual.region import Region


@dataclass(frozen=True, eq=False)
class Cell:
    """Linear functions over v are rows. ``before`` are the inputs of all neurons, ``kept`` the numbers of the open ones, with
    intervals ``lower``, ``upper``; ``function`` is to be bounded, ``cuts`` are >= 0; ``moving`` are the inputs in v."""

    region: Region
    moving: np.ndarray
    before: np.ndarray
    kept: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    function: np.ndarray
    cuts: np.ndarray

    @property
    def size(self) -> int:
        return len(self.function)

    @property
    def first(self) -> int:
        """Where h begins in v."""
        return 1 + len(self.moving)

    @property
    def slack(self) -> np.ndarray:
        """h - y, one row a kept neuron."""
        return np.eye(self.size)[self.first :] - self.before[self.kept]

    @property
    def slope(self) -> np.ndarray:
        return self.upper / (self.upper - self.lower)

    @property
    def under_chord(self) -> np.ndarray:
        """s (y - l) - h."""
        rows = self.slope[:, None] * self.before[self.kept] - np.eye(self.size)[self.first :]
        rows[:, 0] -= self.slope * self.lower
        return rows

    def box(self, i: int) -> tuple[float, float]:
        """The interval of the coordinate i of v, from 1 on."""
        if i >= self.first:
            return 0.0, float(self.upper[i - self.first])
        return float(self.region.lower[self.moving[i - 1]]), float(self.region.upper[self.moving[i - 1]])

    def box_product(self, i: int) -> np.ndarray:
        """(v_i - lower)(upper - v_i) as a matrix."""
        lower, upper = self.box(i)
        matrix = np.zeros((self.size, self.size))
        matrix[i, i], matrix[0, i], matrix[i, 0], matrix[0, 0] = -1.0, (lower + upper) / 2, (lower + upper) / 2, -lower * upper
        return matrix

    @property
    def ball_square(self) -> np.ndarray:
        """radius^2 - |x - center|^2 as a matrix."""
        ball = self.region.ball
        assert ball is not None and ball.norm == "l2"
        still = np.setdiff1d(np.arange(self.region.size), self.moving)
        matrix = np.zeros((self.size, self.size))
        matrix[0, 0] = ball.radius**2 - sum((self.region.lower[i] - ball.center[i]) ** 2 for i in still)
        for k, i in enumerate(self.moving, start=1):
            matrix[k, k], matrix[0, k], matrix[k, 0] = -1.0, ball.center[i], ball.center[i]
            matrix[0, 0] -= ball.center[i] ** 2
        return matrix


def write_out(
    problem: Problem, weights: np.ndarray, lower: np.ndarray, upper: np.ndarray, phase: Mapping[int, int] | None = None
) -> Cell:
    """The weighted sum of the problem's margins over the cell with intervals ``lower``, ``upper`` (neurons,), which know the
    phases (1 active, -1 inactive) already."""
    region = problem.region
    moving = np.flatnonzero(region.upper > region.lower)
    kept = np.flatnonzero((lower < 0) & (upper > 0))
    first, size = 1 + len(moving), 1 + len(moving) + len(kept)
    x = np.zeros((region.size, size))
    x[moving, 1 + np.arange(len(moving))] = 1.0
    x[:, 0] = np.where(region.upper > region.lower, 0.0, region.lower)
    values, before = [x], [np.zeros((0, size))]
    for primitive in problem.network.primitives:
        if not isinstance(primitive, Relu):
            value = sum((m @ values[s] for s, m in primitive.terms), np.zeros((primitive.size, size)))
            value[:, 0] += primitive.bias
        else:
            numbers = sum(map(len, before)) + np.arange(primitive.size)
            before.append(values[primitive.source])
            value = np.where(lower[numbers, None] >= 0, before[-1], 0.0)
            opened = np.flatnonzero(np.isin(numbers, kept))
            value[opened] = np.eye(size)[first + np.searchsorted(kept, numbers[opened])]
        values.append(value)
    rows = np.concatenate(before)
    cuts = np.array([sign * rows[j] for j, sign in (phase or {}).items()]).reshape(-1, size)
    function = sum((w * row for w, row in zip(weights, margins(problem, x, values), strict=True)), np.zeros(size))
    return Cell(region, moving, rows, kept, lower[kept], upper[kept], function, cuts)


def margins(problem: Problem, x: np.ndarray, values: list[np.ndarray]) -> list[np.ndarray]:
    result = []
    for atom in problem.margins:
        row = sum((float(c) * x[i] for i, c in atom.margin.x.items()), np.zeros(x.shape[1]))
        row = sum((float(c) * values[problem.network.output][j] for j, c in atom.margin.y.items()), row)
        row[0] += float(atom.margin.constant)
        result.append(row)
    return result


def model(cell: Cell) -> cvxpy.Problem:
    """P, the pseudo-moments of v, in the box's own coordinates t = (v - center) / radius, which solvers like better."""
    change = scaling(cell)
    moments = cvxpy.Variable((cell.size, cell.size), PSD=True)
    one = np.eye(cell.size)[0]

    def mean(rows: np.ndarray) -> cvxpy.Expression:
        return (rows @ change) @ moments[:, 0]

    def of(matrix: np.ndarray) -> cvxpy.Expression:
        return cvxpy.trace((change.T @ matrix @ change) @ moments)

    constraints = [moments[0, 0] == one[0]]
    constraints += [of(cell.box_product(i)) >= 0 for i in range(1, cell.size)]
    for k, (slack, chord) in enumerate(zip(cell.slack, cell.under_chord, strict=True)):
        output = np.eye(cell.size)[cell.first + k]
        constraints += [mean(output) >= 0, mean(slack) >= 0, mean(chord) >= 0, of(symmetric(output, slack)) == 0]
    constraints += [mean(row) >= 0 for row in cell.cuts]
    if cell.region.ball is not None:
        constraints.append(of(cell.ball_square) >= 0)
    return cvxpy.Problem(cvxpy.Minimize(mean(cell.function)), constraints)


def optimum(cell: Cell, solver: str = "CLARABEL", **options: float) -> float:
    solved = model(cell)
    value = float(solved.solve(solver=solver, **options))
    assert solved.status == "optimal", solved.status
    return value


def scaling(cell: Cell) -> np.ndarray:
    """v = matrix (1, t)."""
    matrix = np.eye(cell.size)
    for i in range(1, cell.size):
        lower, upper = cell.box(i)
        matrix[i, 0], matrix[i, i] = (lower + upper) / 2, (upper - lower) / 2
    return matrix


def symmetric(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two linear functions as a matrix."""
    return (np.outer(a, b) + np.outer(b, a)) / 2


def lagrangian(cell: Cell, multipliers: Mapping[str, np.ndarray]) -> np.ndarray:
    """The function less multiples of what is >= 0 in the relaxation, as a matrix over v; multipliers as the core has them."""
    one = np.eye(cell.size)[0]
    linear = cell.function - multipliers["sigma"] @ cell.slack - multipliers["tau"] @ cell.under_chord
    linear = linear - multipliers["beta"] @ cell.cuts
    linear[cell.first :] -= multipliers["mu"]
    result = symmetric(one, linear)
    for k, slack in enumerate(cell.slack):
        output = np.eye(cell.size)[cell.first + k]
        result += multipliers["scaled_lambda"][k] / (cell.upper[k] / 2) * symmetric(output, slack)
    for i, kappa in enumerate([*multipliers["kappa_inputs"], *multipliers["kappa_kept"]], start=1):
        lower, upper = cell.box(i)
        result -= kappa / ((upper - lower) / 2) ** 2 * cell.box_product(i)
    if cell.region.ball is not None:
        result -= float(multipliers["ball"][0]) * cell.ball_square
    return result


def lowest(cell: Cell, matrix: np.ndarray) -> tuple[float, float]:
    """The least value of the quadratic function over all t, and the logarithm of the determinant of its square part, in t."""
    change = scaling(cell)
    scaled = change.T @ matrix @ change
    square, linear = scaled[1:, 1:], scaled[1:, 0]
    if len(linear) == 0:
        return float(scaled[0, 0]), 0.0
    if scipy.linalg.eigvalsh(square)[0] <= 0:
        return -np.inf, -np.inf
    least = scaled[0, 0] - linear @ scipy.linalg.solve(square, linear, assume_a="pos")
    return float(least), float(np.linalg.slogdet(square)[1])
