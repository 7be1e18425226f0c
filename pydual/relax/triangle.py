"""The triangle relaxation as a linear program, and its mixed-integer strengthening.

Variables, in this order: the input x; (for a ball, |x - c|); for each layer y and z; the value t; for the mixed-integer
program a binary a for every unstable neuron. With [l, u] the interval of y and s = u / (u - l):

    y = sum A z + b,    t >= margin_r,    minimize t
    unstable:  z >= 0,  z >= y,  z <= s (y - l)                   (Ehlers 2017)
    or:        z >= 0,  z >= y,  z <= y - l (1 - a),  z <= u a     (Tjeng et al. 2019)
    active: z = y >= 0;   inactive: z = 0 >= y
    curves: alpha y + below <= z <= slope y + offset, with the adaptive lines, as the audits choose them
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from pydual.optimize.highs import LinearModel, LinearSolution
from pydual.relax.engine import _core
from pydual.relax.frame import Frame
from pydual.relax.program import AffineMap


@dataclass(frozen=True, eq=False)
class Triangle:
    """The program of one node, and where its parts stand; ``model`` is what HiGHS gets."""

    frame: Frame
    problem: int
    phase: np.ndarray
    model: LinearModel
    y_at: int
    z_at: int
    margin_rows: slice

    def x(self, solution: LinearSolution) -> np.ndarray:
        assert solution.point is not None
        region = self.frame.group.region
        return np.clip(solution.point[: region.size], region.lower, region.upper)

    def y(self, solution: LinearSolution) -> np.ndarray:
        assert solution.point is not None
        return solution.point[self.y_at : self.z_at]

    def z(self, solution: LinearSolution) -> np.ndarray:
        assert solution.point is not None
        return solution.point[self.z_at : self.z_at + self.z_at - self.y_at]

    def duals(self, solution: LinearSolution) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slopes alpha, multipliers beta (units,) and weights (margins of the group,) from the LP's duals.

        The dual of row ``y - sum A z = b`` is the coefficient of y in the back-substitution; that of z is its adjoint.
        alpha is their quotient where the adjoint is positive; beta their difference where a phase is fixed.
        """
        assert solution.row_dual is not None
        g = self.frame.group
        weights = np.zeros(g.allowed.shape[1])
        weights[g.columns(self.problem)] = np.maximum(solution.row_dual[self.margin_rows], 0.0)
        total = weights.sum()
        scale = 1.0 / total if total > 1e-9 else 1.0  # no weight at all: a proof that the node has no point
        weights = weights * scale if total > 1e-9 else np.zeros_like(weights)
        before = scale * solution.row_dual[: g.program.units]
        after = self._adjoints(before, weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            alpha = np.where(after > 0, np.clip(before / after, 0.0, 1.0), 0.0)
        beta = np.where(self.phase > 0, after - before, np.where(self.phase < 0, before, 0.0))
        return np.nan_to_num(alpha), np.maximum(np.nan_to_num(beta), 0.0), weights

    def _adjoints(self, before: np.ndarray, weights: np.ndarray) -> np.ndarray:
        program = self.frame.group.program
        cuts = np.cumsum((0, *program.sizes))
        after = np.zeros(program.units)
        for row, layer in ((weights, self.frame.group.margins), *((before[a:b], y) for a, b, y in _layers(cuts, program))):
            for source, matrix in layer.terms.items():
                if source:
                    after[cuts[source - 1] : cuts[source]] += row if matrix is None else row @ matrix
        return after


def _layers(cuts, program):  # type: ignore[no-untyped-def]
    return [(cuts[k], cuts[k + 1], layer) for k, layer in enumerate(program.layers)]


def triangle_program(frame: Frame, problem: int, phase: np.ndarray, *, binary: bool) -> Triangle:
    """The triangle relaxation of one problem with neurons fixed by ``phase``; ``binary`` makes it exact."""
    g = frame.group
    inputs, units = g.region.size, g.program.units
    extra = inputs if g.region.ball is not None else 0
    y_at = inputs + extra
    z_at = y_at + units
    t_at = z_at + units
    open_ = frame.unstable[phase[frame.unstable] == 0]
    columns = t_at + 1 + (len(open_) if binary else 0)
    blocks = [_layer_rows(g.program.layers, g.program.sizes, inputs, y_at, z_at, columns)]
    margins = _margin_rows(g.margins, g.columns(problem), g.program.sizes, z_at, t_at, columns)
    blocks.append(margins)
    blocks += _relu_rows(frame, phase, open_, y_at, z_at, t_at + 1 if binary else None, columns)
    blocks += _curve_rows(frame, y_at, z_at, columns)
    if g.region.ball is not None:
        blocks.append(_ball_rows(g.region, inputs, columns))
    lower, upper = _variable_bounds(frame, phase, open_, y_at, t_at, columns)
    cost = np.zeros(columns)
    cost[t_at] = 1.0
    integer = None
    if binary:
        integer = np.arange(columns) > t_at
        integer[:inputs] = False if g.region.integers is None else g.region.integers
    rows = sparse.csr_array(sparse.vstack([b[0] for b in blocks]))
    model = LinearModel(
        cost, rows, np.concatenate([b[1] for b in blocks]), np.concatenate([b[2] for b in blocks]), lower, upper, integer
    )
    return Triangle(frame, problem, phase, model, y_at, z_at, slice(units, units + len(margins[1])))


Rows = tuple[sparse.csr_array, np.ndarray, np.ndarray]


def _place(matrix, rows: np.ndarray, column: int, columns: int):  # type: ignore[no-untyped-def]
    """COO triplets of a matrix set down at the given rows and first column."""
    coo = sparse.coo_array(matrix)
    return coo.data, rows[coo.coords[0]], coo.coords[1] + column


def _assemble(parts: list, rows: int, columns: int) -> sparse.csr_array:
    data, row, column = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return sparse.csr_array((data, (row, column)), shape=(rows, columns))


def _source_column(source: int, sizes: tuple[int, ...], z_at: int) -> int:
    return 0 if source == 0 else z_at + sum(sizes[: source - 1])


def _layer_rows(
    layers: tuple[AffineMap, ...], sizes: tuple[int, ...], inputs: int, y_at: int, z_at: int, columns: int
) -> Rows:
    """y - sum A z = b."""
    units = sum(sizes)
    parts = [(np.ones(units), np.arange(units), y_at + np.arange(units))]
    begin = 0
    for layer, size in zip(layers, sizes, strict=True):
        rows = begin + np.arange(size)
        for source, matrix in layer.terms.items():
            width = inputs if source == 0 else sizes[source - 1]
            data, row, column = _place(
                sparse.eye_array(width) if matrix is None else matrix, rows, _source_column(source, sizes, z_at), columns
            )
            parts.append((-data, row, column))
        begin += size
    bias = np.concatenate([layer.bias for layer in layers]) if layers else np.zeros(0)
    return _assemble(parts, units, columns), bias, bias


def _margin_rows(margins: AffineMap, chosen: np.ndarray, sizes: tuple[int, ...], z_at: int, t_at: int, columns: int) -> Rows:
    """t - margin >= bias."""
    count = len(chosen)
    parts = [(np.ones(count), np.arange(count), np.full(count, t_at))]
    for source, matrix in margins.terms.items():
        data, row, column = _place(matrix[chosen], np.arange(count), _source_column(source, sizes, z_at), columns)
        parts.append((-data, row, column))
    bias = margins.bias[chosen]
    return _assemble(parts, count, columns), bias, np.full(count, np.inf)


def _relu_rows(
    frame: Frame, phase: np.ndarray, open_: np.ndarray, y_at: int, z_at: int, a_at: int | None, columns: int
) -> list[Rows]:
    lower, upper = frame.lower, frame.upper
    count = len(open_)
    at = np.arange(count)
    minus_y = (-np.ones(count), at, y_at + open_)
    plus_z = (np.ones(count), at, z_at + open_)
    below = (_assemble([plus_z, minus_y], count, columns), np.zeros(count), np.full(count, np.inf))
    active = np.flatnonzero(frame.group.program.is_neuron & ((phase > 0) | ((phase == 0) & (lower >= 0))))
    n = len(active)
    equal = [(np.ones(n), np.arange(n), z_at + active), (-np.ones(n), np.arange(n), y_at + active)]
    blocks: list[Rows] = [below, (_assemble(equal, n, columns), np.zeros(n), np.zeros(n))]
    low, high = lower[open_], upper[open_]
    minus = np.full(count, -np.inf)
    if a_at is None:
        s = high / (high - low)
        chord = [plus_z, (-s, at, y_at + open_)]
        return [*blocks, (_assemble(chord, count, columns), minus, -s * low)]
    first = [plus_z, minus_y, (-low, at, a_at + at)]
    second = [plus_z, (-high, at, a_at + at)]
    return [
        *blocks,
        (_assemble(first, count, columns), minus, -low),
        (_assemble(second, count, columns), minus, np.zeros(count)),
    ]


def _curve_rows(frame: Frame, y_at: int, z_at: int, columns: int) -> list[Rows]:
    """z - alpha y >= below and z - slope y <= offset."""
    blocks = []
    for kind, units in frame.group.program.curves:
        low, high = frame.lower[units], frame.upper[units]
        alpha, below, slope, offset = _core.curve_lines(kind, low, high, False)
        count = len(low)
        at, ones, infinite = np.arange(count), np.ones(count), np.full(count, np.inf)
        z, y = z_at + units.start + at, y_at + units.start + at
        blocks.append((_assemble([(ones, at, z), (-alpha, at, y)], count, columns), below, infinite))
        blocks.append((_assemble([(ones, at, z), (-slope, at, y)], count, columns), -infinite, offset))
    return blocks


def _ball_rows(region, inputs: int, columns: int) -> Rows:  # type: ignore[no-untyped-def]
    """|x - c| <= d and sum d <= r; an l2 ball of radius r lies in the l1 ball of radius sqrt(n) r."""
    ball = region.ball
    radius = ball.radius if ball.norm == "l1" else ball.radius * np.sqrt(inputs)
    eye = np.arange(inputs)
    ones = np.ones(inputs)
    parts = [(ones, eye, eye), (-ones, eye, inputs + eye)]
    parts += [(-ones, inputs + eye, eye), (-ones, inputs + eye, inputs + eye)]
    parts.append((ones, np.full(inputs, 2 * inputs), inputs + eye))
    high = np.concatenate([ball.center, -ball.center, [radius]])
    return _assemble(parts, 2 * inputs + 1, columns), np.full(2 * inputs + 1, -np.inf), high


def _variable_bounds(
    frame: Frame, phase: np.ndarray, open_: np.ndarray, y_at: int, t_at: int, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    region = frame.group.region
    units = len(phase)
    neuron = frame.group.program.is_neuron
    lower, upper = np.full(columns, -np.inf), np.full(columns, np.inf)
    lower[: region.size], upper[: region.size] = region.lower, region.upper
    lower[region.size : y_at] = 0.0
    # [l, u] is implied: each bound on the way is a dual of this very program; only fixed phases need bounds
    lower[y_at : y_at + units][phase > 0] = 0.0
    upper[y_at : y_at + units][phase < 0] = 0.0
    lower[y_at + units : t_at][neuron] = 0.0
    dead = neuron & ((phase < 0) | ((phase == 0) & (frame.upper <= 0)))
    upper[y_at + units : t_at][dead] = 0.0
    lower[t_at + 1 :], upper[t_at + 1 :] = 0.0, 1.0
    return lower, upper
