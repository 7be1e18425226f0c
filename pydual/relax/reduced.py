"""A network over its inputs and its unstable neurons: stable ones are substituted (relaxations of degree 2 start here).

What is written out is exact on the cell that the intervals belong to: an inactive neuron is 0, an active one its input, and
the output of every other is a variable of its own, here *kept*. So is every square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from pydual.operators.primitives import Matrix
from pydual.relax.program import AffineMap, Program

NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Rows:
    """Affine functions ``x @ inputs.T + z @ kept.T + constant`` of the inputs and of the outputs of the kept neurons."""

    x: np.ndarray
    z: np.ndarray
    constant: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> Rows:
        return Rows(self.x[rows], self.z[rows], self.constant[rows])

    def scaled(self, factors: np.ndarray) -> Rows:
        """Each row times a factor."""
        return Rows(factors[:, None] * self.x, factors[:, None] * self.z, factors * self.constant)

    def combined(self, weights: np.ndarray) -> Rows:
        """One row: the sum of all with these weights."""
        return Rows((weights @ self.x)[None], (weights @ self.z)[None], np.array([weights @ self.constant]))


def stacked(parts: list[Rows]) -> Rows:
    return Rows(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.z for part in parts]),
        np.concatenate([part.constant for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class Reduced:
    """``units`` (kept,): the kept ones, in order. ``values``: the layers' outputs z_0 = x, z_1, ... as rows; ``inputs``
    (kept,) the inputs y of the kept neurons, ``lower`` and ``upper`` their intervals; ``watched`` those of other
    units, ``active`` (units,) which are active in the whole cell."""

    units: np.ndarray
    values: tuple[Rows, ...]
    inputs: Rows
    lower: np.ndarray
    upper: np.ndarray
    watched: Rows
    active: np.ndarray

    def write(self, affine: AffineMap) -> Rows:
        """A stack of affine functions of the layers, written out."""
        return _compose(affine, self.values)


def reduce(program: Program, inputs: int, lower: np.ndarray, upper: np.ndarray, watched: np.ndarray = NONE) -> Reduced:
    """The network on a cell with pre-activation intervals ``lower``, ``upper`` (units,). ReLUs and squares only."""
    units = np.flatnonzero(~program.is_neuron | (lower < 0) & (upper > 0))
    is_active = program.is_neuron & (lower >= 0)
    identity = Rows(np.eye(inputs), np.zeros((inputs, len(units))), np.zeros(inputs))
    values, taken, seen = [identity], [], []
    begin = 0
    for layer in program.layers:
        size = len(layer.bias)
        mine = slice(begin, begin + size)
        first, last = np.searchsorted(units, (begin, begin + size))
        y = _compose(layer, tuple(values))
        taken.append(y[units[first:last] - begin])
        seen.append(y[watched[(watched >= begin) & (watched < begin + size)] - begin])
        active = is_active[mine, None]
        x, z, constant = y.x * active, y.z * active, y.constant * active[:, 0]
        z[units[first:last] - begin, np.arange(first, last)] = 1.0
        values.append(Rows(x, z, constant))
        begin += size
    nothing = Rows(np.zeros((0, inputs)), np.zeros((0, len(units))), np.zeros(0))
    in_order = np.argsort(np.argsort(watched, kind="stable"), kind="stable")
    watched_rows = stacked([nothing, *seen])[in_order]
    return Reduced(units, tuple(values), stacked([nothing, *taken]), lower[units], upper[units], watched_rows, is_active)


def relaxed_values(program: Program, reduced: Reduced, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of all units where the input is ``x`` and the kept neurons' outputs are ``z``, whatever they read."""
    layers, inputs, begin = [x], [], 0
    for layer, size in zip(program.layers, program.sizes, strict=True):
        y = layer.bias + sum(_times(matrix, layers[source]) for source, matrix in layer.terms.items())
        first, last = np.searchsorted(reduced.units, (begin, begin + size))
        output = np.where(reduced.active[begin : begin + size], y, 0.0)
        output[reduced.units[first:last] - begin] = z[first:last]
        inputs.append(y)
        layers.append(output)
        begin += size
    return np.concatenate([np.zeros(0), *inputs]), np.concatenate([np.zeros(0), *layers[1:]])


def _compose(affine: AffineMap, values: tuple[Rows, ...]) -> Rows:
    rows = len(affine.bias)
    x, z = (np.zeros((rows, part.shape[1])) for part in (values[0].x, values[0].z))
    constant = affine.bias.copy()
    for source, matrix in affine.terms.items():
        value = values[source]
        x += _times(matrix, value.x)
        z += _times(matrix, value.z)
        constant += _times(matrix, value.constant)
    return Rows(x, z, constant)


def _times(matrix: Matrix | None, other: np.ndarray) -> np.ndarray:
    if matrix is None:
        return other
    return np.asarray(matrix @ other if sparse.issparse(matrix) else np.asarray(matrix) @ other)
