"""The true minimum of a margin over a region by enumeration of activation patterns; independent of the provers.

Depth first: where the phases of all earlier neurons are fixed, every value is an affine function of the input on a
polytope, so that a linear program (scipy's HiGHS) tells which phases a neuron can take there, and the least margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import linprog

from pydual.checker import Atom, Checker
from pydual.network import Network
from pydual.operators.primitives import Relu
from pydual.problem import normalize
from pydual.region import Region

NOISE = 1e-9  # a neuron whose sign is decided up to this keeps one phase only: it changes the margin by no more


@dataclass(frozen=True)
class Affine:
    """``matrix @ x + bias``."""

    matrix: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Polytope:
    """``lower <= x <= upper`` and ``rows @ x <= right``."""

    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray
    right: np.ndarray

    def cut(self, row: np.ndarray, right: float) -> Polytope:
        return Polytope(self.lower, self.upper, np.vstack([self.rows, row]), np.append(self.right, right))

    def minimum(self, row: np.ndarray) -> float:
        """The least ``row @ x``; infinite if the polytope is empty."""
        if len(self.right) == 0:
            return float(np.minimum(row * self.lower, row * self.upper).sum())
        result = linprog(row, self.rows, self.right, bounds=np.stack([self.lower, self.upper], axis=1))
        assert result.status in (0, 2), result.message
        return float(result.fun) if result.status == 0 else np.inf


def true_minimum(network: Network, checker: Checker) -> float:
    """The least, over problems and points of their regions, of the greatest margin; infinite if there is no point."""
    return min((least_margin(p.network, p.region, p.margins) for p in normalize(network, checker)), default=np.inf)


def least_margin(network: Network, region: Region, margins: tuple[Atom, ...]) -> float:
    """The minimum over the region of the greatest of the margins. The ball, if there is one, must be of norm l1."""
    identity = Affine(np.eye(region.size), np.zeros(region.size))
    return _descend(network, margins, _polytope(region), [identity], np.zeros((0, region.size)), np.zeros(0), 0)


def _polytope(region: Region) -> Polytope:
    if region.ball is None:
        return Polytope(region.lower, region.upper, np.zeros((0, region.size)), np.zeros(0))
    assert region.ball.norm == "l1"
    signs = np.array(list(product((-1.0, 1.0), repeat=region.size)))
    return Polytope(region.lower, region.upper, signs, region.ball.radius + signs @ region.ball.center)


def _descend(
    network: Network,
    margins: tuple[Atom, ...],
    cell: Polytope,
    values: list[Affine],
    rows: np.ndarray,
    bias: np.ndarray,
    neuron: int,
) -> float:
    """The least margin in ``cell``, where ``values`` are known, and of the next ReLU ``neuron`` rows."""
    if len(values) > len(network.primitives):
        return _least(network, margins, cell, values)
    primitive = network.primitives[len(values) - 1]
    none = np.zeros((0, rows.shape[1])), np.zeros(0), 0
    if not isinstance(primitive, Relu):
        matrix = sum((m @ values[s].matrix for s, m in primitive.terms), np.zeros((primitive.size, rows.shape[1])))
        offset = sum((m @ values[s].bias for s, m in primitive.terms), primitive.bias)
        return _descend(network, margins, cell, [*values, Affine(matrix, offset)], *none)
    if neuron == primitive.size:
        return _descend(network, margins, cell, [*values, Affine(rows, bias)], *none)
    row, constant = values[primitive.source].matrix[neuron], values[primitive.source].bias[neuron]
    best = np.inf
    for sign in _phases(cell, row, constant):
        part = cell if sign * sign == 4 else cell.cut(-sign * row, sign * constant)
        active = float(sign > 0)
        taken = np.vstack([rows, active * row]), np.append(bias, active * constant), neuron + 1
        best = min(best, _descend(network, margins, part, values, *taken))
    return best


def _phases(cell: Polytope, row: np.ndarray, constant: float) -> tuple[int, ...]:
    """1 and -1 where both signs occur in the cell; 2 or -2 alone where only one does; nothing if the cell is empty."""
    low = cell.minimum(row) + constant
    if low >= -NOISE:
        return (2,) if low < np.inf else ()
    return (-1, 1) if -cell.minimum(-row) + constant > NOISE else (-2,)


def _least(network: Network, margins: tuple[Atom, ...], cell: Polytope, values: list[Affine]) -> float:
    """The linear program: minimize t with t >= margin_r(x) for every r, over the cell. Without margins, -infinity."""
    if not margins:
        return -np.inf if cell.minimum(np.zeros(cell.lower.size)) < np.inf else np.inf
    inputs, output = cell.lower.size, values[network.output]
    x, y = np.zeros((len(margins), inputs)), np.zeros((len(margins), network.output_size))
    constant = np.array([float(atom.margin.constant) for atom in margins])
    for r, atom in enumerate(margins):
        x[r, list(atom.margin.x)] = [float(c) for c in atom.margin.x.values()]
        y[r, list(atom.margin.y)] = [float(c) for c in atom.margin.y.values()]
    above = np.hstack([x + y @ output.matrix, -np.ones((len(margins), 1))])
    rows = np.vstack([np.hstack([cell.rows, np.zeros((len(cell.rows), 1))]), above])
    right = np.append(cell.right, -(constant + y @ output.bias))
    bounds = [*zip(cell.lower, cell.upper, strict=True), (None, None)]
    result = linprog(np.append(np.zeros(inputs), 1.0), rows, right, bounds=bounds)
    assert result.status in (0, 2), result.message
    return float(result.fun) if result.status == 0 else np.inf
